"""A person who takes a lying bottle between thumb and fingers, by the middle or by an end, and holds it up.

    reach a point over the bottle -> descend -> close -> raise -> carry to the goal -> hold

A missed or dropped bottle leads to another attempt, with newly drawn choices, or the person gives up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from score_rl.robots.franka_leap.hand_postures import WIDE_PINCH
from score_rl.tasks.people.person import (
    Array,
    Hand,
    Person,
    Routine,
    Script,
    about_z,
    attempts,
    choose,
    close_hand,
    follow,
    hold,
    move,
)
from score_rl.tasks.people.pinch import pinch

BOTTLE_M = 0.064
GOAL = (0.60, 0.08, 0.38)
"""Where the bottle is carried to."""
APPROACH_M = 0.11
"""Distance of the point from which the hand descends."""
RAISE_M = 0.06
"""Straight up before the bottle is carried."""
OPEN_M = 0.11
"""Opening of the hand while it reaches."""
REACH_LOW, REACH_HIGH = (0.27, -0.36), (0.74, 0.36)
"""Corners of the region in which a bottle is tried again."""
LOST_M = 0.12
"""A bottle whose centre is further from the pinch is not held."""
YAW = np.radians(90.0)
"""Yaw of the pinch frame at which the arm is at ease, wherever the bottle is."""


@dataclass(frozen=True)
class Grasp:
    """One way to take hold of a bottle; drawn anew for every attempt, whatever the bottle's pose."""

    name: str
    share: float
    """Probability of this grasp."""
    height_m: float
    """Height of the fingertips' centres over the table while closing."""
    grip_n: float
    """Force with which thumb and fingers are told to press on each other; the torque limits bound it as well."""
    close_s: float
    """Time over which the fingers close."""
    settle_s: float
    """Time between the end of closing and lifting; negative: lifting starts before the grip is closed."""
    along_m: float = 0.0
    """Distance from the bottle's middle, towards either end, of the place that is gripped."""
    aim_sd_m: float = 0.002
    """Standard deviation of the horizontal aiming error, one draw per attempt and axis."""

    def hand(self) -> Hand:
        """Finger joints as a function of how far the hand is closed."""
        return pinch(WIDE_PINCH, OPEN_M, BOTTLE_M, self.grip_n)


MIDDLE = Grasp("middle", 0.75, 0.019, 10.0, 0.6, 0.3)
"""By the middle, low and firm."""
END = Grasp("end", 0.25, 0.019, 10.0, 0.5, 0.0, along_m=0.03, aim_sd_m=0.005)
"""Nearer to one end, carelessly aimed, and lifted at once."""
GRASPS = (MIDDLE, END)


def grasp_bottle(person: Person) -> Script:
    """One episode."""
    yield from attempts(person, attempt, REACH_LOW, REACH_HIGH, retreat_m=0.3)


def attempt(person: Person) -> Script:
    """Draw the choices of an attempt and make it; ends when the bottle is found not to be in the hand."""
    rng, ways = person.rng, (MIDDLE,) if person.habits.careful else GRASPS
    grasp = choose(rng, ways)
    pose = person.object_pose
    axis = bottle_axis(pose[3:])
    turned = about_z(across(axis, YAW))
    side = 1.0 if rng.random() < 0.5 else -1.0
    offset = side * grasp.along_m * axis + (*rng.normal(0.0, grasp.aim_sd_m, 2), 0.0)
    away = np.array([0.0, 0.0, APPROACH_M])
    person.log.attempts.append(grasp.name)

    def at_bottle() -> Array:
        x, y, _ = person.believed + offset
        return np.array([x, y, grasp.height_m])

    def lost() -> bool:
        return person.lost(LOST_M)

    person.hand, person.close_s = grasp.hand(), grasp.close_s
    person.believed, person.goal_rotation = pose[:3].copy(), turned
    person.goal_position = at_bottle() + away
    yield from follow(person, lambda: at_bottle() + away, until=lambda: person.near(0.02, 0.1, 0.06))
    yield from follow(person, at_bottle, until=person.arrived)
    yield from close_hand(person, grasp.settle_s)
    yield from move(person, person.position + (0.0, 0.0, RAISE_M), until=person.passing)
    yield from move(person, np.array(GOAL), until=lambda: person.arrived() or lost())
    if not lost():
        yield from hold(person, until=lost)


def bottle_axis(quaternion: Array) -> Array:
    """(3,) level unit vector along the bottle, to which its z axis points; a standing one counts as lying along x."""
    w, x, y, z = quaternion
    axis = np.array([2 * (x * z + w * y), 2 * (y * z - w * x), 0.0])
    length = np.linalg.norm(axis)
    return axis / length if length > 0.3 else np.array([1.0, 0.0, 0.0])


def across(axis: Array, near_rad: float) -> float:
    """Yaw of a pinch across the bottle, of the two opposite ones the nearer to `near_rad`."""
    yaw = np.arctan2(axis[1], axis[0]) + np.pi / 2
    return float(near_rad + (yaw - near_rad + np.pi / 2) % np.pi - np.pi / 2)


ROUTINE = Routine(grasp_bottle, *WIDE_PINCH.in_palm())
