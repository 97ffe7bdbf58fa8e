"""The skill of taking an upright cup by its side, with the palm to it and the fingers around it.

over a point beside the cup -> down to it -> up to the cup -> close
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from score_rl.robots.franka_leap.wrap import IN_PALM, IN_PALM_M, wrapped
from score_rl.tasks.people.person import Array, Person, Script, about_z, close_hand, follow

TOOL = (IN_PALM_M, IN_PALM)
"""The wrap frame as the tool of a `Routine`."""
BACK_M = 0.115
"""From where the hand comes down to where it closes: it must not come down on the cup."""
UP_M = 0.15
"""Height of the way to there, over the height of the grasp."""
ROLL = np.radians(20.0)
"""The fingers point down by this angle, so that the wrist keeps clear of the table and of its stop."""


@dataclass(frozen=True)
class Wrap:
    """One way to take hold of a cup; drawn anew for every attempt, wherever it stands."""

    name: str
    share: float
    """Probability of this way."""
    height_m: float
    """Height of the middle finger over the table."""
    squeeze_rad: float
    """How far past touching the fingers are told to close."""
    close_s: float
    """Time over which the fingers close."""
    settle_s: float
    """Time between the end of closing and lifting; negative: lifting starts before the grip is closed."""
    short_m: float = 0.0
    """Distance by which the palm stops short of the cup, so that the fingers' ends have to do."""
    aim_sd_m: float = 0.002
    """Standard deviation of the horizontal aiming error, one draw per attempt and axis."""
    arch: float = 0.0
    """How much higher the hand flies for every metre that it still has to go: its fingers hang down at first, and
    would knock over a cup that is on the way."""


def side_wrap(person: Person, way: Wrap, yaw: float) -> Script:
    """Take the cup that is seen; `yaw` (rad, about the base's z) is where the palm looks when it comes up to it."""
    rotation = about_z(yaw) @ rolled(ROLL)
    aim = np.array([*person.rng.normal(0.0, way.aim_sd_m, 2), 0.0]) - way.short_m * rotation[:, 0]

    def beside(back_m: float, up_m: float) -> Callable[[], Array]:
        away = aim - back_m * rotation[:, 0] + (0.0, 0.0, up_m)
        return lambda: np.array([*person.believed[:2], way.height_m]) + away

    def over() -> Array:
        goal = beside(BACK_M, UP_M)()
        return goal + (0.0, 0.0, way.arch * np.linalg.norm((goal - person.position)[:2]))

    person.hand, person.close_s = lambda closing: wrapped(closing, way.squeeze_rad), way.close_s
    person.believed, person.goal_rotation = person.object_pose[:3].copy(), rotation
    person.goal_position = over()
    yield from follow(person, over, until=lambda: person.near(0.03, 0.15, 0.08))
    yield from follow(person, beside(BACK_M, 0.0), until=lambda: person.near(0.02, 0.1, 0.03, patience=12))
    yield from follow(person, beside(0.0, 0.0), until=person.arrived)
    yield from close_hand(person, way.settle_s)


def rolled(angle: float) -> Array:
    """Rotation (3, 3) about x."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def upright(quaternion: Array) -> bool:
    """Whether something stands, within 25 degrees (wxyz)."""
    return bool(1.0 - 2.0 * (quaternion[1] ** 2 + quaternion[2] ** 2) > 0.9)
