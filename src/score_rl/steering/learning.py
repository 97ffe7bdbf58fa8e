"""What learners share: their sizes, the rollout that they keep, its advantages, steps down a loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from score_rl.core import ranks
from score_rl.core.chunks import ChunkResult
from score_rl.core.errors import Diverged, ScoreError
from score_rl.steering.networks import Critic


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


class Rollout:
    """T decisions of n environments, one after the other, until a learner has learned from them."""

    def __init__(self, decisions: int, gamma: float, decision_steps: int) -> None:
        """An empty one of T = `decisions`. gamma: discount per control step; a decision lasts `decision_steps`."""
        self.whole, self.gamma, self.decision_steps = decisions, gamma, decision_steps
        self.steps: list[dict[str, Tensor]] = []
        """By decision: name -> (n, ...)."""
        self.timeouts: list[tuple[Tensor, Tensor, Tensor]] = []
        """By decision, where a time limit cut episodes: rows (m,), discount (m,), critic inputs (m, p) of the end."""

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, name: str) -> Tensor:
        """(T, n, ...) of what every decision has by this name."""
        return torch.stack([step[name] for step in self.steps])

    def flat(self, *names: str) -> dict[str, Tensor]:
        """The same of several names, decisions and environments in one dimension (T n, ...)."""
        return {name: self[name].flatten(0, 1) for name in names}

    def decide(self, critic: Tensor, **values: Tensor) -> None:
        """Begin a decision: critic inputs (n, p), and whatever else (n, ...) the learner reads in its update."""
        # Copies, because a world may write its next observation into the same memory.
        self.steps.append({name: value.clone() for name, value in {"critic": critic, **values}.items()})

    def record(self, result: ChunkResult, final_critic: Tensor) -> None:
        """End it; final_critic (n, p): critic inputs where it ended."""
        self.steps[-1] |= {"reward": result.reward, "done": result.done}
        rows = result.truncated.nonzero().flatten()
        self.timeouts.append((rows, self.gamma ** result.steps[rows].float(), final_critic[rows]))

    def clear(self) -> None:
        """Begin anew."""
        self.steps, self.timeouts = [], []

    @torch.no_grad()
    def estimate(self, critic: Critic, last_critic: Tensor, gae_lambda: float) -> tuple[Tensor, Tensor]:
        """Values and returns (T, n) by a critic; `last_critic` (n, p) follows the last decision.

        The return is GAE's advantage and the value; with lambda 1 it is the discounted sum of rewards. Where time ran
        out, the value of the final observation counts, discounted by the control steps that were really taken.
        Raises ScoreError for a rollout that is not full.
        """
        if len(self) != self.whole:
            raise ScoreError(f"rollout has {len(self)} of {self.whole} decisions")
        values, following = critic(self["critic"]), critic(last_critic)
        rewards, going = self["reward"], 1.0 - self["done"].float()
        for reward, (rows, discount, final_critic) in zip(rewards, self.timeouts):
            if len(rows):
                reward[rows] += discount * critic(final_critic)
        gamma = self.gamma**self.decision_steps
        return values, generalized_advantages(rewards, going, values, following, gamma, gae_lambda) + values


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
