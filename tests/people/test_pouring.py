"""Pouring: the lip stays where it should be while the vessel turns about it; ways; when another attempt is made."""

from __future__ import annotations

import numpy as np
import pytest

from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.tasks.people.demonstrator import Demonstrator
from score_rl.tasks.people.habits import Habits, careful
from score_rl.tasks.people.person import EpisodeLog, Person
from score_rl.tasks.people.pouring import Pour, pour
from score_rl.tasks.pour_ball.demonstrator import ROUTINE, WAYS, inside, lip_of, ready

HOME = np.array(FRANKA_LEAP.home)
POSES = {
    "object_pose": np.array([0.54, -0.115, 0.075, 1.0, 0.0, 0.0, 0.0]),
    "ball_pose": np.array([0.54, -0.115, 0.024, 1.0, 0.0, 0.0, 0.0]),
    "large_cup_pose": np.array([0.55, 0.12, 0.045, 1.0, 0.0, 0.0, 0.0]),
}


def someone(position: list[float]) -> Person:
    place = np.array(position)
    return Person(careful(), np.random.default_rng(0), 0.1, EpisodeLog(), np.zeros(7), place, place, np.eye(3))


def test_the_vessel_turns_about_its_lip() -> None:
    """The hand follows at once. A lip 3 cm ahead of the tool, 6 cm over it; a vessel 15 cm deep."""
    person, in_tool, target = someone([0.5, -0.1, 0.2]), np.array([0.03, 0.0, 0.06]), np.array([0.6, 0.1, 0.09])
    towards, way = (
        np.array([1.0, 0.0, 0.0]),
        Pour(clear_m=0.04, short_m=0.05, arrive_rad=0.5, tilt_rad=2.0, rate_rad_s=1.0),
    )

    def lip() -> np.ndarray:
        return person.position + person.rotation @ in_tool

    tilts, lips = [], []
    script = pour(person, way, lip, 0.15, towards, lambda: target)
    for _ in script:
        person.age += 1
        person.position, person.rotation = person.goal_position.copy(), person.goal_rotation.copy()
        person.measured = person.position
        tilts.append(np.arctan2(person.rotation[0, 2], person.rotation[2, 2]))
        lips.append(lip() - target)
    tilts, lips = np.array(tilts), np.array(lips)
    assert np.diff(tilts)[2:] == pytest.approx(0.1)  # 1 rad/s, 10 Hz
    assert lips[:, 0] == pytest.approx(-0.05) and lips[:, 1] == pytest.approx(0.0)
    # Upright, the vessel's bottom clears the target by 4 cm; on its side and beyond, the lip does.
    assert lips[:, 2] == pytest.approx(0.04 + 0.15 * np.maximum(np.cos(tilts), 0.0), abs=1e-9)
    assert (
        tilts[0] == pytest.approx(0.5)
        and tilts[-1] == pytest.approx(1.9)
        and person.goal_rotation[0, 2] == pytest.approx(np.sin(2.0))
    )


def test_a_lip_that_slips_is_brought_back() -> None:
    person, slip = someone([0.5, -0.1, 0.2]), np.zeros(3)
    way = Pour(clear_m=0.04, short_m=0.05, arrive_rad=0.5, tilt_rad=2.0, rate_rad_s=0.5)
    lip = lambda: person.position + person.rotation @ (np.array([0.03, 0.0, 0.06]) + slip)  # noqa: E731
    for step, _ in enumerate(pour(person, way, lip, 0.15, np.array([1.0, 0.0, 0.0]), lambda: np.zeros(3))):
        person.position, person.rotation = person.goal_position.copy(), person.goal_rotation.copy()
        person.measured = person.position
        person.age += 1
        if step == 5:
            slip = np.array([0.0, 0.0, -0.02])
    # A fading average forgets 70 % a step: nothing is left of 2 cm after some 30 steps.
    assert lip()[0] == pytest.approx(-0.05, abs=1e-3) and lip()[2] == pytest.approx(0.04, abs=1e-3)


def test_the_lip_is_on_the_side_that_is_poured_to() -> None:
    towards = np.array([0.6, 0.8, 0.0])
    assert lip_of(POSES["object_pose"], towards) == pytest.approx([0.54 + 0.021, -0.115 + 0.028, 0.15])


def test_ways_are_drawn_by_their_shares() -> None:
    n = 400
    frame = {"state": np.tile(HOME, (n, 1)), "command": np.tile(HOME, (n, 1))}
    frame |= {key: np.tile(pose, (n, 1)) for key, pose in POSES.items()}
    hurried, steady = (Demonstrator(n, ROUTINE, habits) for habits in (Habits(), careful()))
    for person in (hurried, steady):
        person.reset(range(n), range(n), frame)
    first = [log.attempts[0] for log in hurried.log]
    for way in WAYS:
        assert np.mean([name == way.name for name in first]) == pytest.approx(way.share, abs=0.08)
    assert {log.attempts[0] for log in steady.log} == {WAYS[0].name}


@pytest.mark.parametrize(
    ("ball", "cup_holds_it", "in_large_cup"),
    [
        ([0.54, -0.115, 0.024], True, False),
        ([0.54, -0.115 + 0.034, 0.024], True, False),
        ([0.54, -0.115 + 0.036, 0.018], False, False),
        ([0.55, 0.12, 0.034], False, True),
        ([0.55 + 0.066, 0.12, 0.034], False, False),
    ],
)
def test_where_the_ball_is_decides_what_comes_next(ball: list[float], cup_holds_it: bool, in_large_cup: bool) -> None:
    person = someone([0.5, 0.0, 0.3])
    person.object_pose = POSES["object_pose"]
    person.others = {"ball": np.array([*ball, 1.0, 0.0, 0.0, 0.0]), "large_cup": POSES["large_cup_pose"]}
    assert ready(person) == cup_holds_it and inside(person) == in_large_cup
