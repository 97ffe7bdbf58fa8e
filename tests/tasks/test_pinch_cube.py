"""Pinch Cube: spawn range, success region and milestones at their edges."""

from __future__ import annotations

import numpy as np
import pytest
from task_states import state

from score_rl.core.errors import ScoreError
from score_rl.sim.task import get_task, task_names

CUBE = get_task("pinch_cube")
START = (0.5, 0.0, 0.0225)
PARAMETERS = {"cube.size_scale": np.array([1.0])}


def test_spawn_covers_the_papers_range() -> None:
    generator = np.random.default_rng(0)
    poses = np.array([CUBE.spawn(generator, PARAMETERS)["cube"] for _ in range(2000)])
    assert poses[:, :2].min(0) == pytest.approx([0.30, -0.20], abs=2e-3)
    assert poses[:, :2].max(0) == pytest.approx([0.70, 0.20], abs=2e-3)
    assert (poses[:, 2] == 0.0225).all()
    yaw = 2 * np.arctan2(poses[:, 6], poses[:, 3])
    assert np.abs(yaw).max() == pytest.approx(np.pi / 4, abs=0.01)
    assert np.linalg.norm(poses[:, 3:], axis=1) == pytest.approx(1)


def test_a_larger_cube_is_put_higher() -> None:
    pose = CUBE.spawn(np.random.default_rng(0), {"cube.size_scale": np.array([1.2])})["cube"]
    assert pose[2] == pytest.approx(0.027)


def test_success_within_15_cm_of_the_goal() -> None:
    inside = [[0.55, 0, 0.35], [0.55 + 0.149, 0, 0.35], [0.55, 0, 0.201]]
    outside = [[0.55 + 0.151, 0, 0.35], [0.55, 0.11, 0.24], [0.5, 0, 0.0225]]
    assert CUBE.success(state("cube", inside + outside, START)).tolist() == [True] * 3 + [False] * 3


def test_milestones_count_from_where_the_cube_lay() -> None:
    rises = [0.0, 0.119, 0.121, 0.199, 0.201, 0.499, 0.501]
    reached = state("cube", [[0.3, 0.1, 0.04 + rise] for rise in rises], (0.5, 0.0, 0.04))
    amounts = {name: amount for name, (amount, _) in CUBE.milestones.items()}
    assert amounts == {"lifted": 1.0, "raised": 5.0} and CUBE.success_reward == 10.0
    conditions = {name: condition(reached).tolist() for name, (_, condition) in CUBE.milestones.items()}
    assert conditions["lifted"] == [False, False, True, True, True, True, True]
    assert conditions["raised"] == [False, False, False, False, True, True, False]


def test_every_reward_is_positive() -> None:
    for task in map(get_task, task_names()):
        assert task.success_reward > 0 and all(amount > 0 for amount, _ in task.milestones.values())


def test_unknown_task() -> None:
    with pytest.raises(ScoreError, match=r"unknown task 'pinch'; did you mean 'pinch_cube'\?"):
        get_task("pinch")
