"""Any rsl_rl `VecEnv` (Isaac Lab, mjlab, legged gyms, ...) as a World.

A `VecEnv` says less than a World does, and what is missing is given by the caller or stated here:

- It has no seeds. `reset` starts it from the seeds of all rows, in the way that the environment offers.
- It does not say what success is. `success` reads that from its `extras`.
- It resets finished rows itself and keeps their last observation. Unless `final` finds it in the `extras`, a row's
  observation before the last step stands for it: one step stale, as in rsl_rl's own bootstrap at time-outs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from score_rl.contracts import COMMAND, ArraySpec, Interface, Observation, StepResult, WorldSpec
from score_rl.core.errors import ScoreError
from score_rl.core.interfaces import action_spec, check_interface
from score_rl.core.seeding import derive_seed
from score_rl.sim.adapters.rows import check_rows, one_per_row, returned
from score_rl.sim.adapters.success import Rule, Step, success_rule

STEP = ("observations", "rewards", "dones", "extras")
"""What a step of a VecEnv returns."""
Groups = Mapping[str, Tensor]
"""Observation groups of a VecEnv: name -> (n, *shape); its TensorDict is one."""


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
        success: str | Rule,
        reset: Callable[[VecEnv, Sequence[int]], None] = seed_and_reset,
        final: Callable[[Mapping[str, Any]], Groups] | None = None,
        actor: Sequence[str] = ("policy",),
        critic: Sequence[str] = ("critic",),
        action_names: Sequence[str] | None = None,
        name: str = "vecenv",
    ) -> None:
        """Wrap `env`. success: when a row is solved before any reset, see `adapters.success`; as text an entry of the
        extras or of their `log`. final: extras -> groups of the last observations, read where an episode ended. With
        the default `reset` rows cannot be seeded one by one (`WorldSpec.row_seeds`).
        Raises ScoreError for an environment that cannot be a World.
        """
        if len(action_low) != env.num_actions or len(action_high) != env.num_actions:
            raise ScoreError(
                f"{name} has {env.num_actions} actions; got {len(action_low)} lower, {len(action_high)} upper bounds"
            )
        if not isinstance(env.max_episode_length, int):
            raise ScoreError(f"{name} must have one time limit for all rows, got {env.max_episode_length!r}")
        check_bounds(action_low, action_high)
        self._success = success_rule(success, _of_extras) if isinstance(success, str) else success
        self.env, self._reset, self._final = env, reset, final
        self._actor, self._critic, self._name, self._closed = tuple(actor), tuple(critic), name, False
        self._low, self._high = (
            torch.tensor(b, dtype=torch.float32, device=env.device) for b in (action_low, action_high)
        )
        self._command = torch.zeros(env.num_envs, env.num_actions, device=env.device)
        self._promised: Mapping[str, ArraySpec] | None = None
        self._last, _ = self._observe(env.get_observations(), self._command)
        shown = {key: ArraySpec(tuple(value.shape[1:])) for key, value in self._last.actor.items()}
        action = action_spec(tuple(action_names or (f"action_{i}" for i in range(env.num_actions))))
        self.spec = WorldSpec(
            num_envs=env.num_envs,
            interface=Interface(shown | {COMMAND: action}, action, control_rate_hz),
            critic={key: ArraySpec(tuple(value.shape[1:])) for key, value in self._last.critic.items()},
            action_low=tuple(action_low),
            action_high=tuple(action_high),
            time_limit=env.max_episode_length,
            device=str(env.device),
            name=name,
            row_seeds=reset is not seed_and_reset,
        )
        check_interface(self.spec.interface, name)
        self._promised = {**self.spec.critic, **{key: array for key, array in shown.items() if key != COMMAND}}

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
        groups, reward, done, extras = returned(self.env.step(sent), STEP, self._name)
        n, what = self.spec.num_envs, self._name
        reward, done = one_per_row(reward, n, f"the reward of {what}"), one_per_row(done, n, f"done of {what}")
        unknown, done = ~done.isfinite(), done.bool().clone()
        timeout = torch.as_tensor(extras.get("time_outs", torch.zeros_like(done)), device=done.device)
        timeout = one_per_row(timeout, n, f"time_outs of {what}")
        unknown, timeout = unknown | ~timeout.isfinite(), timeout.bool()
        flags = torch.as_tensor(self._success(Step(groups, reward, done & ~timeout, extras)), device=done.device)
        flags = one_per_row(flags, n, f"success of {what}")
        self._command = torch.where(done[:, None], 0.0, sent)
        observation, nan = self._observe(groups, self._command)
        nan = nan | unknown | ~reward.isfinite() | ~flags.isfinite()
        final = self._final_observation(observation, done, sent, extras)
        self._last = observation
        return StepResult(
            observation=observation,
            reward=torch.where(nan, 0.0, reward.float()),
            terminated=(done & ~timeout) | nan,
            truncated=done & timeout & ~nan,
            success=flags.bool() & ~nan,
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

        def picked(old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {key: torch.where(_rows(done, value), old[key], value) for key, value in new.items()}

        return Observation(picked(ended.actor, observation.actor), picked(ended.critic, observation.critic))

    def _observe(self, groups: Groups, command: Tensor) -> tuple[Observation, Tensor]:
        """Both groups as copies, and which rows were not finite (those are zero)."""
        if COMMAND in self._actor:
            raise ScoreError(
                f"{self._name}: an observation group '{COMMAND}' would be hidden by the last action sent"
            )
        wanted = {key: self._group(groups, key) for key in (*self._actor, *self._critic)}
        check_rows(wanted, self.env.num_envs, self._name, self._promised)
        nan = torch.stack([~value.isfinite().flatten(1).all(dim=1) for value in wanted.values()]).any(dim=0)
        clean = {key: value.masked_fill(_rows(nan, value), 0) for key, value in wanted.items()}
        actor = {key: clean[key] for key in self._actor} | {COMMAND: command.clone()}
        return Observation(actor, {key: clean[key].clone() for key in self._critic}), nan

    def _group(self, groups: Groups, key: str) -> Tensor:
        if key not in groups.keys():  # noqa: SIM118 (a TensorDict is no container of its keys)
            raise ScoreError(f"{self._name} has no observation group '{key}'; it has {sorted(groups.keys())}")
        return groups[key].detach().float().clone()


def check_bounds(low: Sequence[float], high: Sequence[float]) -> None:
    """Raise ScoreError for bounds of actions that are infinite or leave nothing to choose."""
    for k, (lower, upper) in enumerate(zip(low, high)):
        if not (math.isfinite(lower) and math.isfinite(upper) and lower < upper):
            raise ScoreError(f"action {k} has bounds {lower:g} to {upper:g}; they must be finite, the lower one less")


def _of_extras(key: str) -> Rule:
    """The rule that reads an entry of the extras, or of their log."""

    def flags(step: Step) -> Any:
        for entries in (step.info, step.info.get("log", {})):
            if key in entries:
                return entries[key]
        known = sorted({*step.info, *step.info.get("log", {})})
        raise ScoreError(f"the environment's extras have no '{key}'; they have {known}: pass success=<key>")

    return flags


def _rows(chosen: Tensor, values: Tensor) -> Tensor:
    """(n,) bool, to broadcast against values (n, ...)."""
    return chosen.view(-1, *[1] * (values.ndim - 1))
