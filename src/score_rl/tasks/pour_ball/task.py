"""Pour Ball: pour a ball from a small cup into a large one (paper: table of tasks).

Spawns, horizon, success region and sparse rewards are the paper's. Sizes and masses are ours, and that heights are
measured from the large cup's underside.
"""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np

from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.robot import HAND, OBJECT
from score_rl.sim.state import SceneState
from score_rl.sim.task import Task, TaskObject, rise_m
from score_rl.tasks.cups import Cup

SMALL_CUP = Cup(radius_m=0.035, height_m=0.150, mass_kg=0.120)
"""Higher than a hand is wide, which would cover the mouth of a lower one."""
LARGE_CUP = Cup(radius_m=0.065, height_m=0.090, mass_kg=0.300, wall_m=0.008, floor_m=0.030)
BALL_RADIUS_M = 0.018
BALL_MASS_KG = 0.020
ROLLING_M = 0.0005
"""Rolling friction of the ball."""
SMALL_CENTRE_M, SMALL_HALF_RANGE_M = np.array([0.54, -0.115]), np.array([0.08, 0.04])
LARGE_CENTRE_M, LARGE_HALF_RANGE_M = np.array([0.55, 0.12]), np.array([0.08, 0.08])
INSIDE_M = 0.05
"""A ball this near to the large cup's axis ..."""
INSIDE_HEIGHTS_M = (0.0, 0.12)
"""... and this high over its underside is in it."""


def add_objects(spec: mujoco.MjSpec) -> None:
    """A small cup with a ball in it, and a large cup; all free."""
    SMALL_CUP.add(spec, "small_cup", SMALL_CENTRE_M, rgba=[0.90, 0.75, 0.25, 1])
    body = spec.worldbody.add_body(name="ball", pos=[*SMALL_CENTRE_M, SMALL_CUP.floor_m + BALL_RADIUS_M])
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
    LARGE_CUP.add(spec, "large_cup", LARGE_CENTRE_M, rgba=[0.35, 0.55, 0.80, 1])


def spawn(generator: np.random.Generator, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Poses on the table, upright: the small cup at (0.54, -0.115) +- (0.08, 0.04) m with the ball on its floor, the
    large cup at (0.55, 0.12) +- (0.08, 0.08) m."""
    small = SMALL_CENTRE_M + generator.uniform(-1, 1, 2) * SMALL_HALF_RANGE_M
    large = LARGE_CENTRE_M + generator.uniform(-1, 1, 2) * LARGE_HALF_RANGE_M
    scale = {name: parameters[f"{name}.size_scale"][0] for name in ("small_cup", "ball", "large_cup")}
    heights = {
        "small_cup": SMALL_CUP.height_m / 2 * scale["small_cup"],
        "ball": SMALL_CUP.floor_m * scale["small_cup"] + BALL_RADIUS_M * scale["ball"],
        "large_cup": LARGE_CUP.height_m / 2 * scale["large_cup"],
    }
    places = {"small_cup": small, "ball": small, "large_cup": large}
    return {name: np.array([*places[name], height, 1, 0, 0, 0]) for name, height in heights.items()}


def success(state: SceneState) -> np.ndarray:
    """(n,) the ball is within 0.05 m of the large cup's axis and 0 to 0.12 m above its underside."""
    offset = state.body("ball").position - state.body("large_cup").position
    low, high = INSIDE_HEIGHTS_M
    height = offset[:, 2] + LARGE_CUP.height_m / 2
    return (np.linalg.norm(offset[:, :2], axis=1) < INSIDE_M) & (height > low) & (height < high)


TASK = Task(
    name="pour_ball",
    description="pour a ball from a small cup into a large cup",
    horizon=128,
    hold_steps=5,
    robot=FRANKA_LEAP,
    objects=(TaskObject("small_cup"), TaskObject("large_cup"), TaskObject("ball", seen="position")),
    add_objects=add_objects,
    spawn=spawn,
    success=success,
    milestones={"lifted": (1.0, lambda state: rise_m(state, "small_cup") >= 0.04)},
    success_reward=10.0,
)
