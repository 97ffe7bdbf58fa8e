"""Turning something that stays where it is: a bulb, a knob, a lid."""

from __future__ import annotations

import numpy as np

from score_rl.tasks.people.person import Array, Person, Script, about_z, begin, go_on


def turn(person: Person, by_rad: float, lead_rad: float) -> Script:
    """Turn the upright tool about its vertical, the hand as it is, by an angle that may be over half a turn.

    lead_rad: how far the goal is ahead of the hand, which sets the speed.
    """
    left, yaw = by_rad, heading(person.rotation)

    def look() -> None:
        nonlocal left, yaw
        now = heading(person.rotation)
        left -= (now - yaw + np.pi) % (2 * np.pi) - np.pi
        yaw = now
        person.goal_rotation = about_z(now + float(np.clip(left, -lead_rad, lead_rad)))

    begin(person)
    person.laden, person.still, person.fingers_wait = True, False, False
    yield from go_on(person, until=lambda: abs(left) < 0.1, look=look)


def heading(rotation: Array) -> float:
    """Yaw of an upright tool (3, 3), within +-pi."""
    return float(np.arctan2(rotation[1, 0], rotation[0, 0]))
