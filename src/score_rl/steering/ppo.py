"""PPO on decisions: actor, critic, and the update between two rollouts.

    repeat  act, record                    T decisions of n environments
    update  V(s) of the whole rollout      inputs normalised by running moments that have just seen it
            A by GAE, R = A + V            discount gamma^k for a decision of k control steps
            repeat epochs x minibatches:   descend   - mean min(ratio A, clip(ratio) A)
                                                     + c mean (R - V)^2 + penalties of the actor

The reward of a decision is already discounted within its chunk. A time-out is bootstrapped exactly: with the value
of the final observation, discounted by the control steps that were really taken. There is no entropy bonus.
Under torchrun every rank has a rollout of its own; moments, advantages and gradients are those of all of them.
Random numbers are torch's global ones, which the loop derives from (seed, iteration): there is no random state to
store, and weights, moments and optimiser are plain tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from score_rl.contracts import Context, Window
from score_rl.core import ranks
from score_rl.core.checkpoints import joined, load_module, optimizer_to_tensors, restore_optimizer, take_prefix
from score_rl.core.chunks import ChunkResult
from score_rl.core.errors import ScoreError
from score_rl.core.ranges import Count, Length, NonNegative, Positive, Share, Width
from score_rl.core.records import validate
from score_rl.steering.learning import Rollout, Sizes, explained_variance, gradient_step, mean_losses
from score_rl.steering.networks import Activation, Critic, GaussianActor
from score_rl.steering.penalties import Penalty


@dataclass(frozen=True)
class PPOConfig:
    """The learner. Defaults suit 10^5 to 10^6 control steps on a CPU; the paper's values are in brackets."""

    learning_rate: Positive = 1e-3
    """Adam step size [3e-4, for the full latent]; 1e-3 suits a subspace of a few dozen dimensions."""
    final_learning_rate: Share = 1.0
    """Adam step size at the end of training, as a share of `learning_rate`; it falls linearly on the way. Small
    last steps leave a policy that depends less on the last rollouts. 1: constant [1]."""
    epochs: Count = 8
    """Passes over a rollout [8]."""
    minibatches: Count = 4
    """Minibatches per pass [4096 decisions each]; they are drawn once per rollout."""
    gamma: Share = 0.99
    """Discount per CONTROL step [0.99 per decision of one step]."""
    gae_lambda: Share = 0.95
    """Lambda of generalised advantage estimation, per decision [0.95]."""
    clip: Positive = 0.2
    """PPO's clip of the probability ratio [0.2]."""
    value_coefficient: NonNegative = 1.0
    """Weight of the value loss [1e-4]. Actor and critic share no weights and gradients are clipped for each, so
    with Adam its size hardly matters."""
    max_grad_norm: Positive = 1.0
    """Largest gradient norm, of actor and of critic [1.0]."""
    noise_correlation: Share = 0.0
    """Correlation of the exploration noise of two consecutive decisions of an environment (AR(1)); every decision's
    distribution stays the actor's. 0: independent [0]. Close to 1 an episode tries one latent throughout. With
    other `execute_steps` the same time in control steps takes another power of it."""
    hidden: Annotated[tuple[Width, ...], Length(1, 64)] = (256, 128, 64)
    """Widths of actor and critic [256, 128, 64]."""
    activation: Activation = "elu"
    """Activation of actor and critic [elu]."""
    layer_norm: bool = False
    """Normalise the hidden layers of actor and critic (nn.LayerNorm), as residual RL often does [no]."""

    @property
    def network(self) -> tuple[tuple[int, ...], Activation, bool]:
        """Widths, activation and layer norm: what `networks` are made of."""
        return (self.hidden, self.activation, self.layer_norm)

    def learning_rate_factor(self, elapsed: float) -> float:
        """The step size as a share of the first one, when so large a share of training lies behind."""
        return 1 + elapsed * (self.final_learning_rate - 1)

    def minibatch_size(self, decisions: int) -> int:
        """Decisions per minibatch of a rollout of so many. Raises ScoreError for fewer than 2."""
        if (size := decisions // self.minibatches) < 2:
            raise ScoreError(
                f"ppo.minibatches = {self.minibatches} puts {size} of a rollout's {decisions} decisions into each; "
                f"2 are the least, so at most {decisions // 2} minibatches"
            )
        return size


class Learner:
    """Actor, critic and PPO. One rollout: `act`, `record`, `act`, ... for `decisions` times, then `update`."""

    def __init__(
        self,
        sizes: Sizes,
        config: PPOConfig,
        decision_steps: int,
        penalties: Sequence[Penalty] = (),
        device: str = "cpu",
    ) -> None:
        """Build a learner whose decisions last `decision_steps` control steps; weights from torch's global RNG.

        `penalties`: further terms of the actor's loss. Raises ScoreError for a configuration out of range.
        """
        validate(config, "ppo")
        self.config, self.penalties, self.device = config, tuple(penalties), device
        self.decision_steps = decision_steps
        self.actor = GaussianActor(sizes.context, sizes.action, *config.network).to(device)
        self.critic = Critic(sizes.critic, *config.network).to(device)
        self.optimizer = torch.optim.Adam([*self.actor.parameters(), *self.critic.parameters()])
        self.resize(sizes)

    def resize(self, sizes: Sizes) -> None:
        """Continue with another number of environments or decisions (the networks stay)."""
        self.minibatch = self.config.minibatch_size(sizes.envs * sizes.decisions)
        self.rollout = Rollout(sizes.decisions, self.config.gamma, self.decision_steps)

    @torch.no_grad()
    def act(self, context: Context, critic: Tensor, window: Window | None = None) -> Tensor:
        """Sample actions (n, d) for n contexts; critic inputs (n, p) are kept for the update."""
        policy = self.actor(context.features)
        action = policy.mean + policy.stddev * self._exploration(policy.mean)
        log_prob = policy.log_prob(action).sum(dim=-1)
        self.rollout.decide(critic, context=context.features, action=action, mean=policy.mean, log_prob=log_prob)
        return action

    def record(self, result: ChunkResult, final_critic: Tensor) -> None:
        """Store what became of the last `act`; final_critic (n, p): critic inputs where the decision ended."""
        self.rollout.record(result, final_critic)

    def update(self, last_critic: Tensor, elapsed: float = 0.0) -> dict[str, float]:
        """Learn from the full rollout; `last_critic` (n, p) follows its last decision. Returns metrics.

        `elapsed`, 0 to 1: share of training that lies behind, for the step size. Raises ScoreError for a rollout
        that is not full, and Diverged for a loss or gradient that is not finite.
        """
        config, old_std = self.config, self.actor.log_std.detach().exp()
        self.critic.observe(self.rollout["critic"].flatten(0, 1))
        values, returns = self.rollout.estimate(self.critic, last_critic, config.gae_lambda)
        decisions = self.rollout.flat("context", "critic", "action", "log_prob")
        decisions |= {"advantage": (returns - values).flatten(), "return": returns.flatten()}
        self.optimizer.param_groups[0]["lr"] = config.learning_rate * config.learning_rate_factor(elapsed)
        minibatches = torch.randperm(self.minibatch * config.minibatches, device=self.device).split(self.minibatch)
        losses = [
            self.descend({name: values[rows] for name, values in decisions.items()})
            for _ in range(config.epochs)
            for rows in minibatches
        ]
        means = mean_losses(losses)
        del means["gradient_norm"]
        change = self.change_of_policy(old_std)
        self.rollout.clear()
        return change | {"explained_variance": explained_variance(values, returns)} | means

    def descend(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One gradient step on b decisions {name: (b, ...)}; its losses, those of penalties without coefficients."""
        config, advantage = self.config, ranks.standardized(batch["advantage"])
        policy = self.actor(batch["context"])
        ratio = (policy.log_prob(batch["action"]).sum(dim=-1) - batch["log_prob"]).exp()
        clipped = ratio.clamp(1.0 - config.clip, 1.0 + config.clip)
        surrogate = torch.max(-advantage * ratio, -advantage * clipped).mean()
        value = (batch["return"] - self.critic(batch["critic"])).square().mean()
        further = {penalty.name: penalty.loss(self.actor, policy).mean() for penalty in self.penalties}
        penalised = sum(penalty.coefficient * further[penalty.name] for penalty in self.penalties)
        loss = surrogate + config.value_coefficient * value + penalised
        norm = gradient_step(self.optimizer, loss, (self.actor, self.critic), config.max_grad_norm)
        losses = {"value_loss": value, "surrogate_loss": surrogate, **further, "gradient_norm": norm}
        return {name: number.detach() for name, number in losses.items()}

    @torch.no_grad()
    def change_of_policy(self, old_std: Tensor) -> dict[str, float]:
        """The rollout's policy, of standard deviation `old_std` (d,), against the one learned from it."""
        rollout, new = self.rollout, self.actor(self.rollout["context"])
        old = Normal(rollout["mean"], old_std, validate_args=False)
        ratio = (new.log_prob(rollout["action"]).sum(dim=-1) - rollout["log_prob"]).exp()
        return {
            "kl": float(kl_divergence(old, new).sum(dim=-1).mean()),
            "clip_fraction": float(((ratio - 1.0).abs() > self.config.clip).float().mean()),
            "latent_mean_square": float(new.mean.square().mean()),
            "latent_std": float(new.stddev.mean()),
        }

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that learning changes: tensors, and JSON-ready settings of the optimiser."""
        tensors, settings = optimizer_to_tensors(self.optimizer)
        return joined(actor=self.actor.state_dict(), critic=self.critic.state_dict(), optimizer=tensors), settings

    def load_state(self, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], source: object) -> None:
        """Put back a `state`; `source` is named in errors. Raises ScoreError where it does not fit."""
        load_module(self.actor, take_prefix("actor", tensors), source)
        load_module(self.critic, take_prefix("critic", tensors), source)
        restore_optimizer(self.optimizer, take_prefix("optimizer", tensors), settings, source)

    def _exploration(self, like: Tensor) -> Tensor:
        """Standard normal noise (n, d), correlated with that of the decision before in the same rollout."""
        noise, share = torch.randn_like(like), self.config.noise_correlation
        if share > 0 and len(self.rollout):
            noise = share * self._explored + math.sqrt(1.0 - share**2) * noise
        self._explored = noise
        return noise
