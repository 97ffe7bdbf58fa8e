"""A person who opens the drawer wide and lowers the cube into it, or opens it a little and throws the cube in.

    over the handle -> grip it -> pull -> let go -> over the cube -> grip it -> raise -> over the drawer -> let go

A cube that is not in the drawer then leads to another attempt, in a newly drawn way, or the person gives up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from score_example.stow_cube.task import CLOSED_M, CUBE_EDGE_M, HANDLE_M, HANDLE_RADIUS_M, INSIDE_M
from score_rl.robots.franka_leap.hand_postures import PINCH
from score_rl.tasks.people import person as people
from score_rl.tasks.people.person import Array, Person, Script, about_z, close_hand, follow, let_go, move, watch
from score_rl.tasks.people.pinch import easy_yaw, pinch
from score_rl.tasks.pinch_cube.demonstrator import face_yaw

OPEN_M, ABOVE_M, CARRY_M = 0.085, 0.09, 0.20
"""Opening of the hand while it reaches; how far above things it comes and goes; height at which a cube is carried."""
REACH_LOW, REACH_HIGH = (0.30, -0.26), (0.73, 0.02)
"""Corners of the region in which a cube is tried again."""
SHORT_M = 0.03
"""A drawer that is this much less open than it is meant to be is pulled first; if that was in vain, again."""
LOST_M = 0.06
"""A cube further from the pinch is not held."""


@dataclass(frozen=True)
class Way:
    """One way to stow a cube; drawn anew for every attempt."""

    name: str
    share: float
    """Probability of this way."""
    open_m: float
    """How far the drawer is opened."""
    drop_m: float
    """Height over the drawer's floor at which the cube is let go."""
    aim_sd_m: float
    """Standard deviation of the horizontal aiming errors, one draw per attempt, axis and thing."""


WIDE = Way("wide", 0.5, 0.13, 0.07, 0.002)
AJAR = Way("ajar", 0.5, 0.08, 0.11, 0.006)
"""Hardly wider than the cube: it often falls on the lid or the front."""
WAYS = (WIDE, AJAR)


def stow_cube(person: Person) -> Script:
    """One episode."""
    yield from people.attempts(person, attempt, REACH_LOW, REACH_HIGH)


def attempt(person: Person) -> Script:
    """Draw the choices of an attempt and make it; ends when the cube is seen not to be in the drawer."""
    way = people.choose(person.rng, (WIDE,) if person.habits.careful else WAYS)
    person.log.attempts.append(way.name)
    if opened(person) < way.open_m - SHORT_M:
        yield from pull(person, way)
    if opened(person) > way.open_m - SHORT_M:
        yield from put(person, way)


def pull(person: Person, way: Way) -> Script:
    """Grip the handle from above and draw it out."""
    handle = person.others["drawer"][:3] + HANDLE_M + (*person.rng.normal(0.0, way.aim_sd_m, 2), 0.0)
    person.hand, person.close_s = pinch(PINCH, OPEN_M, 2 * HANDLE_RADIUS_M, 6.0), 0.4
    person.goal_rotation = about_z(easy_yaw(handle))
    yield from follow(person, lambda: handle + (0, 0, ABOVE_M), until=lambda: person.near(0.02, 0.1, 0.06))
    yield from follow(person, lambda: handle, until=person.arrived)
    yield from close_hand(person, settle_s=0.1)
    yield from move(person, handle - (0, way.open_m - opened(person), 0), until=person.arrived)
    yield from let_go(person)
    yield from move(person, person.position + (0, 0, ABOVE_M), until=person.passing, laden=False)


def put(person: Person, way: Way) -> Script:
    """Take the cube from above and let it go over the middle of what is open of the drawer."""
    cube = person.object_pose
    at_cube, over_drawer = person.rng.normal(0.0, way.aim_sd_m, (2, 2))
    person.hand, person.close_s = pinch(PINCH, OPEN_M, CUBE_EDGE_M, 8.0), 0.4
    person.believed, person.goal_rotation = cube[:3].copy(), about_z(face_yaw(cube[3:], easy_yaw(cube)))

    def lost() -> bool:
        return person.lost(LOST_M)

    def low() -> Array:
        return np.array([*(person.believed[:2] + at_cube), CUBE_EDGE_M / 2])

    yield from follow(person, lambda: low() + (0, 0, ABOVE_M), until=lambda: person.near(0.02, 0.1, 0.06))
    yield from follow(person, low, until=person.arrived)
    yield from close_hand(person, settle_s=0.2)
    yield from move(person, np.array([*person.position[:2], CARRY_M]), until=person.passing)
    place = open_middle(person) + (*over_drawer, 0.0)
    yield from move(person, place + (0, 0, CARRY_M), until=lambda: person.near(0.02, 0.2, 0.03) or lost())
    if lost():
        return
    yield from move(person, place + (0, 0, way.drop_m), until=lambda: person.arrived() or lost())
    yield from let_go(person)
    yield from move(person, place + (0, 0, CARRY_M), until=person.passing, laden=False)
    yield from watch(person, lambda: stowed(person))


def opened(person: Person) -> float:
    """How far the drawer is seen to be open, m."""
    return float(CLOSED_M[1] - person.others["drawer"][1])


def open_middle(person: Person) -> Array:
    """(3,) the middle of the part of the drawer's floor that the lid does not cover."""
    x, y, z = person.others["drawer"][:3]
    return np.array([x, (y - INSIDE_M[1] + CLOSED_M[1] - INSIDE_M[1]) / 2, z])


def stowed(person: Person) -> bool:
    """Whether the cube is seen in the drawer."""
    offset = person.object_pose[:3] - person.others["drawer"][:3]
    return bool((np.abs(offset[:2]) < INSIDE_M).all() and offset[2] < CUBE_EDGE_M)


ROUTINE = people.Routine(stow_cube, *PINCH.in_palm())
