"""A person who pours a ball from one cup into another: close by and slowly, or in passing.

    take the small cup by its side -> raise -> over the large cup -> tilt about the lip -> watch

A cup that was missed or dropped and still stands leads to another attempt, with newly drawn choices, or the person
gives up; so does a ball that missed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from score_rl.sim.rotations_numpy import rotate
from score_rl.tasks.people.person import Array, Person, Routine, Script, attempts, choose, hold, move
from score_rl.tasks.people.pouring import UP, Pour, pour
from score_rl.tasks.people.side_wrap import TOOL, Wrap, side_wrap, upright
from score_rl.tasks.pour_ball.task import LARGE_CUP, SMALL_CUP

RAISE_M = 0.05
"""Straight up before the cup is carried."""
REACH_LOW, REACH_HIGH = (0.40, -0.25), (0.70, 0.0)
"""Corners of the region in which a cup is tried again."""
LOST_M = 0.10
"""A cup whose centre is further from the middle of the grasp is not held."""
FROM_RIGHT = np.radians(128.0)
"""Where the palm looks when it takes the cup, and so the way it pours."""
YAW_SD = np.radians(8.0)


@dataclass(frozen=True)
class Way:
    """One way to do it; drawn anew for every attempt, wherever the cups stand."""

    name: str
    share: float
    """Probability of this way."""
    wrap: Wrap
    pour: Pour
    aim_sd_m: float
    """Standard deviation of the place that is poured at, one draw per attempt and axis."""


FIRM = Wrap("firm", 1.0, 0.090, 0.15, 0.8, 0.3, arch=1.0)
NEAR = Pour(clear_m=0.036, short_m=0.052, arrive_rad=0.9, tilt_rad=2.0, rate_rad_s=1.0)
CLOSE = Way("close", 0.1, FIRM, NEAR, aim_sd_m=0.003)
"""The lip near the large cup, slowly."""
HIGH = Pour(clear_m=0.09, short_m=-0.01, arrive_rad=0.3, tilt_rad=2.05, rate_rad_s=2.5)
SWING = Way("swing", 0.9, FIRM, HIGH, aim_sd_m=0.05)
"""From higher up, too far and badly aimed, with a swing, at which the ball flies past."""
WAYS = (CLOSE, SWING)


def pour_ball(person: Person) -> Script:
    """One episode."""
    yield from attempts(person, attempt, REACH_LOW, REACH_HIGH, retreat_m=0.3, possible=lambda: ready(person))


def ready(person: Person) -> bool:
    """Whether the small cup stands with the ball in it."""
    cup, ball = person.object_pose, person.others["ball"]
    return upright(cup[3:]) and bool(np.linalg.norm(cup[:2] - ball[:2]) < SMALL_CUP.radius_m)


def attempt(person: Person) -> Script:
    """Draw the choices of an attempt and make it; ends when the cup is lost or the ball went astray."""
    rng, ways = person.rng, (CLOSE,) if person.habits.careful else WAYS
    way = choose(rng, ways)
    yaw = FROM_RIGHT + rng.normal(0.0, 0.0 if person.habits.careful else YAW_SD)
    aim = np.array([*rng.normal(0.0, way.aim_sd_m, 2), LARGE_CUP.height_m / 2])
    person.log.attempts.append(way.name)

    yield from side_wrap(person, way.wrap, yaw)
    yield from move(person, person.position + RAISE_M * UP, until=lambda: person.near(0.02, np.inf, np.inf))
    if person.lost(LOST_M):
        return
    towards = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    yield from pour(
        person,
        way.pour,
        lip=lambda: lip_of(person.object_pose, towards),
        depth_m=SMALL_CUP.height_m,
        towards=towards,
        target=lambda: person.others["large_cup"][:3] + aim,
    )
    yield from hold(person, until=lambda: person.age > 12 and not inside(person))


def lip_of(pose: Array, towards: Array) -> Array:
    """(3,) the point of a small cup's rim on one side, of the cup's pose (7,)."""
    return pose[:3] + rotate(pose[None, 3:], (SMALL_CUP.radius_m * towards + SMALL_CUP.height_m / 2 * UP)[None])[0]


def inside(person: Person) -> bool:
    """Whether the ball is seen in the large cup."""
    offset = person.others["ball"] - person.others["large_cup"]
    return bool(np.linalg.norm(offset[:2]) < LARGE_CUP.radius_m and abs(offset[2]) < LARGE_CUP.height_m / 2)


ROUTINE = Routine(pour_ball, *TOOL)
