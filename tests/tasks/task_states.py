"""States of a task, for tests of its functions."""

from __future__ import annotations

import numpy as np

from score_rl.sim.state import BodyState, SceneState


def state(body: str, positions: list[list[float]], start: tuple[float, float, float]) -> SceneState:
    """A body at positions (n, 3), which began at `start`; at rest, and no hand near it."""
    begun = SceneState({body: at_rest(np.tile(start, (len(positions), 1)))})
    return SceneState({body: at_rest(np.array(positions, dtype=float))}, begun=begun)


def at_rest(position: np.ndarray) -> BodyState:
    """Upright at (n, 3), not moving."""
    n = len(position)
    return BodyState(position, np.tile([1.0, 0, 0, 0], (n, 1)), np.zeros((n, 3)), np.zeros((n, 3)))
