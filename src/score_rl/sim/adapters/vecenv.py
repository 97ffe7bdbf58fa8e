"""Any rsl_rl `VecEnv` (Isaac Lab, mjlab, legged gyms, ...) as a World.

A `VecEnv` says less than a World does, and what is missing is given by the caller or stated here:

- It has no seeds. `reset` starts it from the seeds of all rows, in the way that the environment offers.
- It does not say what success is. `success` reads that from its `extras`.
- It resets finished rows itself and keeps their last observation. Unless `final` finds it in the `extras`, a row's
  observation before the last step stands for it: one step stale, as in rsl_rl's own bootstrap at time-outs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from score_rl.contracts import COMMAND, Observation, StepResult, WorldSpec
from score_rl.core.errors import ScoreError
from score_rl.core.seeding import derive_seed

Groups = Mapping[str, Tensor]
"""Observation groups of a VecEnv: name -> (n, d); its TensorDict is one."""


class VecEnv(Protocol):
    """What is used of an rsl_rl environment; rsl_rl itself is not needed."""

    num_envs: int
    num_actions: int
    max_episode_length: int
    device: torch.device | str

    def get_observations(self) -> Groups:
        """The present observations."""
        ...

    def step(self, actions: Tensor) -> tuple[Groups, Tensor, Tensor, Mapping[str, Any]]:
        """Observations, rewards (n,), dones (n,) and extras; ended rows have been reset."""
        ...


def seed_and_reset(env: VecEnv, seeds: Sequence[int]) -> None:
    """Default reset: `env.seed(seed)` from the seeds of all rows together, then `env.reset()`.

    With it a row's episodes depend on the other rows' seeds; pass a `reset` of your own where the environment can
    seed rows one by one. Raises ScoreError where the environment has neither method.
    """
    missing = [name for name in ("seed", "reset") if not callable(getattr(env, name, None))]
    if missing:
        raise ScoreError(f"{type(env).__name__} has no {' and no '.join(missing)}(): pass reset=(env, seeds) -> None")
    env.seed(derive_seed("vecenv", *seeds) % 2**31)
    env.reset()


class VecEnvWorld:
    """An rsl_rl environment behind the World contract (see `contracts.World`).

    The actor group are the observation groups named in `actor` and `command`, the last action sent (zeros at the
    start of an episode); the critic group are those named in `critic`. A row that is not finite is reported as
    terminated with info `nan` set, its numbers replaced by zeros; to reset it is the environment's business.
    """

    def __init__(
        self,
        env: VecEnv,
        control_rate_hz: float,
        action_low: Sequence[float],
        action_high: Sequence[float],
        success: Callable[[Mapping[str, Any]], Tensor],
        reset: Callable[[VecEnv, Sequence[int]], None] = seed_and_reset,
        final: Callable[[Mapping[str, Any]], Groups] | None = None,
        actor: Sequence[str] = ("policy",),
        critic: Sequence[str] = ("critic",),
        action_names: Sequence[str] | None = None,
        name: str = "vecenv",
    ) -> None:
        """Wrap `env`. success: extras -> (n,) bool of the state before any reset. final: extras -> groups of the
        last observations, read where an episode ended. Raises ScoreError for an environment that cannot be a World.
        """
        if len(action_low) != env.num_actions or len(action_high) != env.num_actions:
            raise ScoreError(
                f"{name} has {env.num_actions} actions; got {len(action_low)} lower, {len(action_high)} upper bounds"
            )
        if not isinstance(env.max_episode_length, int):
            raise ScoreError(f"{name} must have one time limit for all rows, got {env.max_episode_length!r}")
        self.env, self._success, self._reset, self._final = env, success, reset, final
        self._actor, self._critic, self._name, self._closed = tuple(actor), tuple(critic), name, False
        self._low, self._high = (
            torch.tensor(b, dtype=torch.float32, device=env.device) for b in (action_low, action_high)
        )
        self._command = torch.zeros(env.num_envs, env.num_actions, device=env.device)
        self._last, _ = self._observe(env.get_observations(), self._command)
        self.spec = WorldSpec(
            num_envs=env.num_envs,
            actor={key: value.shape[1] for key, value in self._last.actor.items()},
            critic={key: value.shape[1] for key, value in self._last.critic.items()},
            action_low=tuple(action_low),
            action_high=tuple(action_high),
            action_names=tuple(action_names or (f"action_{i}" for i in range(env.num_actions))),
            control_rate_hz=control_rate_hz,
            time_limit=env.max_episode_length,
            device=str(env.device),
            name=name,
        )

    def reset(self, seeds: Sequence[int]) -> Observation:
        """See `World.reset` and `seed_and_reset`."""
        if len(seeds) != self.spec.num_envs:
            raise ScoreError(f"{self._name} has {self.spec.num_envs} environments, got {len(seeds)} seeds")
        self._reset(self.env, seeds)
        self._command = torch.zeros_like(self._command)
        self._last, _ = self._observe(self.env.get_observations(), self._command)
        return self._last

    def step(self, action: Tensor) -> StepResult:
        """See `World.step`."""
        if action.shape != self._command.shape:
            raise ScoreError(f"{self._name} takes actions {tuple(self._command.shape)}, got {tuple(action.shape)}")
        if not action.isfinite().all():
            raise ScoreError("actions must be finite")
        sent = torch.clamp(action.detach().to(self._command), self._low, self._high)
        groups, reward, done, extras = self.env.step(sent)
        done = done.bool().clone()
        timeout = torch.as_tensor(extras.get("time_outs", torch.zeros_like(done)), device=done.device).bool()
        self._command = torch.where(done[:, None], 0.0, sent)
        observation, nan = self._observe(groups, self._command)
        final = self._final_observation(observation, done, sent, extras)
        self._last = observation
        return StepResult(
            observation=observation,
            reward=torch.where(nan, 0.0, reward.float()),
            terminated=(done & ~timeout) | nan,
            truncated=done & timeout & ~nan,
            success=self._success(extras).bool() & ~nan,
            final_observation=final,
            info={"nan": nan},
        )

    def close(self) -> None:
        """See `World.close`; closes the environment where it can be closed."""
        close = getattr(self.env, "close", None)
        if callable(close) and not self._closed:
            close()
        self._closed = True

    def _final_observation(
        self, observation: Observation, done: Tensor, sent: Tensor, extras: Mapping[str, Any]
    ) -> Observation:
        """The observation, with the last one of the ended episode where one ended."""
        if not done.any():
            return observation
        ended = self._last if self._final is None else self._observe(self._final(extras), sent)[0]
        pick = done[:, None]
        return Observation(
            {key: torch.where(pick, ended.actor[key], value) for key, value in observation.actor.items()},
            {key: torch.where(pick, ended.critic[key], value) for key, value in observation.critic.items()},
        )

    def _observe(self, groups: Groups, command: Tensor) -> tuple[Observation, Tensor]:
        """Both groups as copies, and which rows were not finite (those are zero)."""
        wanted = {key: self._group(groups, key) for key in (*self._actor, *self._critic)}
        nan = torch.stack([~value.isfinite().all(dim=1) for value in wanted.values()]).any(dim=0)
        clean = {key: torch.where(nan[:, None], 0.0, value) for key, value in wanted.items()}
        actor = {key: clean[key] for key in self._actor} | {COMMAND: command.clone()}
        return Observation(actor, {key: clean[key].clone() for key in self._critic}), nan

    def _group(self, groups: Groups, key: str) -> Tensor:
        if key not in groups.keys():  # noqa: SIM118 (a TensorDict is no container of its keys)
            raise ScoreError(f"{self._name} has no observation group '{key}'; it has {sorted(groups.keys())}")
        return groups[key].detach().float().flatten(1).clone()
