"""Stow Cube: open a drawer, and put the cube that lies on the table into it.

The drawer runs in a cabinet with a lid, so that a closed one takes no cube; its handle is an upright post.
"""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np

from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.robot import HAND, OBJECT
from score_rl.sim.state import SceneState
from score_rl.sim.task import Task, TaskObject, rise_m

CUBE_EDGE_M, CUBE_MASS_KG = 0.040, 0.06
SPAWN_CENTRE_M, SPAWN_HALF_RANGE_M = np.array([0.52, -0.13]), np.array([0.12, 0.06])
CLOSED_M = np.array([0.56, 0.25, 0.010])
"""Middle of the drawer's floor while it is closed; it opens along -y."""
TRAVEL_M, AJAR_M = 0.14, 0.01
"""How far the drawer opens, and how far at most it is open at the start."""
INSIDE_M = np.array([0.065, 0.075])
"""Half sizes of the drawer's floor."""
WALL_M, DRAWER_HEIGHT_M, CABINET_HEIGHT_M = 0.005, 0.035, 0.060
DRAWER_MASS_KG = 0.4
HANDLE_M, HANDLE_RADIUS_M, HANDLE_TOP_M = np.array([-0.045, -0.094, 0.070]), 0.014, 0.085
"""Where the handle is gripped, in the drawer's frame, near one side to be out of the way; radius and upper end."""
HELD_N = 0.5
"""Fingers that press on the cube with more than this still hold it."""


def add_objects(spec: mujoco.MjSpec) -> None:
    """One free cube, a cabinet that stands on the table, and a drawer in it on a slide."""
    cube = spec.worldbody.add_body(name="cube", pos=[*SPAWN_CENTRE_M, CUBE_EDGE_M / 2])
    cube.add_freejoint(name="cube")
    solid = {"contype": OBJECT, "conaffinity": HAND | OBJECT, "rgba": [0.85, 0.33, 0.18, 1]}
    _box(cube, "cube", (0, 0, 0), [CUBE_EDGE_M / 2] * 3, mass=CUBE_MASS_KG, condim=4, **solid)

    # The slide keeps drawer and cabinet apart: they touch the hand and the cube, not each other.
    still = {"contype": 0, "conaffinity": HAND | OBJECT}
    (x, y), (a, b), t = CLOSED_M[:2], INSIDE_M + 2 * WALL_M, WALL_M / 2
    side, wood = CABINET_HEIGHT_M / 2, {"rgba": [0.72, 0.58, 0.42, 1], **still}
    _box(spec.worldbody, "cabinet_lid", (x, y, CABINET_HEIGHT_M - t), (a, b, t), **wood)
    for name, way in (("near", -1), ("far", 1)):
        _box(spec.worldbody, f"cabinet_{name}", (x + way * (a + t), y, side), (t, b, side), **wood)
    _box(spec.worldbody, "cabinet_back", (x, y + b + t, side), (a + WALL_M, t, side), **wood)

    drawer = spec.worldbody.add_body(name="drawer", pos=CLOSED_M)
    slide = {"axis": [0, -1, 0], "limited": True, "range": [0, TRAVEL_M]}
    drawer.add_joint(
        name="drawer", type=mujoco.mjtJoint.mjJNT_SLIDE, frictionloss=1.0, damping=4.0, armature=0.2, **slide
    )
    (a, b), high = INSIDE_M, DRAWER_HEIGHT_M / 2
    part = {"mass": DRAWER_MASS_KG / 6, "rgba": [0.86, 0.76, 0.62, 1], **still}
    _box(drawer, "drawer_floor", (0, 0, -t), (a, b, t), **part)
    _box(drawer, "drawer_front", (0, -b - t, high), (a + WALL_M, t, high + WALL_M), **part)
    _box(drawer, "drawer_back", (0, b + t, high), (a + WALL_M, t, high), **part)
    for name, way in (("near", -1), ("far", 1)):
        _box(drawer, f"drawer_{name}", (way * (a + t), 0, high), (t, b, high), **part)
    ends = [*HANDLE_M[:2], HANDLE_RADIUS_M, *HANDLE_M[:2], HANDLE_TOP_M - HANDLE_RADIUS_M]
    capsule, radius = mujoco.mjtGeom.mjGEOM_CAPSULE, [HANDLE_RADIUS_M, 0, 0]
    drawer.add_geom(name="drawer_handle", type=capsule, fromto=ends, size=radius, **part)


def _box(body: mujoco.MjsBody, name: str, centre, half, **more) -> None:
    body.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_BOX, pos=centre, size=half, **more)


def spawn(generator: np.random.Generator, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray | float]:
    """The cube flat on the table, (0.52, -0.13) +- (0.12, 0.06) m, any yaw; the drawer ajar by up to 10 mm."""
    xy = SPAWN_CENTRE_M + generator.uniform(-1, 1, 2) * SPAWN_HALF_RANGE_M
    yaw = generator.uniform(-np.pi / 4, np.pi / 4)
    height = CUBE_EDGE_M / 2 * parameters["cube.size_scale"][0]
    cube = np.array([*xy, height, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)])
    return {"cube": cube, "drawer": generator.uniform(0, AJAR_M)}


def success(state: SceneState) -> np.ndarray:
    """(n,) the cube's centre is between the drawer's walls, and no finger holds it."""
    offset = state.body("cube").position - state.body("drawer").position
    between = (np.abs(offset[:, :2]) <= INSIDE_M).all(1) & (offset[:, 2] >= 0) & (offset[:, 2] <= DRAWER_HEIGHT_M)
    return between & (state.contact_force("fingers", "cube") <= HELD_N)


TASK = Task(
    name="stow_cube",
    description="open the drawer and put the cube into it",
    horizon=200,
    hold_steps=5,
    robot=FRANKA_LEAP,
    objects=(TaskObject("cube"), TaskObject("drawer", varies=("mass_scale", "friction"))),
    add_objects=add_objects,
    spawn=spawn,
    success=success,
    milestones={
        "opened": (1.0, lambda state: state.joint("drawer").position >= 0.10),
        "lifted": (1.0, lambda state: rise_m(state, "cube") >= 0.06),
    },
    success_reward=10.0,
    contacts=(("fingers", "cube"),),
)
