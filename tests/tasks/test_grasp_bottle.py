"""Grasp Bottle: spawn range, success region and milestones at their edges."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from task_states import state

from score_rl.sim.task import get_task
from score_rl.tasks.grasp_bottle.task import BOTTLE_RADIUS_M

BOTTLE = get_task("grasp_bottle")
START = (0.5, 0.0, BOTTLE_RADIUS_M)
PARAMETERS = {"bottle.size_scale": np.array([1.0])}


def test_spawn_covers_the_papers_range() -> None:
    generator = np.random.default_rng(0)
    poses = np.array([BOTTLE.spawn(generator, PARAMETERS)["bottle"] for _ in range(2000)])
    assert poses[:, :2].min(0) == pytest.approx([0.30, -0.30], abs=2e-3)
    assert poses[:, :2].max(0) == pytest.approx([0.70, 0.30], abs=2e-3)
    assert (poses[:, 2] == BOTTLE_RADIUS_M).all()


def test_the_bottle_lies_along_x_with_its_neck_either_way() -> None:
    generator, axis = np.random.default_rng(1), np.zeros(3)
    necks = []
    for _ in range(400):
        quat = BOTTLE.spawn(generator, PARAMETERS)["bottle"][3:]
        mujoco.mju_rotVecQuat(axis, np.array([0.0, 0.0, 1.0]), quat)
        assert np.abs(axis) == pytest.approx([1, 0, 0], abs=1e-9)
        necks.append(axis[0] > 0)
    assert np.mean(necks) == pytest.approx(0.5, abs=0.08)


def test_a_thicker_bottle_is_put_higher() -> None:
    pose = BOTTLE.spawn(np.random.default_rng(0), {"bottle.size_scale": np.array([1.25])})["bottle"]
    assert pose[2] == pytest.approx(0.040)


def test_the_bottle_has_the_tasks_size_and_mass() -> None:
    spec = mujoco.MjSpec()
    BOTTLE.add_objects(spec)
    model = spec.compile()
    radius, half, _ = model.geom("bottle").size
    assert radius == pytest.approx(0.032) and 2 * (half + radius) == pytest.approx(0.200)
    assert model.body("bottle").mass == pytest.approx(0.200)


def test_success_within_15_cm_of_the_goal() -> None:
    inside = [[0.60, 0.10, 0.40], [0.60, 0.10 + 0.149, 0.40], [0.60, 0.10, 0.251], [0.60, 0.10, 0.549]]
    outside = [[0.60, 0.10 + 0.151, 0.40], [0.60, 0.10, 0.249], [0.60, 0.21, 0.29], list(START)]
    assert BOTTLE.success(state("bottle", inside + outside, START)).tolist() == [True] * 4 + [False] * 4


def test_milestones_count_from_where_the_bottle_lay() -> None:
    rises = [0.0, 0.119, 0.121, 0.199, 0.201, 0.499, 0.501]
    reached = state("bottle", [[0.3, 0.1, 0.04 + rise] for rise in rises], (0.5, 0.0, 0.04))
    amounts = {name: amount for name, (amount, _) in BOTTLE.milestones.items()}
    assert amounts == {"lifted": 1.0, "raised": 5.0} and BOTTLE.success_reward == 10.0
    conditions = {name: condition(reached).tolist() for name, (_, condition) in BOTTLE.milestones.items()}
    assert conditions["lifted"] == [False, False, True, True, True, True, True]
    assert conditions["raised"] == [False, False, False, False, True, True, False]
    assert BOTTLE.horizon == 128
