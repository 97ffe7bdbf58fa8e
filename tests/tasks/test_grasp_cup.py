"""Grasp Cup: the cup, its spawn range, success region and milestones at their edges."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch
from task_states import state

from score_rl.sim.task import get_task
from score_rl.sim.world import make_world

CUP = get_task("grasp_cup")
START = (0.525, 0.10, 0.075)
PARAMETERS = {"cup.size_scale": np.array([1.0])}


def test_spawn_covers_the_papers_range() -> None:
    generator = np.random.default_rng(0)
    poses = np.array([CUP.spawn(generator, PARAMETERS)["cup"] for _ in range(2000)])
    assert poses[:, :2].min(0) == pytest.approx([0.45, 0.0], abs=2e-3)
    assert poses[:, :2].max(0) == pytest.approx([0.70, 0.20], abs=2e-3)
    assert (poses[:, 2:] == [0.075, 1, 0, 0, 0]).all()


def test_a_larger_cup_is_put_higher() -> None:
    pose = CUP.spawn(np.random.default_rng(0), {"cup.size_scale": np.array([1.2])})["cup"]
    assert pose[2] == pytest.approx(0.090)


def test_the_cup_has_the_tasks_size_and_mass() -> None:
    spec = mujoco.MjSpec()
    CUP.add_objects(spec)
    model = spec.compile()
    body, floor, side = model.body("cup"), model.geom("cup_floor"), model.geom("cup_side_0")
    assert body.mass == pytest.approx(0.150)
    assert floor.pos[2] - floor.size[1] == pytest.approx(-0.075)
    assert side.pos[2] + side.size[2] == pytest.approx(0.075)
    assert side.pos[0] + side.size[0] == floor.size[0] == pytest.approx(0.040)
    # Only the floor stands on the table, and the ring is closed: neighbours meet at the outer corners.
    assert side.pos[2] - side.size[2] == pytest.approx(-0.074)
    assert np.arctan2(side.size[1], 0.040) == pytest.approx(np.pi / 10)


def test_success_within_15_cm_of_the_goal() -> None:
    inside = [[0.55, 0.10, 0.35], [0.55 + 0.149, 0.10, 0.35], [0.55, 0.10, 0.201], [0.55, 0.10, 0.499]]
    outside = [[0.55 + 0.151, 0.10, 0.35], [0.55, 0.10, 0.199], [0.55, 0.21, 0.24], list(START)]
    assert CUP.success(state("cup", inside + outside, START)).tolist() == [True] * 4 + [False] * 4


def test_milestones_count_from_where_the_cup_stood() -> None:
    rises = [0.0, 0.119, 0.121, 0.199, 0.201, 0.499, 0.501]
    reached = state("cup", [[0.5, 0.1, 0.08 + rise] for rise in rises], (0.525, 0.10, 0.08))
    amounts = {name: amount for name, (amount, _) in CUP.milestones.items()}
    assert amounts == {"lifted": 1.0, "raised": 5.0} and CUP.success_reward == 10.0
    conditions = {name: condition(reached).tolist() for name, (_, condition) in CUP.milestones.items()}
    assert conditions["lifted"] == [False, False, True, True, True, True, True]
    assert conditions["raised"] == [False, False, False, False, True, True, False]
    assert CUP.horizon == 128


def test_a_cup_that_nobody_touches_stands_still() -> None:
    world = make_world("grasp_cup", "proxy", num_envs=1)
    world.reset([0])
    for _ in range(100):
        result = world.step(torch.tensor(world.robot.home)[None])
        cup, begun = world.state.body("cup"), world.state.start.body("cup")
        assert np.abs(cup.position - begun.position).max() < 1e-3
        assert cup.quaternion[0, 0] > 0.999
    assert not result.success.any()
    world.close()
