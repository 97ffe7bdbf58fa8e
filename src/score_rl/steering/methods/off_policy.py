"""SCORE by an off-policy learner, for simulators that are slow: every roll-out is learned from many times.

    replay    (o, s, w, r, o', s') of all roll-outs
    Q(s, a)   two critics of chunks, towards r + gamma^k min Q'(s', a'(w')), w' ~ pi_steer(. | o'): a(w) is the base
              policy's chunk with the unchosen modes at 0
    N(s, w)   the noise critic, towards min Q(s, a(w)); half of the w are the prior's, half those of roll-outs
    pi_steer  ascends N(s, w), w ~ pi_steer(. | o), with a temperature that holds its standard deviation

Source: Wagenmaker et al. 2025 (DSRL, arXiv 2506.15799), noise-aliased form. Critics read what only the simulator knows.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from score_rl.contracts import Context, FlowPolicy, Window
from score_rl.core.checkpoints import (
    joined,
    load_module,
    optimizer_to_tensors,
    restore_optimizer,
    take_prefix,
    with_prefix,
)
from score_rl.core.chunks import ChunkResult
from score_rl.core.ranges import Count, NonNegative, Positive, Share
from score_rl.core.records import validate
from score_rl.steering.learning import Rollout, Sizes, gradient_step, mean_losses
from score_rl.steering.method import Method, SteeringSpec, latent_head
from score_rl.steering.networks import GaussianActor, Moments, mlp

if TYPE_CHECKING:
    from score_rl.steering.ppo import PPOConfig


@dataclass(frozen=True)
class OffPolicyConfig:
    """The learner; discount and widths are those of --learner.ppo."""

    learning_rate: Positive = 3e-4
    """Adam step size of actor and critics."""
    batch: Count = 256
    """Transitions per gradient step."""
    updates: Positive = 0.5
    """Gradient steps per decision."""
    target_share: Share = 0.005
    """Share of the critics that goes into their targets after every gradient step."""
    std: Positive = 0.5
    """Standard deviation of the actor that the temperature holds, as a geometric mean."""
    prior: NonNegative = 0.02
    """Weight of |w|^2 / 2 of the actor's mean, in units of the returns' standard deviation."""


class Critics(nn.Module):
    """Two critics Q(s, x) of inputs s (n, p) and x (n, m)."""

    def __init__(self, inputs: int, width: int, network: tuple) -> None:
        super().__init__()
        hidden, activation, _ = network
        self.moments = Moments(inputs)
        self.heads = nn.ModuleList(mlp(inputs + width, 1, hidden, activation, True) for _ in range(2))

    def forward(self, inputs: Tensor, x: Tensor) -> Tensor:
        """(2, n) values."""
        joint = torch.cat((self.moments.normalize(inputs), x), dim=-1)
        return torch.stack([head(joint).squeeze(-1) for head in self.heads])


class OffPolicyLearner:
    """Actor, critics, replay; see `steering.method.Learns`. Its replay is no part of a checkpoint."""

    def __init__(self, sizes: Sizes, ppo: PPOConfig, policy: FlowPolicy, spec: SteeringSpec, device: str) -> None:
        """Initial weights come from torch's global generator."""
        validate(ppo, "ppo")
        self.ppo, self.spec, self.policy, self.device, self.config = ppo, spec, policy, device, spec.own(OffPolicyConfig)
        self.head = latent_head(spec, device)
        width = spec.chunk_shape[0] * spec.chunk_shape[1]
        self.actor = GaussianActor(sizes.context, sizes.action, *ppo.network).to(device)
        self.critics = Critics(sizes.critic, width, ppo.network).to(device)
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.noise = Critics(sizes.critic, sizes.action, ppo.network).to(device)
        networks = {"actor": self.actor, "critics": self.critics, "noise": self.noise}
        self.optimizers = {n: torch.optim.Adam(m.parameters(), lr=self.config.learning_rate) for n, m in networks.items()}
        self.log_temperature = torch.tensor(math.log(0.1))
        self.replay: dict[str, Tensor] = {}
        self.resize(sizes)

    def resize(self, sizes: Sizes) -> None:
        """See `steering.method.Learns`."""
        self.rollout = Rollout(sizes.decisions, self.ppo.gamma, self.spec.execute_steps)

    @torch.no_grad()
    def act(self, context: Context, critic: Tensor, window: Window | None = None) -> Tensor:
        """See `steering.method.Learns`."""
        mean, std = self.actor.mean_std(context.features)
        noise, share = torch.randn_like(mean), self.ppo.noise_correlation
        if share > 0 and len(self.rollout):
            noise = share * self._explored + math.sqrt(1.0 - share**2) * noise
        self._explored = noise
        w = mean + std * noise
        self.rollout.decide(critic, w=w, **with_prefix("window", window))
        return w

    def record(self, result: ChunkResult, final_critic: Tensor) -> None:
        """See `steering.method.Learns`."""
        self.rollout.record(result, final_critic)
        self.rollout.steps[-1]["truncated"] = result.truncated

    def update(self, last_critic: Tensor, elapsed: float = 0.0) -> dict[str, float]:
        """See `steering.method.Learns`."""
        self.critics.moments.observe(self.rollout["critic"].flatten(0, 1))
        for other in (self.targets, self.noise):
            other.moments.load_state_dict(self.critics.moments.state_dict())
        self._remember()
        steps = max(1, round(self.config.updates * self.rollout["reward"].numel()))
        losses = [self._step() for _ in range(steps)]
        self.rollout.clear()
        std = self.actor.log_std.detach().exp()
        return mean_losses(losses) | {
            "latent_std": float(std.mean()),
            "temperature": float(self.log_temperature.exp()),
            "replay": float(len(self.replay["w"])),
        }

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `steering.method.Learns`."""
        parts = {"actor": self.actor, "critics": self.critics, "targets": self.targets, "noise": self.noise}
        tensors, settings = {}, {}
        for name, optimizer in self.optimizers.items():
            tensors[f"optimizer_{name}"], settings[name] = optimizer_to_tensors(optimizer)
        return joined(**{n: m.state_dict() for n, m in parts.items()}, **tensors), settings

    def load_state(self, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], source: object) -> None:
        """See `steering.method.Learns`."""
        parts = {"actor": self.actor, "critics": self.critics, "targets": self.targets, "noise": self.noise}
        for name, module in parts.items():
            load_module(module, take_prefix(name, tensors), source)
        for name, optimizer in self.optimizers.items():
            restore_optimizer(optimizer, take_prefix(f"optimizer_{name}", tensors), settings[name], source)

    def _remember(self) -> None:
        """Append the roll-out's transitions whose next state is known: all but the last ones and those cut by time."""
        rollout, keys = self.rollout, [f"window.{key}" for key in self.policy.spec.window]
        now = {name: rollout[name] for name in ("critic", "w", "reward", "done", "truncated", *keys)}
        following = {f"next.{name}": torch.cat((now[name][1:], now[name][-1:])) for name in ("critic", *keys)}
        known = ~now["truncated"]
        known[-1] &= now["done"][-1]
        found = {name: values[known] for name, values in (now | following).items()}
        self.replay = {n: torch.cat((self.replay[n], v)) if self.replay else v for n, v in found.items()}

    def _chunk(self, rows: Mapping[str, Tensor], w: Tensor, prefix: str) -> Tensor:
        """Normalised chunks (m, h a) that the base policy makes of w (m, d)."""
        window = {key: rows[f"{prefix}window.{key}"] for key in self.policy.spec.window}
        context = self.policy.encode(window)
        latent = self.head.map.clamp(self.head.map.expand(w))
        return self.policy.normalize(context, self.policy.decode(context, latent)).flatten(1)

    def _features(self, rows: Mapping[str, Tensor], prefix: str = "") -> Tensor:
        return self.policy.encode({key: rows[f"{prefix}window.{key}"] for key in self.policy.spec.window}).features

    def _step(self) -> dict[str, Tensor]:
        config, discount = self.config, self.ppo.gamma**self.spec.execute_steps
        index = torch.randint(len(self.replay["w"]), (config.batch,))
        rows = {name: values[index] for name, values in self.replay.items()}
        with torch.no_grad():
            mean, std = self.actor.mean_std(self._features(rows, "next."))
            w = mean + std * torch.randn_like(mean)
            value = self.targets(rows["next.critic"], self._chunk(rows, w, "next.")).min(dim=0).values
            target = rows["reward"] + discount * (1.0 - rows["done"].float()) * value
            chunk = self._chunk(rows, rows["w"], "")
        loss = (self.critics(rows["critic"], chunk) - target).square().mean()
        gradient_step(self.optimizers["critics"], loss, (self.critics,), 10.0)
        with torch.no_grad():
            half = config.batch // 2
            drawn = torch.cat((torch.randn_like(rows["w"][:half]), rows["w"][half:]))
            aim = self.critics(rows["critic"], self._chunk(rows, drawn, "")).min(dim=0).values
        distilled = (self.noise(rows["critic"], drawn) - aim).square().mean()
        gradient_step(self.optimizers["noise"], distilled, (self.noise,), 10.0)
        mean, std = self.actor.mean_std(self._features(rows))
        scale = target.std().clamp(min=1e-3)
        gain = self.noise(rows["critic"], mean + std * torch.randn_like(mean)).mean() / scale
        entropy, temperature = std.log().mean(), self.log_temperature.exp()
        objective = gain + temperature * entropy - config.prior * mean.square().sum(dim=-1).mean() / 2
        gradient_step(self.optimizers["actor"], -objective, (self.actor,), 1.0)
        self.log_temperature -= 1e-3 * (float(entropy.detach()) - math.log(config.std))
        with torch.no_grad():
            for old, new in zip(self.targets.heads.parameters(), self.critics.heads.parameters()):
                old.lerp_(new, config.target_share)
        return {
            "value_loss": loss.detach(),
            "noise_loss": distilled.detach(),
            "surrogate_loss": -gain.detach(),
            "latent_mean_square": mean.detach().square().mean(),
        }


OFF_POLICY = Method("off_policy", make_head=latent_head, make_learner=OffPolicyLearner, steers=True)
