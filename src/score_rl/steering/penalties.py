"""Penalties: further terms of the actor's loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Normal

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


def hinge_penalty(coefficient: float) -> Penalty:
    """How far decisions leave the prior's typical set; see `hinge`."""
    return Penalty("hinge", coefficient, lambda actor, policy: hinge(policy.mean, policy.stddev))


def hinge(mean: Tensor, std: Tensor) -> Tensor:
    """max(0, E|w|^2 / d - 1) of w ~ N(mean, std^2), mean and std (n, d) -> (n,): 0 for the prior and inside it."""
    return ((mean.square() + std.square()).mean(dim=-1) - 1.0).clamp(min=0.0)
