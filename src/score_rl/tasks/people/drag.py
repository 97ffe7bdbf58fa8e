"""Draw a flat thing over the surface that it lies on, with two fingertips pressed on it."""

from __future__ import annotations

import numpy as np

from score_rl.robots.franka_leap.hand_postures import FINGER_RADIUS_M, THIN_PINCH
from score_rl.tasks.people.person import Array, Hand, Person, Script, follow, move

THUMB_AWAY = (1.35, 2.0, 1.4, 0.2)
"""Thumb joints: high above the fingertips."""
OPENING_M = 0.045
"""Of the pinch whose fingers press; their tips are half of it, and their radius, from the pinch frame's origin."""
TIPS_M = np.array([OPENING_M / 2 + FINGER_RADIUS_M, 0.0, -FINGER_RADIUS_M])
"""Between the pads of index and middle finger, in the pinch frame."""


def pressing() -> Hand:
    """Index and middle finger point down on what lies below, side by side; the thumb is away."""
    hand = THIN_PINCH.hand(np.array([OPENING_M]))[0]
    hand[12:] = THUMB_AWAY
    return lambda closing: hand


def drag(person: Person, place: Array, by: Array, press_m: float, above_m: float) -> Script:
    """Press on a place (3,) of a surface and draw it along `by` (3,), with the hand as it is turned; then come up.

    press_m: how far below the surface the fingertips are told to be, which is how hard they press.
    """
    tool = place - person.goal_rotation @ TIPS_M
    down, up = np.array([0.0, 0.0, press_m]), np.array([0.0, 0.0, above_m])
    person.hand = pressing()
    yield from follow(person, lambda: tool + up, until=lambda: person.near(0.02, 0.1, 0.03))
    yield from follow(person, lambda: tool - down, until=person.arrived)
    yield from move(person, tool - down + by, until=person.arrived)
    yield from move(person, tool + by + up / 2, until=person.passing, laden=False)
