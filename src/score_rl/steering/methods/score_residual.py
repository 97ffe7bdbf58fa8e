"""`score_residual`: SCORE's latent and, on top of it, a residual of at most 3 x 0.01 rad.

    w = (u, v),    z = compose(u, noise),    a = f(o, z) + scale * clamp(v, +-bound)

This is what the paper's commands call SCORE; `score`, the latent alone, is the one that cannot leave the support.
"""

from __future__ import annotations

import torch
from torch import Tensor

from score_rl.contracts import Context, FlowPolicy
from score_rl.steering.heads import Decision, LatentHead
from score_rl.steering.method import Method, SteeringSpec, latent_head
from score_rl.steering.methods.residual import Correction, ResidualConfig, check_residual, independent


class ScoreResidualHead:
    """The first `latent.dim` numbers choose the latent, the others correct the chunk."""

    def __init__(self, latent: LatentHead, config: ResidualConfig, action_dim: int) -> None:
        self.latent, self.correct = latent, Correction(config)
        self.dim = latent.dim + action_dim

    def act(self, policy: FlowPolicy, context: Context, w: Tensor, noise: Tensor) -> Decision:
        """See `steering.heads.Head`."""
        decided = self.latent.act(policy, context, w[:, : self.latent.dim], noise)
        return Decision(self.correct(decided.chunk, w[:, self.latent.dim :]), decided.latent)

    def exploration(self, noise: Tensor) -> Tensor:
        """See `steering.heads.Head`."""
        return torch.cat((self.latent.exploration(noise), independent(noise, self.dim - self.latent.dim)), dim=1)

    def at_rest(self, noise: Tensor) -> Tensor:
        """See `steering.heads.Head`: as SCORE's."""
        return self.latent.at_rest(noise)


def _head(spec: SteeringSpec, device: str) -> ScoreResidualHead:
    return ScoreResidualHead(latent_head(spec, device), spec.own(ResidualConfig), spec.chunk_shape[1])


SCORE_RESIDUAL = Method("score_residual", make_head=_head, check=check_residual)
