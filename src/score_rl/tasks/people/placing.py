"""Bringing what is in the hand to a place, by looking at it rather than at the hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from score_rl.tasks.people.person import Array, Condition, Person, Script, begin, go_on


def carry(person: Person, target: Callable[[], Array], until: Condition) -> Script:
    """Move the closed hand so that the object in it comes to where `target` says (3,), looking again at every step.

    Where the object sits in the hand is smoothed over a few looks; `until` is asked of the hand, as in `person.move`.
    """
    held = person.object_pose[:3] - person.measured

    def look() -> None:
        nonlocal held
        held = held + 0.2 * (person.object_pose[:3] - person.measured - held)
        person.goal_position = np.asarray(target(), float) - held

    begin(person)
    look()
    person.laden, person.still, person.fingers_wait = True, False, False
    yield from go_on(person, until, look)
