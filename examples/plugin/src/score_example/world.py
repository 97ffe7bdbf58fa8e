"""A Gymnasium environment as a world of SCORE."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from score_rl.sim.adapters.gymnasium import GymnasiumWorld

TIME_LIMIT = 16


class Reach(gymnasium.Env):
    """A point on a line reaches its goal, which is as often on its left as on its right.

    Observation: position and goal [m]. Action: velocity in [-1, 1] m/s, held for 0.1 s.
    """

    observation_space = gymnasium.spaces.Box(-2.0, 2.0, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, distance_m: float = 1.0) -> None:
        """distance_m: of the goal from the middle, where the point starts."""
        self.distance_m = distance_m

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """See `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        self.position_m = float(self.np_random.uniform(-0.04, 0.04))
        self.goal_m = float(self.np_random.choice([-1.0, 1.0])) * self.distance_m
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """See `gymnasium.Env.step`; info `success`: within 5 cm of the goal."""
        self.position_m += 0.1 * float(action[0])
        success = abs(self.position_m - self.goal_m) < 0.05
        return self._observation(), float(success), False, False, {"success": success}

    def _observation(self) -> np.ndarray:
        return np.array([self.position_m, self.goal_m], np.float32)


def make_world(num_envs: int, distance_m: float = 1.0) -> GymnasiumWorld:
    """A point on a line reaches its goal, left or right (Gymnasium)."""
    makers = [lambda: Reach(distance_m)] * num_envs
    envs = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED)
    return GymnasiumWorld(envs, 10.0, TIME_LIMIT, action_names=("velocity",), name="reach")
