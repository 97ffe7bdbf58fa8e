"""What learners share: their sizes, advantages of a rollout, how well a critic foresaw it, steps down a loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from score_rl.core import ranks
from score_rl.core.errors import Diverged


@dataclass(frozen=True)
class Sizes:
    """Widths and counts of a learner."""

    context: int
    """c: width of the actor's input."""
    critic: int
    """p: width of the critic's input."""
    action: int
    """d: width of what the actor chooses."""
    envs: int
    """n: environments that decide together."""
    decisions: int
    """T: decisions per environment and rollout."""
    iterations: int = 1
    """Rollouts of the whole training, for learners that work in phases."""


def generalized_advantages(
    rewards: Tensor, going: Tensor, values: Tensor, following: Tensor, gamma: float, gae_lambda: float
) -> Tensor:
    """Generalised advantage estimates (T, n) of rewards and values (T, n).

    going (T, n): 0.0 where the episode ended with the decision, else 1.0; following (n,): value of what comes next;
    gamma: discount per decision. Source: Schulman et al. 2016, arXiv 1506.02438.
    """
    advantages, estimate = torch.empty_like(rewards), torch.zeros_like(following)
    for t in reversed(range(len(rewards))):
        error = rewards[t] + going[t] * gamma * following - values[t]
        advantages[t] = estimate = error + going[t] * gamma * gae_lambda * estimate
        following = values[t]
    return advantages


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """1 - Var(returns - values) / Var(returns); NaN where all returns are equal."""
    variance = returns.var()
    return float(1.0 - (returns - values).var() / variance) if variance > 0 else float("nan")


def gradient_step(
    optimizer: torch.optim.Optimizer, loss: Tensor, networks: Sequence[nn.Module], max_norm: float
) -> Tensor:
    """Step down a loss by all ranks' mean gradient, clipped to max_norm for each network; the sum of the norms."""
    optimizer.zero_grad()
    loss.backward()
    ranks.mean_gradients(parameter for network in networks for parameter in network.parameters())
    norms = [nn.utils.clip_grad_norm_(network.parameters(), max_norm) for network in networks]
    optimizer.step()
    return sum(norms)


def mean_losses(losses: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
    """Means of scalar losses {name: ()} over gradient steps. Raises Diverged that names the first not finite one."""
    steps = torch.stack([torch.stack(tuple(step.values())) for step in losses]).tolist()
    for name, number in (pair for step in steps for pair in zip(losses[0], step)):
        if not math.isfinite(number):
            raise Diverged(f"{name} of the learner is {number}")
    return {name: sum(numbers) / len(numbers) for name, numbers in zip(losses[0], zip(*steps))}
