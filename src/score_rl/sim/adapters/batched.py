"""Environments that step n rows as torch tensors behind Gymnasium's interface (ManiSkill) as a World.

Such an environment takes and returns tensors (n, ...) on its own device and does not reset finished rows: this
adapter does, by `reset(seed=[...], options={"env_idx": rows})`. ManiSkill seeds most of a reset once for all rows
that begin, so rows cannot be seeded one by one (`WorldSpec.row_seeds`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from score_rl.contracts import COMMAND, ArraySpec, Interface, Observation, StepResult, WorldSpec
from score_rl.core.errors import ScoreError
from score_rl.core.interfaces import action_spec, check_interface
from score_rl.core.seeding import derive_seed
from score_rl.sim.adapters.rows import STEP, check_rows, one_per_row, returned
from score_rl.sim.adapters.success import Rule, Step, success_rule
from score_rl.sim.adapters.vecenv import check_bounds

STATE = "state"
"""Actor key of an observation that is one tensor; entries of a mapping keep their names."""


class BatchedEnv(Protocol):
    """What is used of ManiSkill's `BaseEnv`; build it without its own auto-reset and time limit."""

    num_envs: int
    device: torch.device | str

    def reset(self, *, seed: Sequence[int] | None, options: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
        """(observations of all rows, info) after the rows `env_idx` of the options, or all, began anew."""
        ...

    def step(self, action: Tensor) -> tuple[Any, Tensor, Tensor, Tensor, Mapping[str, Any]]:
        """Observations, rewards (n,), terminated (n,), truncated (n,) and info of tensors (n,)."""
        ...


class BatchedWorld:
    """A batched environment behind the World contract (see `contracts.World`); nothing leaves its device.

    Actor and critic group: the observation, and `command`, the last action sent. Reward: 1 where a row is solved,
    which ends its episode. A row that is not finite ends with info `nan`, no reward and no success.
    """

    def __init__(
        self,
        env: BatchedEnv,
        control_rate_hz: float,
        time_limit: int,
        action_low: Sequence[float],
        action_high: Sequence[float],
        success: str | Rule = "success",
        name: str = "batched",
    ) -> None:
        """Wrap `env`. success: see `adapters.success`; as text an entry of the info.

        Raises ScoreError for an environment that cannot be a World.
        """
        check_bounds(action_low, action_high)
        if time_limit < 1:
            raise ScoreError(f"time_limit must be at least 1 control step, got {time_limit}")
        self.env, self._name, self._closed = env, name, False
        self._success = success_rule(success, _of_info) if isinstance(success, str) else success
        self._low, self._high = (torch.tensor(b, device=env.device) for b in (action_low, action_high))
        self._command = torch.zeros(env.num_envs, len(action_low), device=env.device)
        self._age = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)
        self._seeds, self._resets = [0] * env.num_envs, 0
        self._promised: Mapping[str, ArraySpec] | None = None
        shown, _ = self._observe(env.reset(seed=self._seeds, options={})[0])
        arrays = {key: ArraySpec(tuple(value.shape[1:])) for key, value in shown.actor.items()}
        action = action_spec(tuple(f"action_{k}" for k in range(len(action_low))))
        self.spec = WorldSpec(
            num_envs=env.num_envs,
            interface=Interface(arrays | {COMMAND: action}, action, control_rate_hz),
            critic=arrays,
            action_low=tuple(action_low),
            action_high=tuple(action_high),
            time_limit=time_limit,
            device=str(env.device),
            name=name,
            row_seeds=False,
        )
        check_interface(self.spec.interface, name)
        self._promised = {key: array for key, array in arrays.items() if key != COMMAND}

    def reset(self, seeds: Sequence[int]) -> Observation:
        """See `World.reset`."""
        if len(seeds) != self.spec.num_envs:
            raise ScoreError(f"{self._name} has {self.spec.num_envs} environments, got {len(seeds)} seeds")
        self._seeds, self._resets = list(seeds), 0
        self._command, self._age = torch.zeros_like(self._command), torch.zeros_like(self._age)
        return self._observe(self.env.reset(seed=self._row_seeds(range(len(seeds))), options={})[0])[0]

    def step(self, action: Tensor) -> StepResult:
        """See `World.step`."""
        if action.shape != self._command.shape:
            raise ScoreError(f"{self._name} takes actions {tuple(self._command.shape)}, got {tuple(action.shape)}")
        if not action.isfinite().all():
            raise ScoreError("actions must be finite")
        self._command = torch.clamp(action.detach().to(self._command), self._low, self._high)
        self._age = self._age + 1
        stepped = self.env.step(self._command.clone())
        raw, reward, terminated, truncated, info = returned(stepped, STEP, self._name)
        flags = torch.as_tensor(self._success(Step(raw, reward, terminated, info)), device=self._age.device)
        n, what = self.spec.num_envs, self._name
        flags, terminated = (
            one_per_row(flags, n, f"success of {what}"),
            one_per_row(terminated, n, f"terminated of {what}"),
        )
        truncated = one_per_row(truncated, n, f"truncated of {what}")
        final, nan = self._observe(raw)
        nan = nan | ~(flags.isfinite() & terminated.isfinite() & truncated.isfinite())
        success = flags.bool() & ~nan
        terminated = terminated.bool() | success | nan
        truncated = (truncated.bool() | (self._age >= self.spec.time_limit)) & ~terminated
        done = terminated | truncated
        observation = self._restart(done) if done.any() else final
        return StepResult(observation, success.float(), terminated, truncated, success, final, {"nan": nan})

    def close(self) -> None:
        """See `World.close`."""
        close = getattr(self.env, "close", None)
        if callable(close) and not self._closed:
            close()
        self._closed = True

    def _restart(self, done: Tensor) -> Observation:
        """Start the next episode of the rows that are done."""
        self._resets += 1
        self._age = self._age.masked_fill(done, 0)
        self._command = self._command.masked_fill(done[:, None], 0.0)
        rows = done.nonzero().flatten()
        return self._observe(self.env.reset(seed=self._row_seeds(rows.tolist()), options={"env_idx": rows})[0])[0]

    def _row_seeds(self, rows: Sequence[int]) -> list[int]:
        return [derive_seed("batched", self._seeds[row], self._resets) % 2**31 for row in rows]

    def _observe(self, raw: Any) -> tuple[Observation, Tensor]:
        """Both groups as copies, and which rows were not finite (those are zero)."""
        entries = raw if isinstance(raw, Mapping) else {STATE: raw}
        if COMMAND in entries:
            raise ScoreError(f"{self._name}: an observation '{COMMAND}' would be hidden by the last action sent")
        values = {key: value.detach().float().reshape(len(value), -1) for key, value in entries.items()}
        check_rows(values, self.env.num_envs, self._name, self._promised)
        nan = torch.stack([~value.isfinite().all(dim=1) for value in values.values()]).any(dim=0)
        actor = {key: torch.where(nan[:, None], 0.0, value) for key, value in values.items()}
        actor[COMMAND] = self._command.clone()
        return Observation(actor, {key: value.clone() for key, value in actor.items()}), nan


def _of_info(key: str) -> Rule:
    """The rule that reads an entry of the info."""

    def flags(step: Step) -> Any:
        if key not in step.info:
            raise ScoreError(f"the environment's info has no '{key}'; it has {sorted(step.info)}: pass success=<key>")
        return step.info[key]

    return flags
