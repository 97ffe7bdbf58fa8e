"""What is drawn for an episode."""

from __future__ import annotations

import numpy as np
import pytest

from score_rl.tasks import get_task
from score_rl.worlds.domain import Domain, parse_domain
from score_rl.worlds.episode import plan_episode

CUBE = get_task("pinch_cube")
NOISY = parse_domain(
    {
        name: {"episode": {"distribution": "constant", "value": value}}
        for name, value in {
            "object_position_jitter_m": 0.002,
            "object_rotation_jitter_rad": 0.02,
            "joint_jitter_rad": 0.001,
            "table_height_m": 0.01,
            "object_size_scale": 1.2,
        }.items()
    }
)


def test_sizes_of_the_noise() -> None:
    plan = plan_episode(3, CUBE, NOISY, {}, num_joints=23)
    assert plan.joint_noise.shape == (129, 23) and plan.pose_noise.shape == (129, 6)
    # 2967 draws: the standard deviation is known to 1.3 %; 387 draws of the pose: 3.6 %.
    assert plan.joint_noise.std() == pytest.approx(0.001, rel=0.05)
    assert plan.pose_noise[:, :3].std() == pytest.approx(0.002, rel=0.15)
    assert plan.pose_noise[:, 3:].std() == pytest.approx(0.02, rel=0.15)


def test_the_object_starts_on_the_table() -> None:
    plan = plan_episode(3, CUBE, NOISY, {}, num_joints=23)
    assert plan.object_pose[2] == pytest.approx(0.01 + 1.2 * 0.0225)


def test_a_seed_is_an_episode() -> None:
    first, again, other = (plan_episode(seed, CUBE, NOISY, {}, 23) for seed in (1, 1, 2))
    for name in ("object_pose", "joint_noise", "pose_noise"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))


def test_a_quiet_domain_has_the_same_poses_and_no_noise() -> None:
    quiet, noisy = (plan_episode(5, CUBE, domain, {}, 23) for domain in (Domain("quiet"), NOISY))
    assert np.array_equal(quiet.object_pose[[0, 1, 3, 6]], noisy.object_pose[[0, 1, 3, 6]])
    assert not quiet.joint_noise.any() and not quiet.pose_noise.any()
