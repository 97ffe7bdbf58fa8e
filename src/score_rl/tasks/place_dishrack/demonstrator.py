"""A person who takes a plate by its rim out of the holder and puts it into the dishrack.

    reach a point over the rim -> lower the hand -> close -> raise -> carry over a slot -> lower -> let go -> away

The plate is carried by what is seen of it, wherever it sits in the hand. A plate that was missed is tried again, in a
newly drawn way, or the person gives up; one that has fallen over is left where it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from score_rl.robots.franka_leap.hand_postures import PLATE_PINCH
from score_rl.tasks.people.person import (
    Array,
    Person,
    Routine,
    Script,
    about_z,
    attempts,
    choose,
    close_hand,
    follow,
    let_go,
    move,
    watch,
)
from score_rl.tasks.people.pinch import pinch
from score_rl.tasks.people.placing import carry, hover

PLATE_RADIUS_M, PLATE_M = 0.080, 0.010
"""Radius and thickness."""
RIM_M = 0.018
"""How far below the rim it is pinched."""
NEAREST_M = -0.026
"""Place of the rack's nearest slot beside its middle (y)."""
FLOOR_M = 0.011
"""Height over the rack's foot of the lowest point of a plate's rim, in a slot."""
OPEN_M = 0.05
"""Opening of the hand while it reaches."""
APPROACH_M, RAISE_M, OVER_M, AWAY_M = 0.08, 0.10, 0.075, 0.10
"""Heights over the rim before the hand is lowered, of the plate out of the holder and over its place in the rack, and
of the hand when it has let go."""
SWINGS_S = 0.65
"""How long a plate swings that was carried."""
OVER_SLOT_M, IN_SLOT_M = 0.002, 0.045
"""A plate whose lowest point is this near to the middle of the slot is over it; one whose lowest point is no higher
over the rack's foot is in a slot."""
YAW = np.radians(-90.0)
"""Yaw of the pinch frame: across the plate, where the arm is at ease."""
REACH_LOW, REACH_HIGH = (0.45, -0.25), (0.70, 0.25)
"""Corners of the region in which a plate is tried again."""
LOST_M = 0.11
"""A plate whose centre is further from the pinch is not held."""


@dataclass(frozen=True)
class Grip:
    """One way to take and place a plate; drawn anew for every attempt."""

    name: str
    share: float
    """Probability of this way."""
    grip_n: float
    """Force with which thumb and fingers are told to press on each other; the torque limits bound it as well."""
    close_s: float
    """Time over which the fingers close."""
    settle_s: float
    """Time between the end of closing and lifting; negative: lifting starts before the grip is closed."""
    drop_m: float
    """Height over the plate's place at which the hand lets go."""
    aim_sd_m: float
    """Standard deviation of the horizontal error of where the plate is taken and put, one draw each and axis."""
    patience_s: float = 0.0
    """How long one waits at most until the plate is seen to hang over the slot."""
    slot_m: float = 0.0
    """Place beside the rack's middle (y) over which it is brought."""
    tries: int = 1
    """How often it is lowered at most until it is seen to be in a slot; then it is let go, wherever it is."""


STEADY = Grip("steady", 0.5, 7.0, 0.5, 0.2, 0.012, 0.001, patience_s=2.0, tries=3)
"""Held firmly, until it hangs still over the middle slot, and raised again where it did not go in."""
HASTY = Grip("hasty", 0.5, 3.0, 0.3, -0.1, 0.03, 0.008, slot_m=NEAREST_M - 0.008)
"""Held loosely and dropped a little short of the nearest slot: the plate slips, or lands on the dividers."""
WAYS = (STEADY, HASTY)


def place_dishrack(person: Person) -> Script:
    """One episode."""
    yield from attempts(
        person, attempt, REACH_LOW, REACH_HIGH, retreat_m=0.3, possible=lambda: stands(person.object_pose)
    )


def attempt(person: Person) -> Script:
    """Draw the choices of an attempt and make it; ends when the plate is found not to be in the rack."""
    rng, ways = person.rng, (STEADY,) if person.habits.careful else WAYS
    way = choose(rng, ways)
    aside, missed = (np.array([*rng.normal(0.0, way.aim_sd_m, 2), 0.0]) for _ in range(2))
    up = np.array([0.0, 0.0, 1.0])
    person.log.attempts.append(way.name)

    def at_rim() -> Array:
        return person.believed + aside + (PLATE_RADIUS_M - RIM_M) * upwards(person.object_pose[3:])

    def foot() -> Array:
        return person.object_pose[:3] - PLATE_RADIUS_M * upwards(person.object_pose[3:])

    def over_slot() -> Array:
        return person.others["rack"][:3] + missed + (0.0, way.slot_m, FLOOR_M + OVER_M)

    def lost() -> bool:
        return person.lost(LOST_M)

    def over(left: Array) -> bool:
        waited_s = person.age * person.dt
        return waited_s > way.patience_s or (waited_s > SWINGS_S and abs(left[1]) < OVER_SLOT_M)

    def there() -> bool:
        return person.near(0.006, np.inf, 0.012, patience=12) or lost()

    person.hand, person.close_s = pinch(PLATE_PINCH, OPEN_M, PLATE_M, way.grip_n), way.close_s
    person.believed, person.goal_rotation = person.object_pose[:3].copy(), about_z(YAW)
    person.goal_position = at_rim() + APPROACH_M * up
    yield from follow(person, lambda: at_rim() + APPROACH_M * up, until=lambda: person.near(0.02, 0.1, 0.04))
    yield from follow(person, at_rim, until=person.arrived)
    yield from close_hand(person, way.settle_s)
    yield from move(person, person.position + RAISE_M * up, until=lambda: person.near(0.02, np.inf, np.inf))
    for _ in range(way.tries):
        if not lost():
            yield from carry(person, foot, over_slot, until=there)
        if not lost() and way.patience_s > 0:
            yield from hover(person, foot, over_slot, until=over)
        if not lost():
            yield from move(person, person.goal_position - (OVER_M - way.drop_m) * up, until=there)
        if lost() or foot()[2] - person.others["rack"][2] < IN_SLOT_M:
            break
    yield from let_go(person)
    yield from move(person, person.position + AWAY_M * up, until=person.arrived, laden=False)
    yield from watch(person, lambda: placed(person.object_pose, person.others["rack"]))


def upwards(quaternion: Array) -> Array:
    """(3,) unit vector from the plate's middle to the highest point of its rim; of a flat one straight up."""
    w, x, y, z = quaternion
    axis = np.array([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)])
    steepest = np.array([0.0, 0.0, 1.0]) - axis[2] * axis
    length = np.linalg.norm(steepest)
    return steepest / length if length > 0.3 else np.array([0.0, 0.0, 1.0])


def stands(pose: Array) -> bool:
    """Whether the plate is seen upright, on its rim."""
    return bool(pose[2] > 0.06 and upwards(pose[3:])[2] > 0.8)


def placed(pose: Array, rack: Array) -> bool:
    """Whether the plate is seen in a slot of the rack."""
    offset = np.abs(pose[:3] - rack[:3] - (0.0, 0.0, FLOOR_M + PLATE_RADIUS_M))
    return bool((offset < (0.04, 0.04, 0.02)).all())


ROUTINE = Routine(place_dishrack, *PLATE_PINCH.in_palm())
