"""Taking a cup by its side: where the hand goes, how it closes, and when another attempt makes sense."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.robots.franka_leap.wrap import CLOSED, OPEN, wrapped
from score_rl.tasks.grasp_cup.demonstrator import FIRM, PASSING, ROUTINE, stands
from score_rl.tasks.people.demonstrator import Demonstrator
from score_rl.tasks.people.habits import Habits, careful
from score_rl.tasks.people.side_wrap import side_wrap, upright

HOME = np.array(FRANKA_LEAP.home)
CUP = np.array([0.55, 0.10, 0.075, 1.0, 0.0, 0.0, 0.0])


def frame(n: int) -> dict[str, np.ndarray]:
    return {"state": np.tile(HOME, (n, 1)), "command": np.tile(HOME, (n, 1)), "object_pose": np.tile(CUP, (n, 1))}


def test_the_hand_closes_from_open_over_touching_to_pressing() -> None:
    assert wrapped(0.0, 0.2) == pytest.approx(OPEN) and wrapped(1.0, 0.2) == pytest.approx(CLOSED)
    assert wrapped(0.5, 0.2) == pytest.approx((OPEN + CLOSED) / 2)
    pressing = wrapped(2.0, 0.2) - CLOSED
    # Every flexing joint by 0.2 rad; the spread of the fingers and the thumb's axle stay.
    assert pressing == pytest.approx([0.2, 0.0, 0.2, 0.2] * 4)


def test_the_palm_comes_down_beside_the_cup_and_looks_at_it() -> None:
    """As if the robot followed at once: after 40 steps the careful person's wrap frame is on the cup's axis."""
    person = Demonstrator(1, ROUTINE, careful())
    seen = frame(1)
    person.reset([0], [3], seen)
    beside = []
    for _ in range(40):
        recorded, _ = person.act(seen)
        seen = seen | {"state": recorded, "command": recorded}
        one = person._people[0]
        beside.append(np.linalg.norm(one.position[:2] - CUP[:2]) if one.position[2] < 0.16 else np.inf)
        if one.still:
            break
    assert one.still and one.position == pytest.approx([0.55, 0.10, FIRM.height_m], abs=0.012)
    assert min(beside[: next(k for k, far in enumerate(beside) if far < np.inf) + 1]) > 0.08
    # The palm looks to the robot's left and back, the thumb is above the fingers.
    assert one.rotation[:, 0] == pytest.approx([np.cos(np.radians(125)), np.sin(np.radians(125)), 0], abs=0.05)
    assert one.rotation[2, 2] > 0.9


def test_ways_are_drawn_by_their_shares() -> None:
    n = 400
    hurried, steady = (Demonstrator(n, ROUTINE, habits) for habits in (Habits(), careful()))
    for person in (hurried, steady):
        person.reset(range(n), range(n), frame(n))
    first = [log.attempts[0].split("+") for log in hurried.log]
    drawn = Counter(name for name, *_ in first)
    for way in (FIRM, PASSING):
        assert drawn[way.name] / n == pytest.approx(way.share, abs=0.08)
    assert np.mean([len(names) > 1 for names in first]) == pytest.approx(0.2, abs=0.08)
    assert {log.attempts[0] for log in steady.log} == {"firm"}


@pytest.mark.parametrize("arch", [0.0, 0.5])
def test_the_hand_flies_the_higher_the_further_it_has_to_go(arch: float) -> None:
    """It is to come down 115 mm from the cup, behind it as seen from the palm, 150 mm over the grasp."""
    one = Demonstrator(1, ROUTINE, careful())._people[0]
    one.object_pose, one.position = CUP, np.array([0.55 - 0.115, 0.40, 0.3])
    next(side_wrap(one, replace(FIRM, aim_sd_m=0.0, arch=arch), yaw=0.0))
    assert one.goal_position == pytest.approx([0.55 - 0.115, 0.10, 0.104 + 0.15 + arch * 0.30])


@pytest.mark.parametrize(("tilt_deg", "up"), [(0, True), (25, True), (27, False), (90, False), (180, False)])
def test_a_cup_that_fell_over_is_left_lying(tilt_deg: float, up: bool) -> None:
    half = np.radians(tilt_deg) / 2
    fallen = np.array([np.cos(half), np.sin(half) * 0.6, np.sin(half) * 0.8, 0.0])
    assert upright(fallen) == up
    person = Demonstrator(1, ROUTINE)._people[0]
    person.object_pose = np.r_[CUP[:3], fallen]
    assert stands(person) == up
