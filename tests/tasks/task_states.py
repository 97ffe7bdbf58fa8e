"""States of a task, for tests of its functions."""

from __future__ import annotations

import numpy as np

from score_rl.sim.task import TaskState

PARAMETERS = {"object_size_scale": np.array([1.0])}


def state(positions: list[list[float]], start: tuple[float, float, float]) -> TaskState:
    """Objects at positions (n, 3), which began at `start`; at rest, and no hand near them."""
    pos = np.array(positions, dtype=float)
    n = len(pos)
    still, upright = np.zeros((n, 3)), np.tile([1.0, 0, 0, 0], (n, 1))
    return TaskState(pos, upright, still, np.tile(start, (n, 1)), np.zeros((n, 4, 3)))
