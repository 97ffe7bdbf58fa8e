"""Screw Lightbulb: turn a bulb into the socket of a standing lamp (paper: table of tasks).

Spawn, horizon and success by the bulb's rotation are the paper's, and rewards grow with rotation. Ours are: the three
steps in which they do; the bulb is a ball with a neck on a hinge with friction, whose climb of some 3 mm a turn is
left out; it screws in clockwise as seen from above, which counts as positive, and a hand that turns it back loses
what it had. The lamp is fastened to the table. The bulb looks the same from all sides: nobody sees how far it has
turned.
"""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np

from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.robot import HAND, OBJECT
from score_rl.sim.state import SceneState
from score_rl.sim.task import Condition, Task, TaskObject

BULB_RADIUS_M = 0.030
BULB_HEIGHT_M = 0.130
"""Of the bulb's centre over the table."""
BULB_MASS_KG = 0.060
NECK_RADIUS_M = 0.013
SOCKET_RADIUS_M = 0.020
SOCKET_TOP_M = 0.085
BASE_RADIUS_M, BASE_HEIGHT_M = 0.050, 0.020
THREAD_NM = 0.05
"""Friction of the thread: what it takes to turn the bulb."""
THREAD_INERTIA_KGM2 = 2e-3
"""Added to the bulb's own inertia, which is so small that the contacts of a physics step would throw it about."""
SPAWN_CENTRE_M = np.array([0.545, 0.13])
SPAWN_HALF_RANGE_M = np.array([0.02, 0.03])
TURN_RAD = 2 * np.pi


def add_objects(spec: mujoco.MjSpec) -> None:
    """The bulb, on a hinge, and the lamp that it is in; the two do not touch each other."""
    touch = {"contype": OBJECT, "conaffinity": HAND}
    cylinder = mujoco.mjtGeom.mjGEOM_CYLINDER
    bulb = spec.worldbody.add_body(name="bulb", pos=[*SPAWN_CENTRE_M, BULB_HEIGHT_M])
    bulb.add_joint(name="bulb_turn", axis=[0, 0, -1], frictionloss=THREAD_NM, armature=THREAD_INERTIA_KGM2)
    glass = {"mass": BULB_MASS_KG / 2, "condim": 4, "rgba": [0.98, 0.93, 0.70, 1], **touch}
    bulb.add_geom(name="bulb", type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[BULB_RADIUS_M, 0, 0], **glass)
    neck = (BULB_HEIGHT_M - SOCKET_TOP_M) / 2
    bulb.add_geom(name="bulb_neck", type=cylinder, pos=[0, 0, -neck], size=[NECK_RADIUS_M, neck, 0], **glass)
    lamp = spec.worldbody.add_body(name="lamp", pos=[*SPAWN_CENTRE_M, 0])
    metal = {"rgba": [0.30, 0.32, 0.36, 1], "friction": [0.8, 0.005, 0.0001], **touch}
    for name, radius, low, high in (
        ("lamp_base", BASE_RADIUS_M, 0.0, BASE_HEIGHT_M),
        ("lamp_socket", SOCKET_RADIUS_M, BASE_HEIGHT_M, SOCKET_TOP_M),
    ):
        half = (high - low) / 2
        lamp.add_geom(name=name, type=cylinder, pos=[0, 0, low + half], size=[radius, half, 0], **metal)


def spawn(generator: np.random.Generator, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray | float]:
    """Lamp and bulb at (0.545, 0.13) +- (0.02, 0.03) m; the bulb is loose."""
    xy = SPAWN_CENTRE_M + generator.uniform(-1, 1, 2) * SPAWN_HALF_RANGE_M
    return {"bulb": np.array([*xy, BULB_HEIGHT_M]), "lamp": np.array([*xy, 0.0]), "bulb_turn": 0.0}


def turned_rad(state: SceneState) -> np.ndarray:
    """(n,) how far the bulb has been screwed in since the episode began."""
    return state.joint("bulb_turn").position - state.start.joint("bulb_turn").position


def turned(share: float) -> Condition:
    """The bulb has been screwed in by this share of a turn."""
    return lambda state: turned_rad(state) >= share * TURN_RAD


def success(state: SceneState) -> np.ndarray:
    """(n,) the bulb has been screwed in by more than one turn."""
    return turned_rad(state) > TURN_RAD


TASK = Task(
    name="screw_lightbulb",
    description="screw a lightbulb one turn into a lamp that stands on the table",
    horizon=256,
    hold_steps=5,
    robot=FRANKA_LEAP,
    objects=(
        TaskObject("bulb", seen="position"),
        TaskObject("lamp", seen="not", varies=()),
    ),
    add_objects=add_objects,
    spawn=spawn,
    success=success,
    milestones={
        "quarter": (1.0, turned(0.25)),
        "half": (2.0, turned(0.50)),
        "three_quarters": (3.0, turned(0.75)),
    },
    success_reward=10.0,
    timestep_s=1 / 120,
)
