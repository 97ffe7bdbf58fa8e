"""Controls that need no training: other ways to draw from the frozen base policy, or from a steered one.

They are compared where somebody asks for them; `base` and `base_z0` always are (`policy.compulsory_deciders`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from score_rl.contracts import FlowPolicy, Window
from score_rl.core.arrays import repeat_rows
from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.ranges import Range
from score_rl.steering.heads import Decision, LatentHead, draws
from score_rl.steering.latent import LATENT_BOUND
from score_rl.steering.method import Decider, Trained
from score_rl.steering.methods.best_of_n import BestOfNPolicy
from score_rl.steering.policy import SteeringPolicy

CONTROLS = ("base_tiled", "most_supported_of_n")
"""Controls by their names in result files."""


@dataclass(frozen=True)
class ControlsConfig:
    """Settings of the controls."""

    samples: Annotated[int, Range(3)] = 16
    """n: chunks that most_supported_of_n chooses from."""


class TiledDecider:
    """`base_tiled`: one vector (a,) repeated over the chunk, which has no probability under the prior.

    A popular way to shrink the latent, and the most frequent complaint of its users: it shows what leaving the prior
    costs, and why `latent` keeps fresh noise in all other modes.
    """

    def __init__(self, policy: FlowPolicy) -> None:
        self.spec, self.policy = policy.spec, policy

    def decide(self, window: Window, noise: Tensor) -> Decision:
        """See `Decider`: the noise's first row is what is repeated."""
        latent = noise[:, :1].expand_as(noise).clamp(-LATENT_BOUND, LATENT_BOUND)
        return Decision(self.policy.decode(self.policy.encode(window), latent), latent)


class MostSupportedDecider:
    """`most_supported_of_n`: of n chunks of the base policy the most typical one; no reward, no training.

    It says how much of an improvement comes from avoiding the base policy's rare chunks alone.
    """

    def __init__(self, policy: FlowPolicy, samples: int) -> None:
        """Raises ScoreError for fewer than three samples, of which none is more typical, and without coordinates."""
        if samples < 3:
            raise ScoreError(f"most_supported_of_n needs at least 3 samples to have a middle, got {samples}")
        if not hasattr(policy, "normalize"):
            raise ScoreError(
                f"{type(policy).__name__} has no `normalize` (see contracts.FlowPolicy) to compare chunks in"
            )
        self.spec, self.policy, self.samples = policy.spec, policy, samples

    def decide(self, window: Window, noise: Tensor) -> Decision:
        """See `Decider`; the first of the samples is the base policy's own choice."""
        latents = draws(noise, self.samples).clamp(-LATENT_BOUND, LATENT_BOUND)
        context = self.policy.encode(window)
        repeated = repeat_rows(context, self.samples)
        chunks = self.policy.decode(repeated, latents.flatten(0, 1))
        x = self.policy.normalize(repeated, chunks).view(len(noise), self.samples, -1)
        best = most_typical(x) + self.samples * torch.arange(len(noise), device=noise.device)
        return Decision(chunks[best], latents.flatten(0, 1)[best])


def most_typical(x: Tensor) -> Tensor:
    """Of m points (n, m, d) the one with the least mean Euclidean distance to the others (n,); the first of equals.

    >>> most_typical(torch.tensor([[[0.0], [1.0], [5.0]]]))
    tensor([1])
    """
    return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").mean(dim=2).argmin(dim=1)


class RankedDecider:
    """`score_best_of_n`: of n draws of a steering policy the one that best-of-n's value function likes best."""

    def __init__(self, policy: FlowPolicy, steering: SteeringPolicy, ranker: BestOfNPolicy) -> None:
        """Raises ScoreError where the steering does not choose latents or either has another base policy."""
        if not isinstance(getattr(steering, "head", None), LatentHead):
            raise ScoreError(f"{steering.spec.method} does not choose latents, which best_of_n could rank")
        if steering.spec.base != ranker.spec.base:
            raise ScoreError("the steering policy and the ranking one belong to different base policies")
        self.spec, self.policy, self.steering, self.ranker = policy.spec, policy, steering, ranker.actor

    @torch.no_grad()
    def decide(self, window: Window, noise: Tensor) -> Decision:
        """See `Decider`; the first of the draws is the steering policy's own."""
        head = self.steering.head
        context = self.policy.encode(window)
        mean, std = self.steering.actor.mean_std(context.features)
        drawn = draws(noise, self.ranker.count).unbind(dim=1)
        latents = torch.stack([head.latent(mean + std * head.exploration(one), one) for one in drawn], dim=1)
        best, _, _ = self.ranker.choose(self.policy, context, latents)
        latent = latents.flatten(0, 1)[best]
        return Decision(self.policy.decode(context, latent), latent)


def control(name: str, policy: FlowPolicy, config: ControlsConfig) -> Decider:
    """The control of that name. Raises ScoreError that lists the choices."""
    if name == "base_tiled":
        return TiledDecider(policy)
    if name == "most_supported_of_n":
        return MostSupportedDecider(policy, config.samples)
    raise unknown_choice("control", name, CONTROLS)


def ranked(policy: FlowPolicy, steering: Trained, ranker: Trained) -> dict[str, Decider]:
    """`METHOD_best_of_n` of a steering policy and a `best_of_n` that ranks. Raises ScoreError for another ranker."""
    if not isinstance(ranker, BestOfNPolicy):
        raise ScoreError(f"best_of_n ranks with its own value function; {ranker.spec.method} has none")
    return {f"{steering.spec.method}_best_of_n": RankedDecider(policy, steering, ranker)}
