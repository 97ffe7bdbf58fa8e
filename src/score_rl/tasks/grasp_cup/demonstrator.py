"""A person who takes a cup by its side, with the whole hand or in passing near the rim, and holds it up.

    beside the cup -> up to it -> close -> raise -> carry to the goal -> hold

A missed or dropped cup that still stands leads to another attempt, with newly drawn choices, or the person gives up;
one that fell over is left lying.
"""

from __future__ import annotations

import numpy as np

from score_rl.tasks.people.person import Person, Routine, Script, attempts, choose, hold, move
from score_rl.tasks.people.side_wrap import TOOL, Wrap, side_wrap, upright

GOAL = (0.55, 0.10, 0.37)
"""Where the cup is carried to."""
RAISE_M = 0.08
"""Straight up before the cup is carried."""
REACH_LOW, REACH_HIGH = (0.40, -0.10), (0.75, 0.30)
"""Corners of the region in which a cup is tried again."""
LOST_M = 0.11
"""A cup whose centre is further from the middle of the grasp is not held."""
FROM_RIGHT, FROM_ROBOT = np.radians(125.0), np.radians(0.0)
"""Where the palm looks when it comes from the robot's far right, or straight from the robot."""
FROM_ROBOT_PROBABILITY = 0.2
YAW_SD = np.radians(8.0)

FIRM = Wrap("firm", 0.6, 0.104, 0.17, 0.8, 0.3)
"""The whole hand around the middle."""
PASSING = Wrap("passing", 0.4, 0.135, 0.03, 0.4, -0.1, short_m=0.012, aim_sd_m=0.012)
"""Near the rim, with the ends of the fingers, weak, and lifted at once."""
WAYS = (FIRM, PASSING)


def grasp_cup(person: Person) -> Script:
    """One episode."""
    yield from attempts(person, attempt, REACH_LOW, REACH_HIGH, retreat_m=0.3, possible=lambda: stands(person))


def stands(person: Person) -> bool:
    """Whether the cup is seen upright."""
    return upright(person.object_pose[3:])


def attempt(person: Person) -> Script:
    """Draw the choices of an attempt and make it; ends when the cup is found not to be in the hand."""
    rng, ways = person.rng, (FIRM,) if person.habits.careful else WAYS
    adventure = 0.0 if person.habits.careful else 1.0
    way = choose(rng, ways)
    from_robot = bool(rng.random() < FROM_ROBOT_PROBABILITY * adventure)
    yaw = (FROM_ROBOT if from_robot else FROM_RIGHT) + rng.normal(0.0, YAW_SD * adventure)
    person.log.attempts.append(way.name + "+from the robot" * from_robot)

    def lost() -> bool:
        return person.lost(LOST_M)

    yield from side_wrap(person, way, yaw)
    yield from move(person, person.position + (0.0, 0.0, RAISE_M), until=lambda: person.near(0.02, np.inf, np.inf))
    yield from move(person, np.array(GOAL), until=lambda: person.arrived() or lost())
    if not lost():
        yield from hold(person, until=lost)


ROUTINE = Routine(grasp_cup, *TOOL)
