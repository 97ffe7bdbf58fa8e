"""Penalties: further terms of the actor's loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Normal

from score_rl.core.errors import ScoreError
from score_rl.steering.networks import GaussianActor


@dataclass(frozen=True)
class Penalty:
    """A further term of the actor's loss: `coefficient` times the mean of `loss(actor, policy)`."""

    name: str
    """What it is called in the log."""
    coefficient: float
    """Its weight."""
    loss: Callable[[GaussianActor, Normal], Tensor]
    """(actor, its distribution at the decisions of a minibatch) -> (m,) losses there, or elsewhere, e.g. on inputs
    that are drawn from torch's global generator."""


def no_place(penalties: Sequence[Penalty], why: str) -> None:
    """Raise ScoreError for penalties of a method that has nothing to put them on."""
    if penalties:
        raise ScoreError(f"{why}: --learner.prior-kl-coefficient and --learner.hinge-coefficient must be 0")


def prior_penalty(inputs: Tensor, batch: int, coefficient: float) -> Penalty:
    """KL to the prior on `batch` of these inputs (m, c), drawn anew for every gradient step."""

    def loss(actor: GaussianActor, policy: Normal) -> Tensor:
        picked = torch.randint(len(inputs), (batch,), device=inputs.device)
        return kl_to_prior(*actor.mean_std(inputs[picked]))

    return Penalty("prior_kl_real", coefficient, loss)


def hinge_penalty(coefficient: float) -> Penalty:
    """How far decisions leave the prior's typical set; see `hinge`."""
    return Penalty("hinge", coefficient, lambda actor, policy: hinge(policy.mean, policy.stddev))


def kl_to_prior(mean: Tensor, std: Tensor) -> Tensor:
    """KL(N(mean, std^2) || N(0, I)), summed over dimensions: mean (n, d), std (d,) -> (n,)."""
    return 0.5 * (mean**2 + std**2 - 1.0 - 2.0 * std.log()).sum(dim=-1)


def hinge(mean: Tensor, std: Tensor) -> Tensor:
    """max(0, E|w|^2 / d - 1) of w ~ N(mean, std^2), mean and std (n, d) -> (n,): 0 for the prior and inside it."""
    return ((mean.square() + std.square()).mean(dim=-1) - 1.0).clamp(min=0.0)
