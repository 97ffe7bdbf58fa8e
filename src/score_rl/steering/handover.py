"""Hand-over between chunks inside the support: of several latents the one whose chunk goes on where the running does.

    draw m latents: what steering chose, its other modes from N(0, I), and the steering's own decision among them
    decode all, and run the chunk that is nearest to what is running, over the actions that both have

The idea that a new chunk should agree with the one under way is real-time chunking's (Black, Galliker and Levine
2025, arXiv 2506.07339), which bends the flow; here every chunk stays one that the base policy could have chosen.
"""

from __future__ import annotations

import torch
from torch import Tensor

from score_rl.contracts import Context, FlowPolicy, Window
from score_rl.core.arrays import repeat_rows
from score_rl.core.errors import ScoreError
from score_rl.steering.heads import Decision, LatentHead, draws
from score_rl.steering.latent import LATENT_BOUND
from score_rl.steering.method import Trained


class HandOver:
    """Decides with a look at the chunk that is running."""

    def __init__(self, policy: FlowPolicy, steering: Trained | None, samples: int) -> None:
        """steering: None for the base policy alone, all of whose latent is drawn. samples: m, the steering's own
        decision included. Raises ScoreError for fewer than 2, and for a steering that leaves nothing to draw."""
        if samples < 2:
            raise ScoreError(f"a hand-over chooses among at least 2 latents, got {samples}")
        head = getattr(steering, "head", None)
        if steering is not None and not isinstance(head, LatentHead):
            raise ScoreError(
                f"policies of method '{steering.spec.method}' choose no latents, which a hand-over draws"
            )
        if head is not None and (head.map.config.kind == "full" or head.complement is not None):
            raise ScoreError("this steering fixes the whole latent, so there is nothing that a hand-over could draw")
        self.policy, self.steering, self.samples = policy, steering, samples

    @torch.no_grad()
    def decide(self, window: Window, noise: Tensor, running: Tensor | None) -> Decision:
        """Chunks for windows {key: (n, frames, *shape)} and noise (n, l, w).

        running (n, r, a): actions of the chunk that is under way, from the new one's first action on, in physical
        units; None where an episode starts, which takes the steering's own decision.
        """
        context = self.policy.encode(window)
        if running is None or not running.shape[1]:
            latent = self._latents(context, noise, noise[:, None])[:, 0]
            return Decision(self.policy.decode(context, latent), latent)
        latents = self._latents(context, noise, draws(noise, self.samples))
        repeated = repeat_rows(context, self.samples)
        chunks = self.policy.decode(repeated, latents.flatten(0, 1)).unflatten(0, (len(noise), self.samples))
        best = nearest(chunks, running, chunks.flatten(1, 2).std(dim=1).clamp_min(1e-6))
        rows = torch.arange(len(noise), device=noise.device)
        return Decision(chunks[rows, best], latents[rows, best])

    def _latents(self, context: Context, noise: Tensor, drawn: Tensor) -> Tensor:
        """Latents (n, m, l, w): the first is the policy's own decision, the others have what it leaves to chance from
        drawn (n, m, l, w)."""
        if self.steering is None:
            return drawn.clamp(-LATENT_BOUND, LATENT_BOUND)
        head, mean = self.steering.head, self.steering.actor.mean_std(context.features)[0]
        own = head.latent(mean, head.at_rest(noise))
        others = [head.latent(mean, drawn[:, k]) for k in range(1, drawn.shape[1])]
        return torch.stack([own, *others], dim=1)


def nearest(chunks: Tensor, running: Tensor, scale: Tensor) -> Tensor:
    """Of m chunks (n, m, h, a) per row the one nearest to actions (n, r, a) over min(h, r) actions; (n,) numbers, the
    first of equals. scale (n, a): what counts as one unit of every action; differences are divided by it.

    >>> nearest(torch.tensor([[[[0.0], [9.0]], [[1.0], [0.0]]]]), torch.tensor([[[0.8]]]), torch.ones(1, 1))
    tensor([1])
    """
    overlap = min(chunks.shape[2], running.shape[1])
    difference = (chunks[:, :, :overlap] - running[:, None, :overlap]) / scale[:, None, None]
    return difference.square().mean(dim=(2, 3)).argmin(dim=1)
