"""Pour Ball: cups and ball, spawn ranges, success region and milestone at their edges; nothing leaks."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch
from task_states import at_rest

from score_rl.sim.state import SceneState
from score_rl.sim.task import get_task
from score_rl.sim.world import make_world

POUR = get_task("pour_ball")
PARAMETERS = {f"{name}.size_scale": np.array([1.0]) for name in ("small_cup", "ball", "large_cup")}
LARGE = np.array([0.55, 0.12, 0.045])
SMALL = np.array([0.54, -0.115, 0.075])


def states(ball: list[list[float]], small: list[list[float]] | None = None) -> SceneState:
    """Balls, relative to the middle of the large cup's underside; small cups where they began or elsewhere."""
    n = len(ball)
    underside = LARGE - (0, 0, 0.045)
    bodies = {"ball": underside + np.array(ball), "large_cup": np.tile(LARGE, (n, 1))}
    bodies["small_cup"] = np.tile(SMALL, (n, 1)) if small is None else np.array(small)
    begun = SceneState({"small_cup": at_rest(np.tile(SMALL, (n, 1)))})
    return SceneState({name: at_rest(place) for name, place in bodies.items()}, begun=begun)


def test_spawn_covers_the_papers_ranges() -> None:
    generator = np.random.default_rng(0)
    drawn = [POUR.spawn(generator, PARAMETERS) for _ in range(2000)]
    small, ball, large = (np.array([poses[name] for poses in drawn]) for name in ("small_cup", "ball", "large_cup"))
    assert small[:, :2].min(0) == pytest.approx([0.46, -0.155], abs=2e-3)
    assert small[:, :2].max(0) == pytest.approx([0.62, -0.075], abs=2e-3)
    assert large[:, :2].min(0) == pytest.approx([0.47, 0.04], abs=2e-3)
    assert large[:, :2].max(0) == pytest.approx([0.63, 0.20], abs=2e-3)
    assert (small[:, 2] == 0.075).all() and (large[:, 2] == 0.045).all()
    # The ball lies on the small cup's floor of 6 mm, on its axis.
    assert (ball[:, :2] == small[:, :2]).all() and ball[:, 2] == pytest.approx(0.024)
    # The cups never touch: 35 and 65 mm of radius.
    assert np.linalg.norm(small[:, :2] - large[:, :2], axis=1).min() > 0.100


def test_sizes_are_each_objects_own() -> None:
    scales = {"small_cup.size_scale": 1.1, "ball.size_scale": 1.2, "large_cup.size_scale": 0.8}
    poses = POUR.spawn(np.random.default_rng(0), {name: np.array([scale]) for name, scale in scales.items()})
    heights = {name: pose[2] for name, pose in poses.items()}
    assert heights == pytest.approx({"small_cup": 0.0825, "ball": 0.0066 + 0.0216, "large_cup": 0.036})


def test_sizes_and_masses() -> None:
    spec = mujoco.MjSpec()
    POUR.add_objects(spec)
    model = spec.compile()
    masses = {name: model.body(name).mass[0] for name in ("small_cup", "ball", "large_cup")}
    assert masses == pytest.approx({"small_cup": 0.120, "ball": 0.020, "large_cup": 0.300})
    assert model.geom("ball").size[0] == pytest.approx(0.018)
    assert model.geom("small_cup_floor").size[0] == pytest.approx(0.035)
    assert model.geom("large_cup_floor").size[0] == pytest.approx(0.065)


def test_success_is_a_ball_in_the_large_cup() -> None:
    inside = [[0, 0, 0.048], [0.049, 0, 0.048], [0, -0.049, 0.048], [0, 0, 0.001], [0, 0, 0.119]]
    outside = [[0.051, 0, 0.048], [0.036, 0.036, 0.048], [0, 0, -0.001], [0, 0, 0.121], [-0.01, -0.235, 0.024]]
    assert POUR.success(states(inside + outside)).tolist() == [True] * 5 + [False] * 5


def test_the_small_cup_lifted_is_the_only_milestone() -> None:
    rises = [0.0, 0.039, 0.041, 0.3]
    reached = states([[0, 0, 0]] * 4, [[*SMALL[:2], SMALL[2] + rise] for rise in rises])
    assert POUR.success_reward == 10.0 and POUR.horizon == 128
    assert {name: amount for name, (amount, _) in POUR.milestones.items()} == {"lifted": 1.0}
    assert POUR.milestones["lifted"][1](reached).tolist() == [False, False, True, True]


def test_what_nobody_touches_stays_where_it_is() -> None:
    world = make_world("pour_ball", "proxy", num_envs=1)
    world.reset([0])
    for _ in range(100):
        world.step(torch.tensor(world.robot.home)[None])
    for name in ("small_cup", "ball", "large_cup"):
        now, begun = world.state.body(name), world.state.start.body(name)
        assert np.linalg.norm(now.position - begun.position, axis=1).max() < 1e-3, name
    assert not POUR.success(world.state).any()
    world.close()


@pytest.mark.parametrize("domain", ["twin", "proxy", "proxy_physx"])
def test_a_ball_that_falls_into_the_large_cup_stays_in_it(domain: str) -> None:
    """Dropped from 0.20 m: in the middle, at the wall, and across the cup at 0.4 m/s."""
    if domain == "proxy_physx":
        pytest.importorskip("sapien")
    world = make_world("pour_ball", domain, num_envs=3)
    world.reset(range(3))
    joint = world.model.joint("ball")
    place, speed = int(joint.qposadr[0]), int(joint.dofadr[0])
    above = world.state.body("large_cup").position + np.array([[0, 0, 0.155], [0.03, 0, 0.155], [-0.03, 0, 0.155]])
    world.engine.qpos[:, place : place + 3] = above
    world.engine.qvel[2, speed] = 0.4
    ended, lowest = np.zeros(3, bool), np.full(3, np.inf)
    for _ in range(30):
        terminated = world.step(torch.tensor(world.robot.home).expand(3, -1)).terminated.numpy()
        ended |= terminated
        over = world.state.body("ball").position[:, 2] - world.state.body("large_cup").position[:, 2] + 0.045
        lowest = np.where(ended, lowest, np.minimum(lowest, over))
        if ended.all():
            break
    assert ended.all()  # success was held
    assert (lowest > 0.015).all()  # a fast ball sinks into the floor of 30 mm for a moment, but not through it
    world.close()
