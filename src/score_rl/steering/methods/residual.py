"""`residual`: a bounded correction of the base policy's actions (residual RL), the base with fresh random latents.

    z = clamp(noise, +-3),    a = f(o, z) + scale * clamp(w, +-bound)

w (n, a) is one correction per action dimension, held for the executed steps of a chunk. At w = 0 this is the base
policy. The paper's commands have scale 0.01 rad and bound 3: at most 0.03 rad per joint.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from score_rl.contracts import Context, FlowPolicy
from score_rl.core.ranges import Positive
from score_rl.steering.heads import Decision, more_noise
from score_rl.steering.method import Method, SteeringSpec


@dataclass(frozen=True)
class ResidualConfig:
    """How far an action may be moved."""

    scale: Positive = 0.01
    """Correction of an action per unit of the actor's output, in action units: rad for joint targets; where actions
    are normalised to [-1, 1], a share of half their range. It is the width of the first exploration, too."""
    bound: Positive = 3.0
    """The actor's output is clamped to +-bound, so that no action moves by more than bound x scale."""


class Correction:
    """A bounded change of action chunks, one value per action dimension and decision."""

    def __init__(self, config: ResidualConfig) -> None:
        self.config = config

    def __call__(self, chunk: Tensor, w: Tensor) -> Tensor:
        """Chunk (n, h, a) corrected by w (n, a)."""
        return chunk + self.config.scale * w.clamp(-self.config.bound, self.config.bound).unsqueeze(1)


def independent(noise: Tensor, count: int) -> Tensor:
    """Standard normal (n, count) that `act` does not use: it spends the noise (n, l, w) itself on the latent."""
    draws = -(-count // noise[0].numel())
    return more_noise(noise, draws).flatten(1)[:, :count]


class ResidualHead:
    """w corrects what the base policy does."""

    def __init__(self, config: ResidualConfig, action_dim: int, latent_bound: float) -> None:
        self.correct, self.dim, self.latent_bound = Correction(config), action_dim, latent_bound

    def act(self, policy: FlowPolicy, context: Context, w: Tensor, noise: Tensor) -> Decision:
        """See `steering.heads.Head`."""
        latent = noise.clamp(-self.latent_bound, self.latent_bound)
        return Decision(self.correct(policy.decode(context, latent), w), latent)

    def exploration(self, noise: Tensor) -> Tensor:
        """See `steering.heads.Head`."""
        return independent(noise, self.dim)

    def at_rest(self, noise: Tensor) -> Tensor:
        """See `steering.heads.Head`: the base policy goes on with fresh latents."""
        return noise


def check_residual(policy: FlowPolicy, spec: SteeringSpec, demonstrations: bool) -> None:
    """Raise ScoreError for a scale or bound out of range."""
    spec.own(ResidualConfig)


def _head(spec: SteeringSpec, device: str) -> ResidualHead:
    return ResidualHead(spec.own(ResidualConfig), spec.chunk_shape[1], spec.latent.bound)


RESIDUAL = Method("residual", make_head=_head, check=check_residual)
