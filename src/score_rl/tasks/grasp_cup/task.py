"""Grasp Cup: take a standing cup by its side and hold it up (paper: table of tasks).

Spawn, horizon, success region, sparse rewards and the cup's height are the paper's. Radius and mass are ours.
"""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np

from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.state import SceneState
from score_rl.sim.task import Task, TaskObject, rise_m
from score_rl.tasks.cups import Cup

CUP = Cup(radius_m=0.040, height_m=0.150, mass_kg=0.150)
SPAWN_CENTRE_M = np.array([0.525, 0.10])
SPAWN_LOW_M, SPAWN_HIGH_M = np.array([-0.075, -0.10]), np.array([0.175, 0.10])
GOAL_M = np.array([0.55, 0.10, 0.35])
GOAL_RADIUS_M = 0.15


def add_objects(spec: mujoco.MjSpec) -> None:
    """One free cup."""
    CUP.add(spec, "cup", SPAWN_CENTRE_M, rgba=[0.90, 0.75, 0.25, 1])


def spawn(generator: np.random.Generator, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Pose, upright on the table: x in 0.525 + [-0.075, 0.175], y in 0.10 +- 0.10 m; a cup has no yaw."""
    xy = SPAWN_CENTRE_M + generator.uniform(SPAWN_LOW_M, SPAWN_HIGH_M)
    height = CUP.height_m / 2 * parameters["cup.size_scale"][0]
    return {"cup": np.array([*xy, height, 1, 0, 0, 0])}


def success(state: SceneState) -> np.ndarray:
    """(n,) the cup's centre is within 0.15 m of (0.55, 0.10, 0.35)."""
    return np.linalg.norm(state.body("cup").position - GOAL_M, axis=1) <= GOAL_RADIUS_M


TASK = Task(
    name="grasp_cup",
    description="grasp a standing cup by its side and hold it up",
    horizon=128,
    hold_steps=5,
    robot=FRANKA_LEAP,
    objects=(TaskObject("cup"),),
    add_objects=add_objects,
    spawn=spawn,
    success=success,
    milestones={
        "lifted": (1.0, lambda state: rise_m(state, "cup") >= 0.12),
        "raised": (5.0, lambda state: (rise_m(state, "cup") >= 0.20) & (rise_m(state, "cup") <= 0.50)),
    },
    success_reward=10.0,
)
