"""Bringing what is in the hand to a place, by looking at it rather than at the hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from score_rl.tasks.people.person import Array, Condition, Person, Script, begin, go_on


def carry(person: Person, point: Callable[[], Array], target: Callable[[], Array], until: Condition) -> Script:
    """Move the closed hand so that a point of the object in it comes to where `target` says, looking again at every
    step.

    point: (3,) where the point is seen now. Where it is in the hand is smoothed over a few looks.
    target: (3,) where it is to be.
    until: asked of the hand, as in `person.move`.
    """
    held = point() - person.measured

    def look() -> None:
        nonlocal held
        held = held + 0.2 * (point() - person.measured - held)
        person.goal_position = np.asarray(target(), float) - held

    begin(person)
    look()
    person.laden, person.still, person.fingers_wait = True, False, False
    yield from go_on(person, until, look)


def hover(
    person: Person, point: Callable[[], Array], target: Callable[[], Array], until: Callable[[Array], bool]
) -> Script:
    """Hold the object where it is while it stops swinging, and take out what a point of it is seen to be off by.

    The goal moves by a share of that in every step: the arm's own error is taken out too, unlike in `carry`. More
    would set the object swinging. until: asked of what is left (3,), averaged over a few looks.
    """
    left = target() - point()

    def look() -> None:
        nonlocal left
        now = target() - point()
        left = left + 0.4 * (now - left)
        person.goal_position = person.goal_position + 0.1 * now

    begin(person)
    person.laden, person.still, person.fingers_wait = True, False, False
    yield from go_on(person, lambda: until(left), look)
