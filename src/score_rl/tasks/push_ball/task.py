"""Push Soccer Ball: push a small ball over the table into a goal (paper: table of tasks).

Ball, spawn, horizon, goal box and reward are the paper's. The goal is a box with three low sides, open towards the
robot's right (-y), where the ball lies at the start.
"""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np

from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.robot import HAND, OBJECT
from score_rl.sim.state import SceneState
from score_rl.sim.task import Task, TaskObject

BALL_RADIUS_M = 0.035
BALL_MASS_KG = 0.080
ROLLING_M = 0.002
"""Rolling friction on the table."""
SPAWN_CENTRE_M = np.array([0.53, -0.125])
SPAWN_LOW_M, SPAWN_HIGH_M = np.array([-0.15, -0.15]), np.array([0.15, 0.10])
GOAL_M = np.array([0.53, 0.15])
GOAL_HALF_M = np.array([0.07, 0.03])
"""Half sizes of the region in which the ball's centre counts as in the goal."""
GOAL_HEIGHTS_M = (0.01, 0.08)
WALL_M = 0.01
"""Thickness of the goal's sides."""
WALL_HEIGHT_M = 0.04


def add_objects(spec: mujoco.MjSpec) -> None:
    """One free ball, and the goal: a back and two sides that stand on the table."""
    body = spec.worldbody.add_body(name="ball", pos=[*SPAWN_CENTRE_M, BALL_RADIUS_M])
    body.add_freejoint(name="ball")
    body.add_geom(
        name="ball",
        type=mujoco.mjtGeom.mjGEOM_SPHERE,
        size=[BALL_RADIUS_M, 0, 0],
        mass=BALL_MASS_KG,
        contype=OBJECT,
        condim=6,
        friction=[0.8, 0.005, ROLLING_M],
        conaffinity=HAND | OBJECT,
        rgba=[0.95, 0.95, 0.95, 1],
    )
    # A ball that touches a side is in the goal, also a slightly smaller one.
    (x, y), half = GOAL_M, WALL_M / 2
    width, depth = GOAL_HALF_M + 0.85 * BALL_RADIUS_M
    sides = {
        "goal_back": ([x, y + depth + half], [width + WALL_M, half]),
        "goal_near": ([x - width - half, y], [half, depth]),
        "goal_far": ([x + width + half, y], [half, depth]),
    }
    for name, (centre, size) in sides.items():
        spec.worldbody.add_geom(
            name=name,
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=[*centre, WALL_HEIGHT_M / 2],
            size=[*size, WALL_HEIGHT_M / 2],
            contype=0,
            conaffinity=HAND | OBJECT,
            rgba=[0.35, 0.65, 0.40, 1],
        )


def spawn(generator: np.random.Generator, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Pose on the table: x in 0.53 +- 0.15, y in -0.125 + [-0.15, 0.10] m."""
    xy = SPAWN_CENTRE_M + generator.uniform(SPAWN_LOW_M, SPAWN_HIGH_M)
    return {"ball": np.array([*xy, BALL_RADIUS_M * parameters["ball.size_scale"][0], 1, 0, 0, 0])}


def success(state: SceneState) -> np.ndarray:
    """(n,) the ball's centre is within (+-0.07, +-0.03) m of the goal and 0.01 to 0.08 m high."""
    position = state.body("ball").position
    offset = np.abs(position[:, :2] - GOAL_M)
    low, high = GOAL_HEIGHTS_M
    height = position[:, 2]
    return (offset <= GOAL_HALF_M).all(1) & (height >= low) & (height <= high)


TASK = Task(
    name="push_ball",
    description="push a small soccer ball over the table into the goal",
    horizon=160,
    hold_steps=5,
    robot=FRANKA_LEAP,
    objects=(TaskObject("ball", seen="position"),),
    add_objects=add_objects,
    spawn=spawn,
    success=success,
    milestones={},
    success_reward=10.0,
)
