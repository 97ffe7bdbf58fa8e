"""A person who screws a bulb in: grip, twist, let go, turn the open hand back, grip again.

    reach a point over the bulb -> lower the hand around it -> (close -> twist -> open -> turn back), again and again

Nobody sees how far the bulb has turned. The person counts what the hand has turned, believes at some point that the
bulb is in, takes the hand away and looks; then it takes hold once more, in a newly drawn way, or gives up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from score_rl.robots.franka_leap.hand_postures import BULB_PINCH
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
)
from score_rl.tasks.people.pinch import pinch
from score_rl.tasks.people.turning import turn

BULB_M = 0.060
OPEN_M = 0.095
"""Opening of the hand while it reaches and turns back."""
APPROACH_M = 0.08
"""Height over the bulb from which the hand is lowered."""
AWAY_M = 0.08
"""How far the hand is raised when the person believes that the bulb is in."""
REACH_LOW, REACH_HIGH = (0.45, 0.0), (0.65, 0.25)
"""Corners of the region in which a bulb is tried again."""
FIRST_YAW = np.radians(-40.0)
"""Yaw of the pinch frame at which a twist begins. The arm turns on smoothly down to -220 degrees; above -30 its elbow
swings around, and the palm with it into the bulb."""
BACK_RAD_PER_STEP = 0.5
"""Lead of the open hand that turns back, see `turn`."""


@dataclass(frozen=True)
class Twist:
    """One way to turn a bulb; drawn anew for every attempt."""

    name: str
    share: float
    """Probability of this way."""
    grip_n: float
    """Force with which thumb and fingers are told to press on each other; the torque limits bound it as well."""
    close_s: float
    """Time over which the fingers close."""
    settle_s: float
    """Time between the end of closing and the twist; negative: the twist begins before the grip is closed."""
    twist_rad: float
    """How far the hand turns between two grips."""
    lead_rad: float
    """How far the twist's goal is ahead of the hand, which sets the speed."""
    enough_rad: float
    """What the hand has turned when the person believes that the bulb is in."""
    aim_sd_m: float = 0.002
    """Standard deviation of the horizontal aiming error, one draw per attempt and axis."""


FIRM = Twist("firm", 0.25, 6.0, 0.4, 0.1, 2.6, 0.35, np.inf)
"""Two fingers and the thumb, pressed well, turned without haste."""
HASTY = Twist("hasty", 0.75, 2.0, 0.3, -0.1, 2.2, 0.6, 7.0, aim_sd_m=0.006)
"""Weakly, turned at once and fast: the fingers slip over the glass."""
WAYS = (FIRM, HASTY)


def screw_lightbulb(person: Person) -> Script:
    """One episode."""
    yield from attempts(person, attempt, REACH_LOW, REACH_HIGH, retreat_m=0.3)


def attempt(person: Person) -> Script:
    """Draw the choices of an attempt and make it; ends when the person believes that the bulb is in."""
    rng, ways = person.rng, (FIRM,) if person.habits.careful else WAYS
    way = choose(rng, ways)
    offset = np.array([*rng.normal(0.0, way.aim_sd_m, 2), 0.0])
    away = np.array([0.0, 0.0, APPROACH_M])
    person.log.attempts.append(way.name)

    def at_bulb() -> Array:
        return person.believed + offset

    person.hand = pinch(BULB_PINCH, OPEN_M, BULB_M, way.grip_n)
    person.close_s = way.close_s
    person.believed, person.goal_rotation = person.object_pose[:3].copy(), about_z(FIRST_YAW)
    person.goal_position = at_bulb() + away
    yield from follow(person, lambda: at_bulb() + away, until=lambda: person.near(0.02, 0.1, 0.04))
    yield from follow(person, at_bulb, until=person.arrived)
    turned = 0.0
    while True:
        yield from close_hand(person, way.settle_s)
        yield from turn(person, -way.twist_rad, way.lead_rad)
        turned += way.twist_rad
        yield from let_go(person)
        if turned > way.enough_rad:
            break
        yield from turn(person, way.twist_rad, BACK_RAD_PER_STEP)
    yield from move(person, person.position + (0.0, 0.0, AWAY_M), until=person.arrived, laden=False)


ROUTINE = Routine(screw_lightbulb, *BULB_PINCH.in_palm())
