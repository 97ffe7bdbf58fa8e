"""A person who pushes a ball into the goal with the flat hand: steered all the way, or with a shove and hope.

    reach a point behind the ball -> lower the hand -> push, steering at every step -> watch

A ball that got away leads to another attempt from behind it, with newly drawn choices, or the person gives up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from score_rl.tasks.people.person import (
    Array,
    Person,
    Routine,
    Script,
    about_z,
    attempts,
    choose,
    follow,
    watch,
)

GOAL = np.array([0.53, 0.15])
"""Middle of the goal; a ball within `IN_GOAL_M` of it (x, y) is in."""
IN_GOAL_M = np.array([0.06, 0.025])
FLAT_HAND = np.r_[[0.15, 0.0, 0.15, 0.1] * 3, [0.0] * 4]
"""Joints (16,): fingers side by side and nearly straight, thumb away."""
TOOL_M = np.array([0.146, -0.0075, 0.036])
"""Between the tips of index and middle finger of that hand, palm frame."""
LEAN = np.radians(15.0)
"""The fingertips lead by this angle: the hand leans back."""
BEHIND_M = 0.040
"""From the ball's centre to the tool where index and middle finger touch the ball."""
APPROACH_M, ABOVE_M, HEIGHT_M = 0.09, 0.14, 0.028
"""The hand comes down this far behind the ball, from this height to that one (fingertips over the table)."""
REACH_LOW, REACH_HIGH = (0.33, -0.32), (0.73, 0.12)
"""Corners of the region in which a ball is pushed again."""


@dataclass(frozen=True)
class Push:
    """One way to push; drawn anew for every attempt, wherever the ball is."""

    name: str
    share: float
    """Probability of this way."""
    aside_m: float
    """Where the ball meets the hand: 0 between index and middle finger, positive towards the ring finger."""
    lead_m: float
    """How far the hand's goal is ahead of the touch, which sets the speed."""
    release_m: float
    """Distance from the goal at which the hand stops and the ball rolls on."""
    aim_sd_m: float
    """Standard deviation of the place that is aimed at, one draw per attempt and axis."""
    far_m: float = 0.0
    """How much too far from the robot the person aims: at a glance, the goal seems further away than it is."""


CRADLE = Push("cradle", 0.1, 0.0, 0.03, 0.01, 0.005)
"""Between two fingers, slowly, all the way into the goal."""
FINGER = Push("finger", 0.05, 0.03, 0.06, 0.02, 0.02)
"""With the middle finger alone, from which the ball slips to one side."""
SHOVE = Push("shove", 0.85, 0.0, 0.1, 0.08, 0.02, far_m=0.18)
"""A quick shove, aimed at a glance: it tends to pass the goal on its far side."""
WAYS = (CRADLE, FINGER, SHOVE)


def push_ball(person: Person) -> Script:
    """One episode."""
    yield from attempts(person, attempt, REACH_LOW, REACH_HIGH)


def attempt(person: Person) -> Script:
    """Draw the choices of an attempt and make it; ends when the ball is found not to be in the goal."""
    rng, ways = person.rng, (CRADLE,) if person.habits.careful else WAYS
    way = choose(rng, ways)
    target = GOAL + (way.far_m, 0.0) + rng.normal(0.0, way.aim_sd_m, 2)
    person.log.attempts.append(way.name)

    def touch(ahead_m: float) -> Array:
        """Turn to the goal; (2,) where the hand goes: behind the ball as seen from there, shifted along the line."""
        ball = person.object_pose[:2]
        line = target - ball
        far = np.linalg.norm(line)
        if far > 0.05:
            person.goal_rotation = about_z(np.arctan2(line[1], line[0]))
        along, aside = person.goal_rotation[:2, 0], person.goal_rotation[:2, 1]
        return ball - way.aside_m * aside + (min(ahead_m, far) - BEHIND_M) * along

    def behind(height_m: float) -> Array:
        return np.array([*touch(BEHIND_M - APPROACH_M), height_m])

    def left() -> float:
        return float(np.linalg.norm(target - person.object_pose[:2]))

    person.hand = lambda closing: FLAT_HAND
    person.believed = person.object_pose[:3].copy()
    person.goal_position = behind(ABOVE_M)
    yield from follow(person, lambda: behind(ABOVE_M), until=lambda: person.near(0.03, 0.2, 0.06))
    yield from follow(person, lambda: behind(HEIGHT_M), until=lambda: person.near(0.015, 0.1, 0.02, patience=12))
    yield from follow(
        person,
        lambda: np.array([*touch(way.lead_m), HEIGHT_M]),
        until=lambda: left() < way.release_m or astray(person),
    )
    yield from watch(person, lambda: in_goal(person.object_pose))


def in_goal(pose: Array) -> bool:
    """Whether the ball is seen in the goal."""
    return bool((np.abs(pose[:2] - GOAL) <= IN_GOAL_M).all())


def astray(person: Person) -> bool:
    """Whether the ball is beside the hand, behind it or far ahead."""
    along, aside, _ = person.rotation.T @ (person.object_pose[:3] - person.position)
    return bool(abs(aside) > 0.06 or along < -0.01 or along > 0.20)


def tool_rotation() -> Array:
    """(3, 3) the tool in the palm frame: x out of the leaning palm, the way that is pushed, z against the fingers."""
    c, s = np.cos(LEAN), np.sin(LEAN)
    upright = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    return upright @ np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


ROUTINE = Routine(push_ball, TOOL_M, tool_rotation())
