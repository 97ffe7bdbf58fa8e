"""Push Soccer Ball: spawn range, the goal and its region at their edges, the one reward."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from task_states import state

from score_rl.sim.task import get_task
from score_rl.sim.world import make_world
from score_rl.tasks.push_ball.task import BALL_RADIUS_M

BALL = get_task("push_ball")
START = (0.53, -0.125, BALL_RADIUS_M)
PARAMETERS = {"ball.size_scale": np.array([1.0])}


def test_spawn_covers_the_papers_range() -> None:
    generator = np.random.default_rng(0)
    poses = np.array([BALL.spawn(generator, PARAMETERS)["ball"] for _ in range(2000)])
    assert poses[:, :2].min(0) == pytest.approx([0.38, -0.275], abs=2e-3)
    assert poses[:, :2].max(0) == pytest.approx([0.68, -0.025], abs=2e-3)
    assert (poses[:, 2] == 0.035).all()
    assert (poses[:, 3:] == [1, 0, 0, 0]).all()


def test_a_larger_ball_is_put_higher() -> None:
    pose = BALL.spawn(np.random.default_rng(0), {"ball.size_scale": np.array([1.2])})["ball"]
    assert pose[2] == pytest.approx(0.042)


def test_success_inside_the_goal_box() -> None:
    x, y, z = 0.53, 0.15, 0.035
    inside = [[x, y, z], [x - 0.069, y, z], [x + 0.069, y, z], [x, y - 0.029, z], [x, y + 0.029, z]]
    inside += [[x, y, 0.011], [x, y, 0.079]]
    outside = [[x - 0.071, y, z], [x + 0.071, y, z], [x, y - 0.031, z], [x, y + 0.031, z]]
    outside += [[x, y, 0.009], [x, y, 0.081], list(START)]
    assert BALL.success(state("ball", inside + outside, START)).tolist() == [True] * 7 + [False] * 7


def test_the_only_reward_is_success() -> None:
    assert BALL.success_reward == 10.0 and not BALL.milestones and BALL.horizon == 160


def test_a_ball_that_touches_a_side_of_the_goal_is_inside() -> None:
    spec = mujoco.MjSpec()
    BALL.add_objects(spec)
    model = spec.compile()
    touching = []
    for name, outward in (("goal_back", (0, 1)), ("goal_near", (-1, 0)), ("goal_far", (1, 0))):
        geom = model.geom(name)
        axis = int(np.argmax(np.abs(outward)))
        centre = [0.53, 0.15, 0.035]
        centre[axis] = geom.pos[axis] - outward[axis] * (geom.size[axis] + BALL_RADIUS_M)
        touching.append(centre)
        assert geom.pos[2] - geom.size[2] == pytest.approx(0)  # it stands on the table
        assert 2 * geom.size[2] < 2 * BALL_RADIUS_M  # and is low
    assert BALL.success(state("ball", touching, START)).all()


def test_the_goal_stops_a_ball_that_rolls_in() -> None:
    """Rolled by hand at 0.5 m/s, the ball hits the back and stays inside."""
    world = make_world("push_ball", "twin", num_envs=1)
    world.reset([0])
    batch = world.engine.batch
    qpos, qvel = batch.bind("qpos"), batch.bind("qvel")
    address = world.model.joint("ball").qposadr[0], world.model.joint("ball").dofadr[0]
    qpos[0, address[0] : address[0] + 3] = (0.55, 0.0, 0.035)
    qvel[0, address[1] : address[1] + 6] = (0, 0.5, 0, -0.5 / 0.035, 0, 0)
    batch.step(nstep=240)
    assert BALL.success(state("ball", [qpos[0, address[0] : address[0] + 3].tolist()], START))[0]
    world.close()


def test_the_orientation_of_a_ball_is_not_seen() -> None:
    world = make_world("push_ball", "proxy", num_envs=3)
    pose = world.reset([0, 1, 2]).actor["object_pose"].numpy()
    assert (pose[:, 3:] == [1, 0, 0, 0]).all() and len(np.unique(pose[:, 0])) == 3
    world.close()
