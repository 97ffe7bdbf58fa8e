"""A person who pinches a cube: thumb against one or two fingers, two pairs of faces, from above or from the side.

    reach a point near the cube -> descend -> close -> raise -> carry to the goal -> hold

A missed or dropped cube leads to another attempt, with newly drawn choices, or the person gives up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from score_rl.robots.franka_leap.hand_postures import PINCH, RING_CURLED
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
from score_rl.tasks.people.pinch import easy_yaw, pinch

CUBE_M = 0.045
GOAL = (0.55, 0.0, 0.33)
"""Where the cube is carried to."""
APPROACH_M = 0.09
"""Distance of the point from which the hand descends."""
RAISE_M = 0.05
"""Straight up before the cube is carried."""
OPEN_M = 0.085
"""Opening of the hand while it reaches."""
REACH_LOW, REACH_HIGH = (0.27, -0.24), (0.73, 0.24)
"""Corners of the region in which a cube is tried again."""
LOST_M = 0.06
"""A cube further from the pinch is not held."""

CROSSWISE_PROBABILITY = 0.4
"""Chance to take the other pair of faces (hand turned by 90 degrees), where the arm can reach it."""
CROSSWISE_FROM_M = 0.57
"""Nearer to the base the elbow folds too far for the other pair of faces, at +90 degrees from the nearest one."""
SLANTED_PROBABILITY = 0.4
"""Chance to come in from the side, along the cube's faces, rather than from above."""


@dataclass(frozen=True)
class Grasp:
    """One way to take hold of a cube; drawn anew for every attempt, whatever the cube's pose."""

    name: str
    share: float
    """Probability of this grasp."""
    middle_finger: bool
    """Whether the middle finger takes part; otherwise it is curled away as the ring finger always is."""
    height_m: float
    """Height of the fingertips' centres over the table while closing."""
    grip_n: float
    """Force with which thumb and fingers are told to press on each other; the torque limits bound it as well."""
    close_s: float
    """Time over which the fingers close."""
    settle_s: float
    """Time between the end of closing and lifting; negative: lifting starts before the grip is closed."""
    offset_m: float = 0.0
    """Distance along the cube's face by which the thumb passes the cube's centre."""
    aim_sd_m: float = 0.002
    """Standard deviation of the horizontal aiming error, one draw per attempt and axis."""

    def hand(self) -> Hand:
        """Finger joints as a function of how far the hand is closed."""
        tripod = pinch(PINCH, OPEN_M, CUBE_M, self.grip_n)

        def joints(closing: float) -> Array:
            hand = tripod(closing)
            if not self.middle_finger:
                hand[4:8] = RING_CURLED
            return hand

        return joints


TRIPOD = Grasp("tripod", 0.35, True, 0.021, 8.0, 0.4, 0.2, aim_sd_m=0.002)
"""Thumb against index and middle finger, low, centred and firm."""
HASTY = Grasp("hasty", 0.65, False, 0.036, 1.8, 0.3, -0.1, offset_m=0.004, aim_sd_m=0.006)
"""Thumb against index alone, at the cube's upper edge, weak, and lifted at once."""
GRASPS = (TRIPOD, HASTY)


def pinch_cube(person: Person) -> Script:
    """One episode."""
    yield from attempts(person, attempt, REACH_LOW, REACH_HIGH)


def attempt(person: Person) -> Script:
    """Draw the choices of an attempt and make it; ends when the cube is found not to be in the hand."""
    rng, ways = person.rng, (TRIPOD,) if person.habits.careful else GRASPS
    adventure = 0.0 if person.habits.careful else 1.0
    grasp = choose(rng, ways)
    slanted = bool(rng.random() < SLANTED_PROBABILITY * adventure)
    pose = person.object_pose
    far = np.hypot(pose[0], pose[1]) > CROSSWISE_FROM_M
    crosswise = bool(rng.random() < CROSSWISE_PROBABILITY * adventure and far)
    turned = about_z(face_yaw(pose[3:], easy_yaw(pose)) + np.pi / 2 * crosswise)
    offset = turned @ (0.0, grasp.offset_m, 0.0) + (*rng.normal(0.0, grasp.aim_sd_m, 2), 0.0)
    away = np.array([0.0, 0.0, APPROACH_M])
    if slanted:
        # The hand hangs over the +y side of the pinch frame: from there nothing is in the way.
        away = 0.7 * away + turned @ (0.0, 0.7 * APPROACH_M, 0.0)
    person.log.attempts.append(grasp.name + "+crosswise" * crosswise + "+slanted" * slanted)

    def at_cube() -> Array:
        x, y, _ = person.believed + offset
        return np.array([x, y, grasp.height_m])

    def lost() -> bool:
        return person.lost(LOST_M)

    person.hand, person.close_s = grasp.hand(), grasp.close_s
    person.believed, person.goal_rotation = pose[:3].copy(), turned
    person.goal_position = at_cube() + away
    yield from follow(person, lambda: at_cube() + away, until=lambda: person.near(0.03, 0.15, 0.08))
    yield from follow(person, at_cube, until=person.arrived)
    yield from close_hand(person, grasp.settle_s)
    yield from move(person, person.position + (0.0, 0.0, RAISE_M), until=person.passing)
    yield from move(person, np.array(GOAL), until=lambda: person.arrived() or lost())
    if not lost():
        yield from hold(person, until=lost)


def face_yaw(quaternion: ArrayLike, near_rad: float) -> float:
    """Yaw of the cube's faces, of the four equivalent ones that within 45 degrees of `near_rad`."""
    w, x, y, z = np.asarray(quaternion, float)
    columns = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)],
            [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)],
            [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    flattest = columns[np.argmin(np.abs(columns[:, 2]))]
    yaw = np.arctan2(flattest[1], flattest[0])
    quarter = np.pi / 2
    return float(near_rad + (yaw - near_rad + quarter / 2) % quarter - quarter / 2)


ROUTINE = Routine(pinch_cube, *PINCH.in_palm())
