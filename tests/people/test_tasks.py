"""Every task's demonstrator: good when it is careful, in more than one way when it is not."""

from __future__ import annotations

import numpy as np
import pytest

from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.task import get_task, task_names
from score_rl.sim.world import make_world
from score_rl.tasks.grasp_bottle.demonstrator import GRASPS, across, bottle_axis
from score_rl.tasks.people.collect import demonstrate, get_routine
from score_rl.tasks.people.demonstrator import Demonstrator
from score_rl.tasks.people.habits import Habits, careful
from score_rl.tasks.people.settings import routine_names
from score_rl.tasks.pick_card.demonstrator import WAYS as DRAWS
from score_rl.tasks.place_dishrack.demonstrator import WAYS as GRIPS
from score_rl.tasks.push_ball.demonstrator import GOAL, WAYS, in_goal
from score_rl.tasks.screw_lightbulb.demonstrator import WAYS as TWISTS

HOME = np.array(FRANKA_LEAP.home)
HALF = np.sqrt(0.5)


def test_every_task_has_one() -> None:
    assert routine_names() == task_names()


@pytest.mark.parametrize("task", routine_names())
def test_the_careful_person_succeeds_in_the_twin(task: str) -> None:
    world = make_world(task, "twin", num_envs=6)
    done = demonstrate(world, careful(), range(6))
    world.close()
    assert sum(demonstration.extra["success"] for demonstration in done) >= 5
    assert all(len(demonstration.frames["action"]) <= world.spec.time_limit for demonstration in done)


@pytest.mark.slow
def test_what_the_person_does_after_the_end_is_not_recorded() -> None:
    """Rows of a batch end at different times; the others' going on must not add attempts to those that ended."""

    def recorded(seeds: range) -> list[dict]:
        world = make_world("pinch_cube", "twin", num_envs=len(seeds))
        done = demonstrate(world, Habits(), seeds)
        world.close()
        return [demonstration.extra for demonstration in done]

    assert recorded(range(8)) == [extra for seed in range(8) for extra in recorded(range(seed, seed + 1))]


@pytest.mark.parametrize(
    ("task", "ways"),
    [
        ("grasp_bottle", GRASPS),
        ("push_ball", WAYS),
        ("screw_lightbulb", TWISTS),
        ("place_dishrack", GRIPS),
        ("pick_card", DRAWS),
    ],
)
def test_ways_are_drawn_by_their_shares(task: str, ways: tuple) -> None:
    spawned = get_task(task).spawn(np.random.default_rng(0), get_task(task).parameters.nominal())
    n = 400
    seen = {"state": HOME, "command": HOME}
    seen |= {key: np.r_[spawned[item.name], 1, 0, 0, 0][:7] for key, item in get_task(task).observed.items()}
    frame = {key: np.tile(value, (n, 1)) for key, value in seen.items()}
    hurried, steady = (Demonstrator(n, get_routine(task), habits) for habits in (Habits(), careful()))
    for person in (hurried, steady):
        person.reset(range(n), range(n), frame)
    first = [log.attempts[0] for log in hurried.log]
    for way in ways:
        assert np.mean([name == way.name for name in first]) == pytest.approx(way.share, abs=0.08)
    assert {log.attempts[0] for log in steady.log} == {ways[0].name}


@pytest.mark.parametrize(
    ("quaternion", "axis"),
    [
        ((HALF, 0, HALF, 0), (1, 0)),
        ((0, -HALF, 0, HALF), (-1, 0)),
        ((HALF, -HALF, 0, 0), (0, 1)),
        ((1, 0, 0, 0), (1, 0)),
    ],
)
def test_the_bottles_axis_is_level(quaternion: tuple[float, ...], axis: tuple[float, float]) -> None:
    assert bottle_axis(np.array(quaternion)) == pytest.approx([*axis, 0.0], abs=1e-9)


@pytest.mark.parametrize("axis_deg", [0, 180, 30, -30, 100, 210])
def test_the_pinch_is_across_the_bottle_and_near_at_hand(axis_deg: float) -> None:
    angle, near = np.radians(axis_deg), np.radians(90)
    yaw = across(np.array([np.cos(angle), np.sin(angle), 0.0]), near)
    assert np.cos(yaw - angle) == pytest.approx(0, abs=1e-9)
    assert abs(yaw - near) <= np.pi / 2 + 1e-9


def test_a_ball_in_the_goal_is_seen_as_such_only_there() -> None:
    x, y = GOAL
    assert in_goal(np.array([x + 0.059, y - 0.024, 0.035]))
    assert not in_goal(np.array([x + 0.061, y, 0.035])) and not in_goal(np.array([x, y + 0.026, 0.035]))
