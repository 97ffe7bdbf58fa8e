"""Any `gymnasium.vector` environment with continuous actions as a World.

The vector environment must be built with `autoreset_mode=AutoresetMode.DISABLED`: only then can this adapter see
the last observation of an episode, end an episode at success, and reset one row with its own seed, so that the
k-th episode of a row depends on (seed of the row, k) alone. The other two modes are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from score_rl.contracts import COMMAND, ArraySpec, Interface, Observation, StepResult, WorldSpec
from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.extras import optional
from score_rl.core.interfaces import action_spec, check_interface
from score_rl.core.seeding import derive_seed
from score_rl.sim.adapters.rows import STEP, check_rows, numbers, returned
from score_rl.sim.adapters.success import Rule, Step, as_flags, success_rule

with optional("a Gymnasium environment"):
    import gymnasium
    from gymnasium.vector import AutoresetMode, VectorEnv

Arrays = Mapping[str, np.ndarray]
Privileged = Callable[[VectorEnv], Arrays]
"""Reads what only the simulator knows: key -> (n, *shape), in the current state of all rows."""

Reward = Literal["success", "environment"]

STATE = "state"
"""Actor key of a Box observation; the entries of a Dict observation keep their own names."""

ELAPSED = "elapsed"
"""Critic key of the share of the time limit that has passed, for worlds with a deadline."""


class GymnasiumWorld:
    """A vector environment behind the World contract (see `contracts.World`).

    Actor group: the observation (`state`, or the keys of a Dict) and `command`, the last action sent, zeros at the
    start of an episode. Critic group: the same and what `privileged` returns. A row whose observation, flag of
    success or (where it is used) reward is not finite ends with info `nan` set, no reward and no success; numbers of
    its observation are replaced by zeros.
    """

    def __init__(
        self,
        envs: VectorEnv,
        control_rate_hz: float,
        time_limit: int,
        success: str | Rule = "success",
        reward: Reward = "success",
        terminate_on_success: bool = True,
        deadline: bool = False,
        privileged: Privileged | None = None,
        action_names: Sequence[str] | None = None,
        name: str = "gymnasium",
        late_success: bool = False,
        low: float | Sequence[float] | None = None,
        high: float | Sequence[float] | None = None,
        row_seeds: bool = True,
    ) -> None:
        """Wrap `envs`; the time limit (control steps) is applied here, whatever wrappers the rows have.

        success: when a row is solved, see `adapters.success`; usually an info key. late_success: that key may be
        missing, which means that no row is solved. reward: 1 where it is solved and 0 elsewhere, or the
        environment's own. deadline: the time limit belongs to the task, so reaching it is a failure (terminated, no
        bootstrap) and the critic sees the share of it that has `elapsed`. low, high: narrower bounds of the actions,
        needed where the environment's are infinite. row_seeds: see `WorldSpec.row_seeds`.
        Raises ScoreError for an environment that cannot be a World.
        """
        _check_envs(envs, time_limit)
        if reward not in get_args(Reward):
            raise unknown_choice("reward", reward, get_args(Reward))
        self.envs, self._reward, self._late_success = envs, reward, late_success
        self._success = success_rule(success, self._of_info) if isinstance(success, str) else success
        self._terminate, self._privileged = terminate_on_success, privileged
        self._deadline, self._time_limit = deadline, time_limit
        n = envs.num_envs
        self._low, self._high = action_bounds(envs.single_action_space, low, high)
        self._command = np.zeros((n, len(self._low)), np.float32)
        self._seeds, self._episode, self._age = [0] * n, np.zeros(n, np.int64), np.zeros(n, np.int64)
        self._closed, self._name, self._promised = False, name, None
        first, _ = envs.reset(seed=[0] * n)
        actor, critic = self._groups(first)
        action = action_spec(tuple(action_names or (f"action_{i}" for i in range(len(self._low)))))
        self.spec = WorldSpec(
            num_envs=n,
            interface=Interface(
                {key: _spec(values) for key, values in actor.items()} | {COMMAND: action}, action, control_rate_hz
            ),
            critic={key: _spec(values) for key, values in critic.items()},
            action_low=tuple(self._low.tolist()),
            action_high=tuple(self._high.tolist()),
            time_limit=time_limit,
            name=name,
            row_seeds=row_seeds,
        )
        check_interface(self.spec.interface, name)
        self._promised = dict(self.spec.interface.observation), self.spec.critic

    def reset(self, seeds: Sequence[int]) -> Observation:
        """See `World.reset`. Episode k of row i starts from `env.reset(seed=derive_seed(seeds[i], k))`."""
        if len(seeds) != self.spec.num_envs:
            raise ScoreError(f"{self.spec.name} has {self.spec.num_envs} environments, got {len(seeds)} seeds")
        self._seeds = list(seeds)
        self._episode[:], self._age[:], self._command[:] = 0, 0, 0.0
        observation, _ = self.envs.reset(seed=self._episode_seeds())
        return _observation(*self._groups(observation))

    def step(self, action: Tensor) -> StepResult:
        """See `World.step`."""
        sent = action.detach().cpu().numpy()
        if sent.shape != self._command.shape:
            raise ScoreError(f"{self.spec.name} takes actions {self._command.shape}, got {sent.shape}")
        if not np.isfinite(sent).all():
            raise ScoreError("actions must be finite")
        self._command = np.clip(sent, self._low, self._high)
        self._age += 1
        raw, *ends, info = returned(self.envs.step(self._command), STEP, self._name)
        actor, critic = self._groups(raw)
        n, what = self.spec.num_envs, self._name
        reward = numbers(ends[0], n, f"the reward of {what}")
        terminated, end_known = as_flags(ends[1], n, f"terminated of {what}")
        truncated, cut_known = as_flags(ends[2], n, f"truncated of {what}")
        flags, known = as_flags(self._success(Step(raw, reward, terminated, info)), n, "success")
        known &= end_known & cut_known
        with np.errstate(over="ignore"):
            paid = flags if self._reward == "success" else reward.astype(np.float32)
        nan = _replace_nan(actor) | _replace_nan(critic) | ~known | ~np.isfinite(paid)
        success = flags & ~nan
        late = self._age >= self._time_limit
        terminated = terminated | nan | (success & self._terminate) | (late & self._deadline)
        truncated = (truncated | late) & ~terminated
        final = _observation(actor, critic)
        done = terminated | truncated
        return StepResult(
            observation=self._restart(done) if done.any() else final,
            reward=torch.from_numpy(np.where(nan, 0.0, paid).astype(np.float32)),
            terminated=torch.from_numpy(terminated),
            truncated=torch.from_numpy(truncated),
            success=torch.from_numpy(success),
            final_observation=final,
            info={"nan": torch.from_numpy(nan)},
        )

    def close(self) -> None:
        """See `World.close`."""
        if not self._closed:
            self.envs.close()
        self._closed = True

    def _restart(self, done: np.ndarray) -> Observation:
        """Start the next episode of the rows that are done."""
        self._episode[done] += 1
        self._age[done], self._command[done] = 0, 0.0
        raw, _ = self.envs.reset(seed=self._episode_seeds(), options={"reset_mask": done})
        return _observation(*self._groups(raw))

    def _episode_seeds(self) -> list[int]:
        return [derive_seed("gymnasium", seed, int(k)) for seed, k in zip(self._seeds, self._episode)]

    def _groups(self, observation: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Actor and critic group of the current state: pixels stay uint8 for the actor, all else is float32."""
        entries = observation if isinstance(observation, Mapping) else {STATE: observation}
        actor = {key: _array(values) for key, values in entries.items()}
        own: dict[str, Any] = {ELAPSED: self._age / self._time_limit} if self._deadline else {}
        extra = dict(self._privileged(self.envs)) if self._privileged is not None else {}
        for key in (*actor, *extra):
            if key in (COMMAND, *own) or (key in actor and key in extra):
                raise ScoreError(f"'{key}' is observed twice: rename the environment's own key in a wrapper")
        actor[COMMAND] = self._command.copy()
        critic = {key: _array(values).astype(np.float32) for key, values in (actor | extra | own).items()}
        for group, promised in zip((actor, critic), self._promised or (None, None)):
            check_rows(group, self.envs.num_envs, self._name, promised)
        return actor, critic

    def _of_info(self, key: str) -> Rule:
        """The rule that reads an entry of the vector info; a row without an entry is not solved."""

        def flags(step: Step) -> Any:
            info, n = step.info, self.envs.num_envs
            if key in info:
                values, given = np.asarray(info[key]), np.asarray(info.get(f"_{key}", np.ones(n, bool)), bool)
                return np.where(given, values, False) if values.shape == given.shape else values
            if self._late_success:
                return np.zeros(n, bool)
            known = sorted(name for name in info if not name.startswith("_"))
            raise ScoreError(
                f"the environment's info has no '{key}'; it has {known}: pass success=<key>, or late_success=true "
                "where it comes only in the end"
            )

        return flags


def make_envs(env_id: str, num_envs: int, processes: bool, options: Mapping[str, Any]) -> VectorEnv:
    """So many rows of a registered environment, which this adapter resets. processes: one per row."""
    return gymnasium.make_vec(
        env_id,
        num_envs=num_envs,
        vectorization_mode="async" if processes else "sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.DISABLED},
        disable_env_checker=True,
        **options,
    )


def adroit_door_world(num_envs: int, time_limit: int = 300, processes: bool = False) -> GymnasiumWorld:
    """`AdroitHandDoorSparse-v1` (Rajeswaran et al. 2018): a 24-joint hand on an arm opens a door, 100 Hz.

    Success: hinge beyond 1.35 rad, the environment's own flag; the first such step gives reward 1 and ends the
    episode, so success at the end and success ever are the same. The task is to be done within the time limit (a
    deadline). The critic also sees all joint positions and velocities, where the door stands, and the time.
    `processes`: one process per row instead of one for all.

    Raises ScoreError where gymnasium-robotics is not installed.
    """
    with optional("the Adroit door"):
        import gymnasium_robotics

    gymnasium.register_envs(gymnasium_robotics)
    envs = make_envs("AdroitHandDoorSparse-v1", num_envs, processes, {"max_episode_steps": time_limit})
    return GymnasiumWorld(envs, 100.0, time_limit, deadline=True, privileged=_adroit_state, name="adroit_door")


def _adroit_state(envs: VectorEnv) -> Arrays:
    states = envs.call("get_env_state")
    return {key: np.stack([state[key] for state in states]) for key in ("qpos", "qvel", "door_body_pos")}


def _check_envs(envs: VectorEnv, time_limit: int) -> None:
    mode = envs.metadata.get("autoreset_mode")
    if mode != AutoresetMode.DISABLED:
        raise ScoreError(
            f"the vector environment has autoreset mode {getattr(mode, 'value', mode)}; build it with "
            "gymnasium.make_vec(..., vectorization_mode='sync', "
            "vector_kwargs={'autoreset_mode': gymnasium.vector.AutoresetMode.DISABLED})"
        )
    if time_limit < 1:
        raise ScoreError(f"time_limit must be at least 1 control step, got {time_limit}")


def action_bounds(
    space: gymnasium.Space, low: float | Sequence[float] | None, high: float | Sequence[float] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Finite bounds (a,) float32 of the actions: the environment's, or narrower ones.

    Raises ScoreError for actions that are no vector, infinite bounds, bounds that leave nothing to choose, and wider
    ones than the environment's.
    """
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1 or space.shape[0] == 0:
        raise ScoreError(f"actions must be a Box of one dimension that is not empty, got {space}")
    shape = space.shape
    try:
        lower = np.broadcast_to(np.asarray(space.low if low is None else low, np.float32), shape).copy()
        upper = np.broadcast_to(np.asarray(space.high if high is None else high, np.float32), shape).copy()
    except (ValueError, TypeError) as error:
        raise ScoreError(f"bounds low={low}, high={high} do not fit actions {shape}: {error}") from error
    for k in range(shape[0]):
        if not (np.isfinite(lower[k]) and np.isfinite(upper[k])):
            raise ScoreError(
                f"action {k} is unbounded ({lower[k]:g} to {upper[k]:g}): say what may be sent, as in low=-1&high=1"
            )
        if not lower[k] < upper[k]:
            raise ScoreError(f"action {k} has bounds {lower[k]:g} to {upper[k]:g}, which leaves nothing to choose")
        if lower[k] < np.float32(space.low[k]) or upper[k] > np.float32(space.high[k]):
            raise ScoreError(
                f"bounds {lower[k]:g} to {upper[k]:g} of action {k} are wider than the environment's "
                f"{space.low[k]:g} to {space.high[k]:g}"
            )
    return lower, upper


def _array(values: Any) -> np.ndarray:
    """(n, *shape) of any number type -> a copy, uint8 where it was and float32 else; single numbers are (n, 1)."""
    try:
        array = np.asarray(values)
    except ValueError:  # of different shapes: a Tuple space
        array = np.empty(0, object)
    if array.dtype.kind not in "biuf":
        raise ScoreError("observations must be Box spaces or a Dict of them")
    array = array[:, None] if array.ndim == 1 else array
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and ends its row
        return array.astype(np.uint8 if array.dtype == np.uint8 else np.float32)


def _spec(values: np.ndarray) -> ArraySpec:
    return ArraySpec(values.shape[1:], str(values.dtype))


def _replace_nan(group: dict[str, np.ndarray]) -> np.ndarray:
    """Zero the rows of a group that are not finite; which rows those were."""
    bad = np.any([~np.isfinite(values.reshape(len(values), -1)).all(axis=1) for values in group.values()], axis=0)
    for values in group.values():
        values[bad] = 0.0
    return bad


def _observation(actor: Arrays, critic: Arrays) -> Observation:
    """Tensors of both groups."""
    return Observation(
        {key: torch.from_numpy(values) for key, values in actor.items()},
        {key: torch.from_numpy(values) for key, values in critic.items()},
    )
