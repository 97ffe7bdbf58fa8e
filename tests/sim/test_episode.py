"""What is drawn for an episode."""

from __future__ import annotations

import numpy as np
import pytest

from score_rl.sim.domain import Domain, parse_domain
from score_rl.sim.draws import Draws
from score_rl.sim.episode import plan_episodes
from score_rl.sim.task import get_task

CUBE = get_task("pinch_cube")
NOISY = parse_domain(
    {
        name: {"episode": {"distribution": "constant", "value": value}}
        for name, value in {
            "camera.position_jitter_m": 0.002,
            "camera.rotation_jitter_rad": 0.02,
            "robot.joint_jitter_rad": 0.001,
            "table.height_m": 0.01,
            "object.size_scale": 1.2,
        }.items()
    }
)


def draws(domain: Domain) -> Draws:
    return Draws(domain, CUBE.parameters)


def test_sizes_of_the_noise() -> None:
    plans = plan_episodes([3, 4], CUBE, draws(NOISY), {}, num_joints=23)
    assert plans.joint_noise.shape == (2, 129, 23) and plans.pose_noise["object_pose"].shape == (2, 129, 6)
    # 5934 draws: the standard deviation is known to 1 %; 774 draws of the pose: 2.5 %.
    assert plans.joint_noise.std() == pytest.approx(0.001, rel=0.05)
    assert plans.pose_noise["object_pose"][..., :3].std() == pytest.approx(0.002, rel=0.1)
    assert plans.pose_noise["object_pose"][..., 3:].std() == pytest.approx(0.02, rel=0.1)


def test_the_object_starts_on_the_table() -> None:
    plans = plan_episodes([3, 4], CUBE, draws(NOISY), {}, num_joints=23)
    assert plans.spawned["cube"][:, 2] == pytest.approx(0.01 + 1.2 * 0.0225)


def test_a_seed_is_an_episode_whatever_is_drawn_beside_it() -> None:
    together, alone = (plan_episodes(seeds, CUBE, draws(NOISY), {}, 23) for seeds in ([1, 2], [2]))
    for both, one in (
        (together.spawned["cube"], alone.spawned["cube"]),
        (together.joint_noise, alone.joint_noise),
        (together.pose_noise["object_pose"], alone.pose_noise["object_pose"]),
    ):
        assert np.array_equal(both[1], one[0])
        assert not np.array_equal(both[0], both[1])


def test_a_quiet_domain_has_the_same_poses_and_no_noise() -> None:
    quiet, noisy = (plan_episodes([5], CUBE, draws(domain), {}, 23) for domain in (Domain("quiet"), NOISY))
    assert np.array_equal(quiet.spawned["cube"][:, [0, 1, 3, 6]], noisy.spawned["cube"][:, [0, 1, 3, 6]])
    assert not quiet.joint_noise.any() and not quiet.pose_noise["object_pose"].any()
