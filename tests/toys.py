"""A world and a flow policy small enough to work out by hand.

The world: a point on a line must reach the goal on its left or its right; both ends are equally likely. The
policy: every chunk goes left or right by the sign of the latent's mean, whatever the observation says. So the
base policy wanders, and steering can learn to read the goal and choose.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from score_rl.contracts import (
    ArraySpec,
    Context,
    Interface,
    Observation,
    PlainContext,
    PolicySpec,
    StepResult,
    WorldSpec,
)
from score_rl.core.chunks import ChunkResult
from score_rl.core.fingerprint import fingerprint
from score_rl.core.interfaces import action_spec
from score_rl.core.seeding import rng

INTERFACE = Interface(
    observation={"state": ArraySpec((2,)), "command": ArraySpec((1,))},
    action=action_spec(("push",), "normalised"),
    control_rate_hz=10.0,
)


def vectors(**widths: int) -> dict[str, ArraySpec]:
    """Keys of plain numbers by their widths."""
    return {key: ArraySpec((width,)) for key, width in widths.items()}


def policy_spec(
    keys: dict[str, int], names: tuple[str, ...], history: int, horizon: int, unit: str = "rad", rate_hz: float = 10.0
) -> PolicySpec:
    """A policy of plain numbers, with latents of its chunks' shape."""
    interface = interface_of(keys, names, unit, rate_hz)
    return PolicySpec(interface, history, horizon, (horizon, len(names)))


def interface_of(keys: dict[str, int], names: tuple[str, ...], unit: str = "rad", rate_hz: float = 10.0) -> Interface:
    """Keys of plain numbers; the command has the actions' names."""
    action = action_spec(names, unit)
    return Interface(
        vectors(**keys) | ({"command": action} if keys.get("command") == len(names) else {}), action, rate_hz
    )


def decided(reward: Tensor, done: Tensor, truncated: Tensor, steps: Tensor) -> ChunkResult:
    """What became of a decision, (n,) each, as far as learners read it; nothing succeeded."""
    nothing = Observation({}, {})
    return ChunkResult(reward, steps, done & ~truncated, truncated, torch.zeros_like(done), reward, {}, nothing)


class ToyWorld:
    """Position += 0.1 action per step; success within 0.05 of the goal at +-1; terminates there."""

    def __init__(self, num_envs: int = 4, time_limit: int = 16, name: str = "toy", device: str = "cpu") -> None:
        self.spec = WorldSpec(
            num_envs=num_envs,
            interface=INTERFACE,
            critic={"truth": ArraySpec((2,))},
            action_low=(-1.0,),
            action_high=(1.0,),
            time_limit=time_limit,
            device=device,
            name=name,
        )

    def reset(self, seeds: Sequence[int]) -> Observation:
        if len(seeds) != self.spec.num_envs:
            raise ValueError(f"expected {self.spec.num_envs} seeds, got {len(seeds)}")
        n = self.spec.num_envs
        self.seeds, self.episode = list(seeds), [0] * n
        self.position, self.goal, self.command = torch.zeros(3, n, device=self.spec.device)
        self.age = torch.zeros(n, dtype=torch.int64, device=self.spec.device)
        for row in range(n):
            self._begin(row)
        return self._observe()

    def step(self, action: Tensor) -> StepResult:
        n = self.spec.num_envs
        if action.shape != (n, 1):
            raise ValueError(f"expected actions ({n}, 1), got {tuple(action.shape)}")
        if not action.isfinite().all():
            raise ValueError("actions must be finite")
        self.command = action[:, 0].clamp(-1.0, 1.0)
        self.position = self.position + 0.1 * self.command
        self.age = self.age + 1
        success = (self.position - self.goal).abs() < 0.05
        truncated = (self.age >= self.spec.time_limit) & ~success
        final = self._observe()
        info = {"peak_force_n": self.position.abs() * 10.0, "fault": torch.zeros_like(success)}
        done = success | truncated
        for row in done.nonzero().flatten().tolist():
            self.episode[row] += 1
            self._begin(row)
        observation = self._observe() if done.any() else final
        return StepResult(observation, success.float(), success.clone(), truncated, success, final, info)

    def close(self) -> None:
        pass

    def _begin(self, row: int) -> None:
        stream = rng("toy", self.seeds[row], self.episode[row])
        self.position, self.goal = self.position.clone(), self.goal.clone()
        self.command, self.age = self.command.clone(), self.age.clone()
        self.position[row] = float(stream.uniform(-0.04, 0.04))
        self.goal[row] = float(stream.choice([-1.0, 1.0]))
        self.command[row], self.age[row] = 0.0, 0

    def _observe(self) -> Observation:
        state = torch.stack((self.position, self.goal), dim=1)
        return Observation({"state": state, "command": self.command[:, None].clone()}, {"truth": state.clone()})


class ToyPolicy(nn.Module):
    """Chunk = direction * strength + 0.05 z, direction = sign of the latent's mean over the horizon."""

    def __init__(self, horizon: int = 4, history: int = 2) -> None:
        super().__init__()
        self.spec = PolicySpec(INTERFACE, history, horizon, latent_shape=(horizon, 1))
        self.strength = nn.Parameter(torch.tensor(1.0), requires_grad=False)

    def fingerprint(self) -> str:
        return fingerprint(self.spec, self.state_dict())

    def encode(self, window: dict[str, Tensor]) -> PlainContext:
        return PlainContext(torch.cat([window[key].flatten(1) for key in self.spec.window], dim=1))

    def decode(self, context: Context, latent: Tensor) -> Tensor:
        direction = torch.where(latent.mean(dim=1, keepdim=True) >= 0, 1.0, -1.0)
        return direction * self.strength + 0.05 * latent


class ScaledToyPolicy(ToyPolicy):
    """A toy policy with normalised coordinates: actions in units of 4."""

    def normalize(self, context: Context, chunk: Tensor) -> Tensor:
        return chunk / 4.0

    def denormalize(self, context: Context, x: Tensor) -> Tensor:
        return x * 4.0


class LearnableToyPolicy(ToyPolicy):
    """A flow that can be trained: chunk = m(context) + 1.5 z_0 over the whole chunk, m linear and 0 at first.

    Its matching loss is that of a Gaussian, (x - m)^2 per step, so that a ratio of losses is one of likelihoods.
    """

    def __init__(self, horizon: int = 4, history: int = 2) -> None:
        super().__init__(horizon, history)
        self.mean = nn.Linear(6, 1)
        nn.init.zeros_(self.mean.weight)
        nn.init.zeros_(self.mean.bias)

    def decode(self, context: Context, latent: Tensor) -> Tensor:
        with torch.no_grad():
            return self.mean(context.features).unsqueeze(1) + 1.5 * latent[:, :1].expand_as(latent)

    def normalize(self, context: Context, chunk: Tensor) -> Tensor:
        return chunk

    def denormalize(self, context: Context, x: Tensor) -> Tensor:
        return x

    def matching_error(self, context: Context, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return (x - self.mean(context.features).unsqueeze(1)).square().mean(-1)

    def fresh(self) -> LearnableToyPolicy:
        return LearnableToyPolicy(self.spec.horizon, self.spec.history)
