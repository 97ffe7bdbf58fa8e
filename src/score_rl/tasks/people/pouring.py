"""The skill of pouring: something that is held is tilted about a point of its rim, which is brought over a target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from score_rl.tasks.people.kinematics import rotate_by
from score_rl.tasks.people.person import Array, Person, Script, begin, move

UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Pour:
    """How to pour."""

    clear_m: float
    """Height of the pivot over the target once the vessel lies on its side."""
    short_m: float
    """How far the pivot stays short of the target: what rolls out has some speed."""
    arrive_rad: float
    """Tilt at which it arrives there, too little for anything to leave."""
    tilt_rad: float
    """Tilt at the end."""
    rate_rad_s: float
    """Brisk speed of tilting."""


def pour(
    person: Person, way: Pour, lip: Callable[[], Array], depth_m: float, towards: Array, target: Callable[[], Array]
) -> Script:
    """Bring the lip near a target and tilt the vessel about it; ends when it is tilted.

    lip: (3,) the point of the rim over which it pours, as it is seen now: a vessel may slip in the hand.
    depth_m: from there straight down to the vessel's bottom, which must clear what is poured into.
    towards: (3,) level unit vector of the tilt.
    target: (3,) what is poured at, as it is seen now.
    """
    upright, tilt = person.rotation.copy(), way.arrive_rad
    pivot = upright.T @ (lip() - person.position)

    def aim() -> None:
        """The goal at which the vessel is tilted, its lip near the target."""
        nonlocal pivot
        pivot = pivot + 0.3 * (person.rotation.T @ (lip() - person.position) - pivot)
        person.goal_rotation = rotate_by((tilt * np.cross(UP, towards))[None], upright[None])[0]
        rise = way.clear_m + depth_m * max(np.cos(tilt), 0.0)
        person.goal_position = target() + rise * UP - way.short_m * towards - person.goal_rotation @ pivot

    aim()
    yield from move(person, person.goal_position, until=person.arrived)
    begin(person)
    while tilt < way.tilt_rad:
        yield
        if person.wait == 0:
            tilt = min(way.tilt_rad, tilt + way.rate_rad_s * person.pace * person.dt)
            aim()
