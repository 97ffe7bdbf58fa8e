"""PPO on decisions: rsl-rl-lib's algorithm, models and storage, driven by our loop.

What differs from its runner, and why:

- A transition is one decision of k control steps. The discount of the learner is gamma^k, the reward of a
  decision is already discounted within its chunk, and a time-out is bootstrapped exactly: with the value of the
  final observation, discounted by the control steps that were really taken (not with V(s_t)).
- The critic's inputs are normalised by running moments that are updated once per rollout, BEFORE values are
  computed; all values of a rollout are computed in one batch at its end.
- Weights, optimiser and moments are stored as plain tensors; random numbers are derived from (seed, iteration),
  so that there is no random state to store.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from score_rl.core.checkpoints import (
    load_module,
    optimizer_to_tensors,
    restore_optimizer,
    take_prefix,
    with_prefix,
)
from score_rl.core.errors import ScoreError
from score_rl.core.seeding import derive_seed

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # rsl_rl imports GitPython, which needs no git binary then

from rsl_rl.algorithms import PPO
from rsl_rl.models import MLPModel
from rsl_rl.modules import MLP, EmpiricalNormalization
from rsl_rl.storage import RolloutStorage

_CRITIC_LIMIT = 10.0  # A privileged input that was constant so far has no scale yet: keep it finite.


@dataclass(frozen=True)
class PPOConfig:
    """The learner. Defaults suit 10^5 to 10^6 control steps on a CPU; the paper's values are in brackets."""

    learning_rate: float = 1e-3
    """Adam step size [3e-4, for the full latent]; 1e-3 suits a subspace of a few dozen dimensions."""
    final_learning_rate: float = 1.0
    """Adam step size at the end of training, as a share of `learning_rate`; it falls linearly on the way. Small
    last steps leave a policy that depends less on the last rollouts. 1: constant [1]."""
    epochs: int = 8
    """Passes over a rollout [8]."""
    minibatches: int = 4
    """Minibatches per pass [4096 decisions each]."""
    gamma: float = 0.99
    """Discount per CONTROL step [0.99 per decision of one step]."""
    gae_lambda: float = 0.95
    """Lambda of generalised advantage estimation, per decision [0.95]."""
    clip: float = 0.2
    """PPO's clip of the probability ratio [0.2]."""
    value_coefficient: float = 1.0
    """Weight of the value loss [1e-4]. Actor and critic share no weights and gradients are clipped for each, so
    with Adam its size hardly matters."""
    max_grad_norm: float = 1.0
    """Largest gradient norm, of actor and of critic [1.0]."""
    advantage_per_minibatch: bool = True
    """Normalise advantages per minibatch [yes], else once per rollout."""
    hidden: tuple[int, ...] = (256, 128, 64)
    """Widths of actor and critic [256, 128, 64]."""
    activation: str = "elu"
    """Activation of actor and critic, a name that rsl_rl knows [elu]."""

    def validate(self) -> None:
        """Raise ScoreError for values out of range."""
        for name in ("learning_rate", "epochs", "minibatches", "clip", "max_grad_norm"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ScoreError(f"ppo.{name} must be positive, got {getattr(self, name)}")
        for name in ("gamma", "gae_lambda", "final_learning_rate"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ScoreError(f"ppo.{name} must lie in [0, 1], got {getattr(self, name)}")
        if not self.hidden or min(self.hidden) < 1:
            raise ScoreError(f"ppo.hidden needs one or more positive widths, got {tuple(self.hidden)}")

    def minibatch_size(self, decisions: int) -> int:
        """Decisions per minibatch of a rollout of so many. Raises ScoreError for fewer than 2."""
        if (size := decisions // self.minibatches) < 2:
            raise ScoreError(
                f"ppo.minibatches = {self.minibatches} puts {size} of a rollout's {decisions} decisions into each; "
                f"2 are the least, so at most {decisions // 2} minibatches"
            )
        return size


class GaussianActor(MLPModel):
    """Diagonal Gaussian over actions with a state-independent log-std; it starts at exactly N(0, I).

    rsl_rl adds `-entropy_coef * output_entropy` to the loss. The entropy bonus is not used here; its slot carries
    the `penalties`, where there are any.
    """

    def __init__(self, inputs: int, outputs: int, hidden: tuple[int, ...], activation: str) -> None:
        super().__init__(
            {"actor": torch.zeros(1, inputs)},
            {"actor": ["actor"]},
            "actor",
            outputs,
            hidden_dims=list(hidden),
            activation=activation,
            distribution_cfg={"class_name": "GaussianDistribution", "init_std": 1.0, "std_type": "log"},
        )
        nn.init.zeros_(self.mlp[-1].weight)
        nn.init.zeros_(self.mlp[-1].bias)
        self.penalties: tuple[Penalty, ...] = ()
        self._penalty_values: dict[str, list[float]] = {}

    def mean_std(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (n, d) and standard deviation (d,) at inputs (n, c)."""
        return self.mlp(inputs), self.distribution.log_std_param.exp()

    @property
    def output_entropy(self) -> Tensor:
        """Minus the sum of the penalties (1,); the plain entropy where there are none."""
        if not self.penalties:
            return super().output_entropy
        total = torch.zeros(1, device=self.distribution.log_std_param.device)
        for penalty in self.penalties:
            loss = penalty.loss(self).mean()
            self._penalty_values.setdefault(penalty.name, []).append(float(loss.detach()))
            total = total + penalty.coefficient * loss
        return -total

    def take_penalties(self) -> dict[str, float]:
        """Mean of every penalty, before its coefficient, over the gradient steps since the last call."""
        taken, self._penalty_values = self._penalty_values, {}
        return {name: sum(values) / len(values) for name, values in taken.items()}


@dataclass(frozen=True)
class Penalty:
    """A further term of the actor's loss: `coefficient` times the mean of `loss(actor)`."""

    name: str
    """What it is called in the log."""
    coefficient: float
    """Its weight."""
    loss: Callable[[GaussianActor], Tensor]
    """Actor -> (m,) losses, e.g. on a minibatch that it draws from torch's global generator."""


def prior_penalty(inputs: Tensor, batch: int, coefficient: float) -> Penalty:
    """KL to the prior on `batch` of these inputs (m, c), drawn anew for every gradient step."""

    def loss(actor: GaussianActor) -> Tensor:
        picked = torch.randint(len(inputs), (batch,), device=inputs.device)
        return kl_to_prior(*actor.mean_std(inputs[picked]))

    return Penalty("prior_kl_real", coefficient, loss)


def kl_to_prior(mean: Tensor, std: Tensor) -> Tensor:
    """KL(N(mean, std^2) || N(0, I)), summed over dimensions: mean (n, d), std (d,) -> (n,)."""
    return 0.5 * (mean**2 + std**2 - 1.0 - 2.0 * std.log()).sum(dim=-1)


@contextmanager
def seeded(*key: int | str, device: str = "cpu") -> Iterator[None]:
    """Run the body with torch's global generator seeded by the key; the outer state comes back unchanged."""
    devices = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive_seed(*key))
        yield


@dataclass(frozen=True)
class Sizes:
    """Widths and counts of a learner."""

    context: int
    """Width of the actor's input."""
    critic: int
    """Width of the critic's input."""
    action: int
    """Width of what the actor chooses."""
    envs: int
    """Environments that decide together."""
    decisions: int
    """Decisions per environment and rollout."""


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

        `penalties`: further terms of the actor's loss.

        Raises ScoreError for a configuration out of range.
        """
        config.validate()
        self.config, self.device, self.critic_dim = config, device, sizes.critic
        self.actor = GaussianActor(sizes.context, sizes.action, config.hidden, config.activation).to(device)
        self.actor.penalties = tuple(penalties)
        critic_input = {"critic": torch.zeros(1, sizes.critic)}
        groups = {"critic": ["critic"]}
        critic = MLPModel(critic_input, groups, "critic", 1, list(config.hidden), config.activation)
        self.critic = critic.to(device)
        self.moments = EmpiricalNormalization(sizes.critic).to(device)
        self.algorithm = PPO(
            self.actor,
            self.critic,
            _storage(sizes, device),
            num_learning_epochs=config.epochs,
            num_mini_batches=config.minibatches,
            clip_param=config.clip,
            gamma=config.gamma**decision_steps,
            lam=config.gae_lambda,
            value_loss_coef=config.value_coefficient,
            entropy_coef=1.0 if penalties else 0.0,
            learning_rate=config.learning_rate,
            max_grad_norm=config.max_grad_norm,
            use_clipped_value_loss=False,
            schedule="fixed",
            normalize_advantage_per_mini_batch=config.advantage_per_minibatch,
            device=device,
        )
        self._timeouts: list[tuple[int, Tensor, Tensor, Tensor]] = []

    def resize(self, sizes: Sizes) -> None:
        """Continue with another number of environments or decisions (the networks stay)."""
        self.algorithm.storage = _storage(sizes, self.device)
        self._timeouts.clear()

    @torch.no_grad()
    def act(self, context: Tensor, critic: Tensor) -> Tensor:
        """Sample actions (n, d) for contexts (n, c); critic inputs (n, p) are kept for the update."""
        inputs = TensorDict({"actor": context, "critic": critic}, batch_size=[len(context)])
        action = self.actor(inputs, stochastic_output=True)
        step = RolloutStorage.Transition()
        step.observations, step.actions = inputs, action
        step.actions_log_prob = self.actor.get_output_log_prob(action)
        step.distribution_params = self.actor.output_distribution_params
        step.values = torch.zeros(len(context), 1, device=self.device)  # filled in by `update`
        self._step = step
        return action

    def record(self, reward: Tensor, done: Tensor, truncated: Tensor, steps: Tensor, final_critic: Tensor) -> None:
        """Store what became of the last `act`, per row: see `chunks.ChunkResult`.

        Where `truncated`, gamma^steps V(final_critic) is added to the reward at the end of the rollout.
        """
        self._step.rewards, self._step.dones = reward, done
        rows = truncated.nonzero().flatten()
        if len(rows):
            discount = self.config.gamma ** steps[rows].float()
            self._timeouts.append((self.algorithm.storage.step, rows, discount, final_critic[rows]))
        self.algorithm.storage.add_transition(self._step)

    def update(self, last_critic: Tensor, elapsed: float = 0.0) -> dict[str, float]:
        """Learn from the full rollout; `last_critic` (n, p) follows its last decision. Returns metrics.

        `elapsed`, 0 to 1: share of training that lies behind, for the step size.
        """
        storage = self.algorithm.storage
        if storage.step != storage.num_transitions_per_env:
            raise ScoreError(f"rollout has {storage.step} of {storage.num_transitions_per_env} decisions")
        with torch.no_grad():
            self._compute_values()
            self.algorithm.compute_returns({"critic": self._normalized(last_critic)})
            explained = explained_variance(storage.values, storage.returns)
        for group in self.algorithm.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * (1 + elapsed * (self.config.final_learning_rate - 1))
        losses = self.algorithm.update()
        with torch.no_grad():
            metrics = self._change_of_policy()
        metrics.update(explained_variance=explained, value_loss=losses["value"], surrogate_loss=losses["surrogate"])
        return metrics | self.actor.take_penalties()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that learning changes: tensors, and JSON-ready settings of the optimiser."""
        optimizer, settings = optimizer_to_tensors(self.algorithm.optimizer)
        parts = {"actor": self.actor.state_dict(), "critic": self.critic.state_dict()}
        parts |= {"moments": self.moments.state_dict(), "optimizer": optimizer}
        tensors = {name: value for part, values in parts.items() for name, value in with_prefix(part, values).items()}
        return tensors, settings

    def load_state(self, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], source: object) -> None:
        """Put back a `state`; `source` is named in errors. Raises ScoreError where it does not fit."""
        modules = {"actor": self.actor, "critic": self.critic, "moments": self.moments}
        for part, module in modules.items():
            load_module(module, take_prefix(part, tensors), source)
        restore_optimizer(self.algorithm.optimizer, take_prefix("optimizer", tensors), settings, source)

    def _compute_values(self) -> None:
        """Update the moments, normalise the stored critic inputs, fill in values and time-out bootstraps."""
        storage = self.algorithm.storage
        raw = storage.observations["critic"]
        self.moments.update(raw.flatten(0, 1))
        storage.observations["critic"] = self._normalized(raw)
        storage.values.copy_(self.critic(storage.observations))
        for step, rows, discount, final_critic in self._timeouts:
            value = self.critic({"critic": self._normalized(final_critic)})
            storage.rewards[step, rows] += discount.unsqueeze(1) * value
        self._timeouts.clear()

    def _normalized(self, critic: Tensor) -> Tensor:
        return self.moments(critic).clamp(-_CRITIC_LIMIT, _CRITIC_LIMIT)

    def _change_of_policy(self) -> dict[str, float]:
        """Old against new policy over the rollout, and what the new one looks like."""
        storage = self.algorithm.storage
        self.actor(storage.observations, stochastic_output=True)
        kl = self.actor.get_kl_divergence(storage.distribution_params, self.actor.output_distribution_params)
        log_prob = self.actor.get_output_log_prob(storage.actions)
        ratio = (log_prob - storage.actions_log_prob.squeeze(-1)).exp()
        mean, std = self.actor.output_mean, self.actor.output_std
        return {
            "kl": float(kl.mean()),
            "clip_fraction": float(((ratio - 1.0).abs() > self.config.clip).float().mean()),
            "latent_mean_square": float(mean.square().mean()),
            "latent_std": float(std.mean()),
        }


def _storage(sizes: Sizes, device: str) -> RolloutStorage:
    widths = {"actor": sizes.context, "critic": sizes.critic}
    example = TensorDict(
        {name: torch.zeros(sizes.envs, width) for name, width in widths.items()}, batch_size=[sizes.envs]
    )
    return RolloutStorage("rl", sizes.envs, sizes.decisions, example, (sizes.action,), device)


class Critic(nn.Module):
    """A value (n,) of inputs (n, p), normalised by running moments; for learners other than PPO."""

    def __init__(self, inputs: int, hidden: tuple[int, ...], activation: str) -> None:
        super().__init__()
        self.moments = EmpiricalNormalization(inputs)
        self.network = MLP(inputs, 1, list(hidden), activation)

    def observe(self, inputs: Tensor) -> None:
        """Update the moments with inputs (n, p)."""
        self.moments.update(inputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Values (n,)."""
        return self.network(self.moments(inputs).clamp(-_CRITIC_LIMIT, _CRITIC_LIMIT)).squeeze(-1)


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """1 - Var(returns - values) / Var(returns); NaN where all returns are equal."""
    variance = returns.var()
    return float(1.0 - (returns - values).var() / variance) if variance > 0 else float("nan")
