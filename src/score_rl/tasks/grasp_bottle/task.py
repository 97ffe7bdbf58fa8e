"""Grasp Bottle: take a lying bottle from the table and hold it up (paper: table of tasks).

Spawn, horizon, success region and sparse rewards are the paper's. The bottle lies along the base's x, and its neck
points either way. It is a capsule: a bottle with rounded ends, whose contacts are exact and cheap.
"""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np

from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.robot import HAND, OBJECT
from score_rl.sim.state import SceneState
from score_rl.sim.task import Task, TaskObject, rise_m

BOTTLE_RADIUS_M = 0.032
BOTTLE_LENGTH_M = 0.200
BOTTLE_MASS_KG = 0.200
ROLLING_M = 0.003
"""Rolling friction: a full bottle rolls when it is pushed, and comes to rest."""
SPAWN_CENTRE_M = np.array([0.50, 0.0])
SPAWN_HALF_RANGE_M = np.array([0.20, 0.30])
GOAL_M = np.array([0.60, 0.10, 0.40])
GOAL_RADIUS_M = 0.15


def add_objects(spec: mujoco.MjSpec) -> None:
    """One free bottle; its axis is the body's z."""
    body = spec.worldbody.add_body(name="bottle", pos=[*SPAWN_CENTRE_M, BOTTLE_RADIUS_M])
    body.add_freejoint(name="bottle")
    body.add_geom(
        name="bottle",
        type=mujoco.mjtGeom.mjGEOM_CAPSULE,
        size=[BOTTLE_RADIUS_M, BOTTLE_LENGTH_M / 2 - BOTTLE_RADIUS_M, 0],
        mass=BOTTLE_MASS_KG,
        contype=OBJECT,
        condim=6,
        friction=[0.8, 0.005, ROLLING_M],
        conaffinity=HAND | OBJECT,
        rgba=[0.20, 0.55, 0.75, 1],
    )


def spawn(generator: np.random.Generator, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Pose, lying on the table: (0.50, 0) +- (0.20, 0.30) m, the neck towards +x or -x (yaw 0 or pi)."""
    xy = SPAWN_CENTRE_M + generator.uniform(-1, 1, 2) * SPAWN_HALF_RANGE_M
    height = BOTTLE_RADIUS_M * parameters["bottle.size_scale"][0]
    half = np.sqrt(0.5)
    # A quarter turn about y lays the bottle down, then half a turn about z or none.
    quat = [half, 0, half, 0] if generator.random() < 0.5 else [0, -half, 0, half]
    return {"bottle": np.array([*xy, height, *quat])}


def success(state: SceneState) -> np.ndarray:
    """(n,) the bottle's centre is within 0.15 m of (0.60, 0.10, 0.40)."""
    return np.linalg.norm(state.body("bottle").position - GOAL_M, axis=1) <= GOAL_RADIUS_M


TASK = Task(
    name="grasp_bottle",
    description="grasp a bottle that lies on the table and hold it up",
    horizon=128,
    hold_steps=5,
    robot=FRANKA_LEAP,
    objects=(TaskObject("bottle"),),
    add_objects=add_objects,
    spawn=spawn,
    success=success,
    milestones={
        "lifted": (1.0, lambda state: rise_m(state, "bottle") >= 0.12),
        "raised": (5.0, lambda state: (rise_m(state, "bottle") >= 0.20) & (rise_m(state, "bottle") <= 0.50)),
    },
    success_reward=10.0,
)
