"""A person who draws the card over the block's edge with two fingertips, and takes it there, the thumb below.

    press on the card -> draw it to the edge -> look -> beside the edge -> close -> raise -> carry to the goal -> hold

A card that has not come far enough is drawn again; one that was missed or dropped leads to another attempt while it
still lies on the block, or the person gives up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from score_rl.robots.franka_leap.hand_postures import THIN_PINCH
from score_rl.tasks.people.drag import drag
from score_rl.tasks.people.person import (
    Array,
    Person,
    Routine,
    Script,
    about_z,
    choose,
    close_hand,
    follow,
    give_up,
    hold,
    move,
    tries_again,
)
from score_rl.tasks.people.pinch import pinch
from score_rl.tasks.pick_card.task import BLOCK_M, CARD_M

GOAL = (0.55, 0.0, 0.33)
"""Where the card is carried to."""
OPEN_M = 0.05
"""Opening of the hand while it reaches for the edge."""
ABOVE_M, BESIDE_M, RAISE_M = 0.06, 0.08, 0.08
"""From where the hand comes down on the card, from where it comes in beside it, and straight up with it."""
MARGIN_M = 0.012
"""The fingertips that draw the card stay this far on the block."""
DRAGS = 3
"""At most, in one attempt."""
LOST_M = 0.08
"""A card whose centre is further from the pinch is not held."""
OVER = about_z(-np.pi / 2)
"""The pinch frame while the hand presses from above: the fingers' side points away from the edge."""


def beside(tilt_rad: float) -> Array:
    """(3, 3) the pinch frame at the edge: thumb below the card, fingers above, the hand hanging back by an angle."""
    c, s = np.cos(tilt_rad), np.sin(tilt_rad)
    return np.array([[0.0, 1.0, 0.0], [-s, 0.0, c], [c, 0.0, s]])


@dataclass(frozen=True)
class Way:
    """One way to get hold of a card; drawn anew for every attempt."""

    name: str
    share: float
    """Probability of this way."""
    overhang_m: float
    """How far the card is to stand over the edge before it is taken."""
    press_m: float
    """How hard it is pressed on, see `drag`."""
    beyond_m: float
    """Where it is pinched: from the edge outwards."""
    lift_m: float
    """Height of the pinch over the card's middle: the thumb comes first."""
    tilt_rad: float
    """How far the hand hangs back at the edge."""
    grip_n: float
    """Force with which thumb and fingers are told to press on each other."""
    close_s: float
    """Time over which the fingers close."""
    settle_s: float
    """Time between the end of closing and lifting; negative: lifting starts before the grip is closed."""
    aim_sd_m: float
    """Standard deviation of aiming errors, one draw per motion and axis."""


PATIENT = Way("patient", 0.3, 0.038, 0.010, 0.011, 0.001, 0.40, 7.0, 0.65, 0.25, 0.001)
"""Drawn far out, looked at again, and taken lightly close to the edge, by a hand that hangs back."""
HASTY = Way("hasty", 0.7, 0.022, 0.006, 0.018, 0.002, 0.05, 16.0, 0.4, -0.1, 0.004)
"""Drawn out a little, and snatched by its end: a firm pinch that is not level with the card throws it out."""
WAYS = (PATIENT, HASTY)


def pick_card(person: Person) -> Script:
    """One episode."""
    while True:
        yield from attempt(person)
        if not tries_again(person, on_block(person)):
            break
    yield from give_up(person)


def attempt(person: Person) -> Script:
    """Draw the choices of an attempt and make it; ends when the card is found not to be in the hand."""
    way = choose(person.rng, (PATIENT,) if person.habits.careful else WAYS)
    person.log.attempts.append(way.name)
    for _ in range(DRAGS):
        missing = way.overhang_m - overhang(person)
        if missing < 0.006:
            break
        place = np.array([person.object_pose[0], edge(person) - MARGIN_M - missing, top(person)])
        place[:2] += person.rng.normal(0.0, way.aim_sd_m, 2)
        person.goal_rotation = OVER
        yield from drag(person, place, np.array([0.0, missing, 0.0]), way.press_m, ABOVE_M)
    yield from take(person, way)


def take(person: Person, way: Way) -> Script:
    """Come in beside the edge, thumb below and fingers above, close, raise, carry, hold."""
    aim = person.rng.normal(0.0, way.aim_sd_m, 3)
    person.believed = person.object_pose[:3].copy()
    person.hand, person.close_s = pinch(THIN_PINCH, OPEN_M, CARD_M[2], way.grip_n), way.close_s
    person.goal_rotation = beside(way.tilt_rad)
    rim = edge(person)

    def at_edge() -> Array:
        return np.array([person.believed[0], rim + way.beyond_m, top(person) + way.lift_m]) + aim

    def lost() -> bool:
        return person.lost(LOST_M)

    out = person.goal_rotation[:, 2] * BESIDE_M
    yield from follow(person, lambda: at_edge() + out, until=lambda: person.near(0.01, 0.05, 0.03))
    yield from follow(person, at_edge, until=person.arrived)
    yield from close_hand(person, way.settle_s)
    yield from move(person, person.position + (0.0, 0.0, RAISE_M), until=person.passing)
    yield from move(person, np.array(GOAL), until=lambda: person.arrived() or lost())
    if not lost():
        yield from hold(person, until=lost)


def top(person: Person) -> float:
    """Height of the card's middle on the block, m."""
    return float(person.others["block"][2] + BLOCK_M[2] / 2 + CARD_M[2] / 2)


def edge(person: Person) -> float:
    """y of the block's edge, m."""
    return float(person.others["block"][1] + BLOCK_M[1] / 2)


def overhang(person: Person) -> float:
    """How far the card is seen to stand over the edge, m; negative: it does not."""
    return float(person.object_pose[1] + CARD_M[1] / 2 - edge(person))


def on_block(person: Person) -> bool:
    """Whether the card is seen on the block."""
    offset = person.object_pose[:3] - person.others["block"][:3]
    return bool((np.abs(offset[:2]) < BLOCK_M[:2] / 2).all() and abs(person.object_pose[2] - top(person)) < 0.01)


ROUTINE = Routine(pick_card, *THIN_PINCH.in_palm())
