"""A task with two free bodies, one of them hollow, and a flap on a hinge, for tests of named state and engines."""

from __future__ import annotations

import mujoco
import numpy as np

from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.robot import HAND, OBJECT
from score_rl.sim.state import SceneState
from score_rl.sim.task import Task, TaskObject

CUP_KG, BLOCK_KG, FLAP_KG = 0.10, 0.05, 0.08
RADIUS_M, WALL_M, HEIGHT_M, FLOOR_M = 0.045, 0.006, 0.05, 0.004
BLOCK_M = 0.03
SIDES = 8
SOLID = {"contype": OBJECT, "conaffinity": HAND | OBJECT}


def add_objects(spec: mujoco.MjSpec) -> None:
    """A cup of eight walls and a floor, a block, and a flap that hangs on a hinge along y."""
    cup = spec.worldbody.add_body(name="cup", pos=[0.6, 0, 0])
    cup.add_freejoint(name="cup")
    box = mujoco.mjtGeom.mjGEOM_BOX
    share = CUP_KG / (SIDES + 1)
    half = [RADIUS_M - 0.001, RADIUS_M - 0.001, FLOOR_M / 2]
    cup.add_geom(name="cup_floor", type=box, pos=[0, 0, FLOOR_M / 2], size=half, mass=share, **SOLID)
    for side in range(SIDES):
        angle = 2 * np.pi * side / SIDES
        # Walls end a millimetre above the table: only the floor touches it.
        cup.add_geom(
            name=f"cup_wall{side}",
            type=box,
            pos=[RADIUS_M * np.cos(angle), RADIUS_M * np.sin(angle), 0.001 + HEIGHT_M / 2],
            quat=[np.cos(angle / 2), 0, 0, np.sin(angle / 2)],
            size=[WALL_M / 2, RADIUS_M * np.tan(np.pi / SIDES), HEIGHT_M / 2],
            mass=share,
            **SOLID,
        )
    block = spec.worldbody.add_body(name="block", pos=[0.6, 0.2, BLOCK_M / 2])
    block.add_freejoint(name="block")
    block.add_geom(name="block", type=box, size=[BLOCK_M / 2] * 3, mass=BLOCK_KG, condim=4, **SOLID)
    flap = spec.worldbody.add_body(name="flap", pos=[0.5, -0.3, 0.2])
    flap.add_joint(name="flap_hinge", axis=[0, 1, 0], limited=True, range=[-1, 1], frictionloss=0.2, armature=0.02)
    flap.add_geom(name="flap", type=box, pos=[0, 0, -0.05], size=[0.005, 0.04, 0.05], mass=FLAP_KG, **SOLID)


def spawn(generator: np.random.Generator, parameters: dict[str, np.ndarray]) -> dict[str, np.ndarray | float]:
    """The block in the cup, somewhere on the table; the flap at 0.3 rad."""
    xy = np.array([0.6, 0.0]) + generator.uniform(-0.05, 0.05, 2)
    floor, half = FLOOR_M * parameters["cup.size_scale"][0], BLOCK_M / 2 * parameters["block.size_scale"][0]
    upright = [1, 0, 0, 0]
    return {
        "cup": np.array([*xy, 0, *upright]),
        "block": np.array([*xy, floor + half, *upright]),
        "flap_hinge": 0.3,
    }


def out_of_the_cup(state: SceneState) -> np.ndarray:
    """(n,) the block is higher than the cup's rim."""
    return state.body("block").position[:, 2] - state.body("cup").position[:, 2] > HEIGHT_M


TASK = Task(
    name="parts",
    description="take the block out of the cup",
    horizon=30,
    hold_steps=2,
    robot=FRANKA_LEAP,
    objects=(
        TaskObject("block"),
        TaskObject("cup"),
        TaskObject("flap", seen="not", varies=("friction", "size_scale")),
    ),
    add_objects=add_objects,
    spawn=spawn,
    success=out_of_the_cup,
    milestones={"flapped": (1.0, lambda state: state.joint("flap_hinge").position > 0.5)},
    success_reward=10.0,
    contacts=(("block", "cup"), ("cup", "table"), ("fingers", "block"), ("palm", "table")),
    timestep_s=1 / 120,
)
