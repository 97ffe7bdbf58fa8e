"""Any `gymnasium.vector` environment with continuous actions as a World.

The vector environment must be built with `autoreset_mode=AutoresetMode.DISABLED`: only then can this adapter see
the last observation of an episode, end an episode at success, and reset one row with its own seed, so that the
k-th episode of a row depends on (seed of the row, k) alone. The other two modes are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from score_rl.contracts import COMMAND, ArraySpec, Interface, Observation, StepResult, WorldSpec
from score_rl.core.errors import ScoreError
from score_rl.core.extras import optional
from score_rl.core.interfaces import action_spec
from score_rl.core.seeding import derive_seed

with optional("a Gymnasium environment"):
    import gymnasium
    from gymnasium.vector import AutoresetMode, VectorEnv

Arrays = Mapping[str, np.ndarray]
Privileged = Callable[[VectorEnv], Arrays]
"""Reads what only the simulator knows: key -> (n, *shape), in the current state of all rows."""

STATE = "state"
"""Actor key of a Box observation; the entries of a Dict observation keep their own names."""

ELAPSED = "elapsed"
"""Critic key of the share of the time limit that has passed, for worlds with a deadline."""


class GymnasiumWorld:
    """A vector environment behind the World contract (see `contracts.World`).

    Actor group: the observation (`state`, or the keys of a Dict) and `command`, the last action sent, zeros at the
    start of an episode. Critic group: the same and what `privileged` returns. A row whose observation is not
    finite ends with info `nan` set, and its numbers are replaced by zeros.
    """

    def __init__(
        self,
        envs: VectorEnv,
        control_rate_hz: float,
        time_limit: int,
        success: str = "success",
        reward: Literal["success", "environment"] = "success",
        terminate_on_success: bool = True,
        deadline: bool = False,
        privileged: Privileged | None = None,
        action_names: Sequence[str] | None = None,
        name: str = "gymnasium",
    ) -> None:
        """Wrap `envs`; the time limit (control steps) is applied here, whatever wrappers the rows have.

        success: info key that says per row whether the task is solved. reward: 1 where it is solved and 0
        elsewhere, or the environment's own. deadline: the time limit belongs to the task, so reaching it is a
        failure (terminated, no bootstrap) and the critic sees the share of it that has `elapsed`.
        Raises ScoreError for an environment that cannot be a World.
        """
        _check_envs(envs, time_limit)
        self.envs, self._success, self._reward = envs, success, reward
        self._terminate, self._privileged = terminate_on_success, privileged
        self._deadline, self._time_limit = deadline, time_limit
        space, n = envs.single_action_space, envs.num_envs
        self._low, self._high = space.low.astype(np.float32), space.high.astype(np.float32)
        self._command = np.zeros((n, len(self._low)), np.float32)
        self._seeds, self._episode, self._age = [0] * n, np.zeros(n, np.int64), np.zeros(n, np.int64)
        self._closed = False
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
        )

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
        raw, reward, terminated, truncated, info = self.envs.step(self._command)
        actor, critic = self._groups(raw)
        nan = _replace_nan(actor) | _replace_nan(critic)
        success = _flag(info, self._success, self.spec.num_envs) & ~nan
        late = self._age >= self._time_limit
        terminated = terminated | nan | (success & self._terminate) | (late & self._deadline)
        truncated = (truncated | late) & ~terminated
        final = _observation(actor, critic)
        done = terminated | truncated
        return StepResult(
            observation=self._restart(done) if done.any() else final,
            reward=torch.from_numpy((success if self._reward == "success" else reward).astype(np.float32)),
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
        actor = {key: _array(values) for key, values in entries.items()} | {COMMAND: self._command.copy()}
        extra = dict(self._privileged(self.envs)) if self._privileged is not None else {}
        if self._deadline:
            extra[ELAPSED] = self._age / self._time_limit
        return actor, {key: _array(values).astype(np.float32) for key, values in {**actor, **extra}.items()}


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
    envs = gymnasium.make_vec(
        "AdroitHandDoorSparse-v1",
        num_envs=num_envs,
        vectorization_mode="async" if processes else "sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.DISABLED},
        max_episode_steps=time_limit,
        disable_env_checker=True,
    )
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
    action = envs.single_action_space
    if not isinstance(action, gymnasium.spaces.Box) or len(action.shape) != 1:
        raise ScoreError(f"actions must be a Box of one dimension, got {action}")
    if time_limit < 1:
        raise ScoreError(f"time_limit must be at least 1 control step, got {time_limit}")


def _array(values: Any) -> np.ndarray:
    """(n, *shape) of any number type -> a copy, uint8 where it was and float32 else; single numbers are (n, 1)."""
    array = np.asarray(values)
    if array.dtype == object:
        raise ScoreError("observations must be Box spaces or a Dict of them")
    array = array[:, None] if array.ndim == 1 else array
    return array.astype(np.uint8 if array.dtype == np.uint8 else np.float32)


def _spec(values: np.ndarray) -> ArraySpec:
    return ArraySpec(values.shape[1:], str(values.dtype))


def _replace_nan(group: dict[str, np.ndarray]) -> np.ndarray:
    """Zero the rows of a group that are not finite; which rows those were."""
    bad = np.any([~np.isfinite(values.reshape(len(values), -1)).all(axis=1) for values in group.values()], axis=0)
    for values in group.values():
        values[bad] = 0.0
    return bad


def _flag(info: Mapping[str, Any], key: str, n: int) -> np.ndarray:
    """Flag of the vector info; a row without an entry is False."""
    if key not in info:
        known = sorted(name for name in info if not name.startswith("_"))
        raise ScoreError(f"the environment's info has no '{key}'; it has {known}: pass success=<key>")
    given = info.get(f"_{key}", np.ones(n, bool))
    return np.array([bool(value) and bool(there) for value, there in zip(info[key], given)])


def _observation(actor: Arrays, critic: Arrays) -> Observation:
    """Tensors of both groups."""
    return Observation(
        {key: torch.from_numpy(values) for key, values in actor.items()},
        {key: torch.from_numpy(values) for key, values in critic.items()},
    )
