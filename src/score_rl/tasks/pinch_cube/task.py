"""Pinch Cube: pick a cube up from the table and hold it in front of the robot (paper: table of tasks).

Spawn, horizon, success region and sparse rewards are the paper's. The cube lies flat; its yaw is free.
"""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np

from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.robot import HAND, OBJECT
from score_rl.sim.state import SceneState
from score_rl.sim.task import Task, TaskObject, rise_m

CUBE_EDGE_M = 0.045
CUBE_MASS_KG = 0.06
SPAWN_CENTRE_M = np.array([0.50, 0.0])
SPAWN_HALF_RANGE_M = np.array([0.20, 0.20])
GOAL_M = np.array([0.55, 0.0, 0.35])
GOAL_RADIUS_M = 0.15


def add_objects(spec: mujoco.MjSpec) -> None:
    """One free cube."""
    body = spec.worldbody.add_body(name="cube", pos=[*SPAWN_CENTRE_M, CUBE_EDGE_M / 2])
    body.add_freejoint(name="cube")
    body.add_geom(
        name="cube",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[CUBE_EDGE_M / 2] * 3,
        mass=CUBE_MASS_KG,
        contype=OBJECT,
        condim=4,
        conaffinity=HAND | OBJECT,
        rgba=[0.85, 0.33, 0.18, 1],
    )


def spawn(generator: np.random.Generator, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Pose, flat on the table: (0.50, 0) +- (0.20, 0.20) m, any yaw within +-45 deg (a cube's symmetry)."""
    xy = SPAWN_CENTRE_M + generator.uniform(-1, 1, 2) * SPAWN_HALF_RANGE_M
    yaw = generator.uniform(-np.pi / 4, np.pi / 4)
    height = CUBE_EDGE_M / 2 * parameters["cube.size_scale"][0]
    return {"cube": np.array([*xy, height, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)])}


def success(state: SceneState) -> np.ndarray:
    """(n,) the cube's centre is within 0.15 m of (0.55, 0, 0.35)."""
    return np.linalg.norm(state.body("cube").position - GOAL_M, axis=1) <= GOAL_RADIUS_M


TASK = Task(
    name="pinch_cube",
    description="pinch a 45 mm cube from the table and hold it in front of the robot",
    horizon=128,
    hold_steps=5,
    robot=FRANKA_LEAP,
    objects=(TaskObject("cube"),),
    add_objects=add_objects,
    spawn=spawn,
    success=success,
    milestones={
        "lifted": (1.0, lambda state: rise_m(state, "cube") >= 0.12),
        "raised": (5.0, lambda state: (rise_m(state, "cube") >= 0.20) & (rise_m(state, "cube") <= 0.50)),
    },
    success_reward=10.0,
)
