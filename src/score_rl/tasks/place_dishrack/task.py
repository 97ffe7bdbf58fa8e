"""Place in Dishrack: put a plate into a slot of a dishrack and let go of it (paper: table of tasks).

Spawn, horizon and success (in the rack, upright, let go) are the paper's. Ours are: the plate stands upright in a
holder at the start, since one that lies flat could not be taken up and turned reliably by this hand; upright means
that the plate's axis is within 32 degrees of the slots', whichever way round; it is paid for out of the holder, and
in the rack, before it is let go. Holder and rack are fastened to the table.
"""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np

from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim import rotations_numpy as rotations
from score_rl.sim.robot import HAND, OBJECT
from score_rl.sim.state import SceneState
from score_rl.sim.task import Task, TaskObject, rise_m

PLATE_RADIUS_M = 0.080
PLATE_THICKNESS_M = 0.010
PLATE_MASS_KG = 0.150
SLOT_M = 0.020
"""Free width of a slot, in the holder and in the rack."""
DIVIDER_M = 0.006
"""Thickness of what separates two slots."""
DIVIDER_HEIGHT_M = 0.060
STOP_M, STOP_HEIGHT_M = 0.062, 0.025
"""Distance from the middle of a slot to the bars at its ends, and their height: a plate stands between them."""
FLOOR_M = 0.010
"""Thickness of the floor under a slot."""
RACK_SLOTS = 3
PLATE_SPAWN_M, PLATE_HALF_RANGE_M = np.array([0.58, -0.12]), np.array([0.055, 0.05])
RACK_SPAWN_M, RACK_HALF_RANGE_M = np.array([0.57, 0.14]), np.array([0.02, 0.02])
IN_RACK_M = np.array([0.04, 0.04])
"""Half sizes of the region over the rack in which the plate's centre counts as in it (x, y)."""
IN_RACK_HEIGHTS_M = (0.060, 0.115)
"""Heights of the centre over the rack's foot: in a slot it is at 0.09, on the dividers at 0.14."""
UPRIGHT = 0.85
"""Least cosine of the angle between the plate's axis and the slots' (y)."""
LET_GO_N = 0.5


def add_objects(spec: mujoco.MjSpec) -> None:
    """One free plate, the holder that it stands in at the start, and the rack."""
    plate = spec.worldbody.add_body(name="plate", pos=[*PLATE_SPAWN_M, FLOOR_M + PLATE_RADIUS_M])
    plate.add_freejoint(name="plate")
    plate.add_geom(
        name="plate",
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        size=[PLATE_RADIUS_M, PLATE_THICKNESS_M / 2, 0],
        mass=PLATE_MASS_KG,
        condim=4,
        contype=OBJECT,
        conaffinity=HAND | OBJECT,
        rgba=[0.93, 0.93, 0.96, 1],
    )
    _add_slots(spec, "holder", PLATE_SPAWN_M, 1, [0.55, 0.45, 0.35, 1])
    _add_slots(spec, "rack", RACK_SPAWN_M, RACK_SLOTS, [0.45, 0.50, 0.55, 1])


def _add_slots(spec: mujoco.MjSpec, name: str, place: np.ndarray, slots: int, rgba: list[float]) -> None:
    """A body with a floor, dividers on both sides of every slot and a bar at either end; slots lie along x."""
    body = spec.worldbody.add_body(name=name, pos=[*place, 0])
    pitch = SLOT_M + DIVIDER_M
    half = slots * pitch / 2 + DIVIDER_M / 2

    def add(part: str, centre: tuple[float, float, float], size: tuple[float, float, float]) -> None:
        body.add_geom(
            name=f"{name}_{part}",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=centre,
            size=size,
            contype=OBJECT,
            conaffinity=HAND | OBJECT,
            friction=[0.8, 0.005, 0.0001],
            rgba=rgba,
        )

    length = STOP_M + DIVIDER_M
    add("floor", (0.0, 0.0, FLOOR_M / 2), (length, half, FLOOR_M / 2))
    for side, word in ((-1.0, "near"), (1.0, "far")):
        bar = (DIVIDER_M / 2, half, STOP_HEIGHT_M / 2)
        add(word, (side * (STOP_M + DIVIDER_M / 2), 0.0, FLOOR_M + STOP_HEIGHT_M / 2), bar)
    for k in range(slots + 1):
        y = (k - slots / 2) * pitch
        size = (0.03, DIVIDER_M / 2, DIVIDER_HEIGHT_M / 2)
        add(f"divider{k}", (0.0, y, FLOOR_M + DIVIDER_HEIGHT_M / 2), size)


def spawn(generator: np.random.Generator, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Plate and holder at (0.58, -0.12) +- (0.055, 0.05) m, leaning either way; rack at (0.57, 0.14) +- 0.02 m."""
    holder = PLATE_SPAWN_M + generator.uniform(-1, 1, 2) * PLATE_HALF_RANGE_M
    rack = RACK_SPAWN_M + generator.uniform(-1, 1, 2) * RACK_HALF_RANGE_M
    side = 1.0 if generator.random() < 0.5 else -1.0
    plate = leaning(parameters["plate.size_scale"][0], side) + (*holder, *np.zeros(5))
    return {"plate": plate, "holder": np.array([*holder, 0.0]), "rack": np.array([*rack, 0.0])}


def leaning(scale: float, side: float) -> np.ndarray:
    """(7,) pose, over a slot's foot, of a plate in it that leans on the divider at `side` (+-1 along y).

    Its foot is at the other divider, where it comes to rest: from anywhere else it creeps there.
    """
    half, radius = scale * PLATE_THICKNESS_M / 2, scale * PLATE_RADIUS_M
    lean = 0.0
    for _ in range(5):  # what its thickness takes of the slot depends on the lean itself, by less than 2 %
        lean = np.arctan((SLOT_M - 2 * half * np.cos(lean)) / DIVIDER_HEIGHT_M)
    height = FLOOR_M + radius * np.cos(lean) + half * np.sin(lean)
    out = radius * np.sin(lean) + half * np.cos(lean) - SLOT_M / 2
    # A quarter turn about x stands the plate up, its axis, z, along -y; a little less or more makes it lean.
    angle = np.pi / 2 - side * lean
    return np.array([0.0, side * out, height, np.cos(angle / 2), np.sin(angle / 2), 0.0, 0.0])


def in_rack(state: SceneState) -> np.ndarray:
    """(n,) the plate is down in one of the rack's slots and upright."""
    plate, rack = state.body("plate"), state.body("rack")
    offset = plate.position - rack.position
    low, high = IN_RACK_HEIGHTS_M
    down = (offset[:, 2] >= low) & (offset[:, 2] <= high)
    axis = rotations.rotate(plate.quaternion, np.tile([0.0, 0.0, 1.0], (len(offset), 1)))
    return (np.abs(offset[:, :2]) <= IN_RACK_M).all(1) & down & (np.abs(axis[:, 1]) >= UPRIGHT)


def success(state: SceneState) -> np.ndarray:
    """(n,) the plate is in the rack, and no finger presses on it by more than 0.5 N."""
    return in_rack(state) & (state.contact_force("fingers", "plate") <= LET_GO_N)


TASK = Task(
    name="place_dishrack",
    description="take a plate out of its holder and put it into a slot of the dishrack",
    horizon=160,
    hold_steps=5,
    robot=FRANKA_LEAP,
    objects=(
        TaskObject("plate"),
        TaskObject("rack", seen="position", varies=()),
        TaskObject("holder", seen="not", varies=()),
    ),
    add_objects=add_objects,
    spawn=spawn,
    success=success,
    milestones={
        "lifted": (1.0, lambda state: rise_m(state, "plate") >= 0.08),
        "in_rack": (5.0, in_rack),
    },
    success_reward=10.0,
    contacts=(("fingers", "plate"),),
    timestep_s=1 / 120,
)
