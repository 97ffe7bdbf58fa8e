"""`fpo`: reinforcement learning of the flow's own weights (FPO++), started at the base policy.

A flow has no likelihood at hand, so PPO's ratio is replaced by one of flow-matching losses. For every decision with
chunk x draw pairs (t_i, e_i), i = 1 .. draws, once per rollout, and with l_i the loss of x on the pair

    r_i = exp(l_i(old) - l_i(new)),      clipped for every i by itself,      loss = -mean_i min(r_i A, clip(r_i) A)

Exploration is the flow's own randomness. What is deployed is the fine-tuned copy; the base policy stays as it is.

Sources: McAllister et al. 2025, "Flow Matching Policy Gradients" (arXiv 2507.21053); Yi, Choi et al. 2026, "Flow
Policy Gradients for Robot Control" (arXiv 2602.02481): the ratio per sample, the asymmetric trust region, latent 0
at deployment. Ours: the loss weights flow times as pretraining does and is a mean over the chunk's elements; the
critic is that of all methods here, on the privileged state, with bootstraps through time limits.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from score_rl.contracts import Context, FlowPolicy, Window
from score_rl.core import ranks
from score_rl.core.arrays import repeat_rows
from score_rl.core.checkpoints import (
    joined,
    load_module,
    optimizer_to_tensors,
    restore_optimizer,
    take_prefix,
    with_prefix,
)
from score_rl.core.chunks import ChunkResult
from score_rl.core.errors import Diverged
from score_rl.core.ranges import Count, Positive
from score_rl.core.records import validate
from score_rl.steering.learning import Rollout, Sizes, explained_variance, gradient_step
from score_rl.steering.method import Method, SteeringSpec
from score_rl.steering.networks import Critic
from score_rl.steering.own_flow import check_trainable, chunk_head, own_flow, sample

if TYPE_CHECKING:
    from score_rl.steering.ppo import PPOConfig

TrustRegion = Literal["clip", "asymmetric"]

_LARGEST_DIFFERENCE = 3.0
"""Differences of losses are cut here before they are exponentiated."""


@dataclass(frozen=True)
class FPOConfig:
    """The learner; epochs, minibatches, discount and the critic's widths are those of --learner.ppo."""

    learning_rate: Positive = 3e-5
    """Adam step size of the flow."""
    critic_learning_rate: Positive = 1e-3
    """Adam step size of the critic."""
    clip: Positive = 0.01
    """Clip of the ratio of every (decision, draw)."""
    draws: Count = 8
    """Pairs of flow time and noise per decision."""
    trust_region: TrustRegion = "clip"
    """clip: PPO's. asymmetric: PPO's for advantages above 0; below, a quadratic penalty of the ratio's distance to 1,
    which also pulls back what has left the region (ASPO of FPO++)."""


def surrogate(ratio: Tensor, advantage: Tensor, clip: float, trust_region: TrustRegion = "clip") -> Tensor:
    """Objective to be maximised, of ratios (m, draws) and advantages (m,): (m, draws)."""
    advantage = advantage.unsqueeze(1)
    clipped = torch.minimum(ratio * advantage, ratio.clamp(1.0 - clip, 1.0 + clip) * advantage)
    if trust_region == "clip":
        return clipped
    pulled = ratio * advantage - advantage.abs() / (2.0 * clip) * (ratio - 1.0).square()
    return torch.where(advantage >= 0, clipped, pulled)


class FPOLearner:
    """The flow, its critic and their updates; the counterpart of `steering.ppo.Learner`."""

    def __init__(self, sizes: Sizes, ppo: PPOConfig, policy: FlowPolicy, spec: SteeringSpec, device: str) -> None:
        """Initial weights of the critic come from torch's global generator. Raises ScoreError for bad settings."""
        validate(ppo, "ppo")
        self.spec, self.ppo, self.device, self.config = spec, ppo, device, spec.own(FPOConfig)
        self.actor = copy.deepcopy(policy).to(device).requires_grad_(True)
        self.critic = Critic(sizes.critic, *ppo.network).to(device)
        self.optimizer = torch.optim.Adam(
            [
                {"params": list(self.actor.parameters()), "lr": self.config.learning_rate},
                {"params": list(self.critic.parameters()), "lr": self.config.critic_learning_rate},
            ]
        )
        self.resize(sizes)

    def resize(self, sizes: Sizes) -> None:
        """See `steering.method.Learns`."""
        self.minibatch = self.ppo.minibatch_size(sizes.envs * sizes.decisions)
        self.rollout = Rollout(sizes.decisions, self.ppo.gamma, self.spec.execute_steps)

    @torch.no_grad()
    def act(self, context: Context, critic: Tensor, window: Window | None = None) -> Tensor:
        """Chunks of the flow, as they are normalised (n, h a)."""
        x = sample(self.actor, context, self.spec.latent.bound)
        self.rollout.decide(critic, x=x, **with_prefix("window", window))
        return x.flatten(1)

    def record(self, result: ChunkResult, final_critic: Tensor) -> None:
        """See `steering.method.Learns`."""
        self.rollout.record(result, final_critic)

    def update(self, last_critic: Tensor, elapsed: float = 0.0) -> dict[str, float]:
        """See `steering.method.Learns`."""
        data, explained = self._prepared(last_critic)
        self.rollout.clear()
        with torch.no_grad():
            rows = torch.arange(len(data["x"]), device=self.device)
            data["old"] = torch.cat([self._losses(data, part) for part in rows.split(self.minibatch)])
        for name, group in zip(("learning_rate", "critic_learning_rate"), self.optimizer.param_groups):
            group["lr"] = getattr(self.config, name) * self.ppo.learning_rate_factor(elapsed)
        sums, count = torch.zeros(4), 0
        for _ in range(self.ppo.epochs):
            for rows in self._minibatches(len(data["x"])):
                sums += self._step_on(data, rows)
                count += 1
        if not sums.isfinite().all():
            raise Diverged("a loss of the flow or of its critic is not finite")
        value, objective, clipped, change = (sums / count).tolist()
        return {
            "explained_variance": explained,
            "value_loss": value,
            "surrogate_loss": -objective,
            "clip_fraction": clipped,
            "loss_change": change,
        }

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `steering.method.Learns`."""
        optimizer, settings = optimizer_to_tensors(self.optimizer)
        return joined(actor=self.actor.state_dict(), critic=self.critic.state_dict(), optimizer=optimizer), settings

    def load_state(self, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], source: object) -> None:
        """See `steering.method.Learns`."""
        load_module(self.actor, take_prefix("actor", tensors), source)
        load_module(self.critic, take_prefix("critic", tensors), source)
        restore_optimizer(self.optimizer, take_prefix("optimizer", tensors), settings, source)

    def _prepared(self, last_critic: Tensor) -> tuple[dict[str, Tensor], float]:
        """Decisions of the rollout, flat, with advantages, returns and draws; how well the critic foresaw them."""
        self.critic.observe(self.rollout["critic"].flatten(0, 1))
        value, returns = self.rollout.estimate(self.critic, last_critic, self.ppo.gae_lambda)
        data = self.rollout.flat("critic", "x", *(f"window.{key}" for key in self.actor.spec.window))
        data |= {"advantage": (returns - value).flatten(), "return": returns.flatten()}
        drawn = (len(data["x"]), self.config.draws)
        data["t"] = torch.rand(drawn).to(self.device)
        data["noise"] = torch.randn(*drawn, *self.spec.chunk_shape).to(self.device)
        return data, explained_variance(value, returns)

    def _minibatches(self, n: int) -> Sequence[Tensor]:
        """Rows of n in random order; those that do not fill a minibatch sit this pass out."""
        whole = n // self.minibatch * self.minibatch
        return torch.randperm(n)[:whole].to(self.device).split(self.minibatch)

    def _losses(self, data: Mapping[str, Tensor], rows: Tensor) -> Tensor:
        """Flow-matching loss (m, draws) of the rows (m,) on their draws."""
        m, draws = len(rows), self.config.draws
        context = self.actor.encode({key: values[rows] for key, values in take_prefix("window", data).items()})
        x = data["x"][rows].repeat_interleave(draws, dim=0)
        noise, t = data["noise"][rows].flatten(0, 1), data["t"][rows].flatten()
        error = self.actor.matching_error(repeat_rows(context, draws), x, noise, t)
        return error.mean(dim=1).view(m, draws)

    def _step_on(self, data: Mapping[str, Tensor], rows: Tensor) -> Tensor:
        """One gradient step; (value loss, objective, share clipped, mean change of the loss)."""
        change = (data["old"][rows] - self._losses(data, rows)).clamp(-_LARGEST_DIFFERENCE, _LARGEST_DIFFERENCE)
        ratio = change.exp()
        advantage = ranks.standardized(data["advantage"][rows])
        objective = surrogate(ratio, advantage, self.config.clip, self.config.trust_region).mean()
        value = (self.critic(data["critic"][rows]) - data["return"][rows]).square().mean()
        gradient_step(self.optimizer, value - objective, (self.actor, self.critic), self.ppo.max_grad_norm)
        clipped = ((ratio - 1.0).abs() > self.config.clip).float().mean()
        return torch.stack((value, objective, clipped, -change.mean())).detach().cpu()


def _check(policy: FlowPolicy, spec: SteeringSpec, demonstrations: bool) -> None:
    check_trainable(policy)
    spec.own(FPOConfig)


FPO = Method("fpo", make_head=chunk_head, check=_check, make_learner=FPOLearner, make_trained=own_flow)
