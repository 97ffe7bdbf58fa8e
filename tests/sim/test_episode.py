"""What is drawn for an episode."""

from __future__ import annotations

import numpy as np
import pytest

from score_rl.sim.domain import Domain, parse_domain
from score_rl.sim.episode import plan_episodes
from score_rl.sim.task import get_task

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
    plans = plan_episodes([3, 4], CUBE, NOISY, {}, num_joints=23)
    assert plans.joint_noise.shape == (2, 129, 23) and plans.pose_noise.shape == (2, 129, 6)
    # 5934 draws: the standard deviation is known to 1 %; 774 draws of the pose: 2.5 %.
    assert plans.joint_noise.std() == pytest.approx(0.001, rel=0.05)
    assert plans.pose_noise[..., :3].std() == pytest.approx(0.002, rel=0.1)
    assert plans.pose_noise[..., 3:].std() == pytest.approx(0.02, rel=0.1)


def test_the_object_starts_on_the_table() -> None:
    plans = plan_episodes([3, 4], CUBE, NOISY, {}, num_joints=23)
    assert plans.object_pose[:, 2] == pytest.approx(0.01 + 1.2 * 0.0225)


def test_a_seed_is_an_episode_whatever_is_drawn_beside_it() -> None:
    together, alone = plan_episodes([1, 2], CUBE, NOISY, {}, 23), plan_episodes([2], CUBE, NOISY, {}, 23)
    for name in ("object_pose", "joint_noise", "pose_noise"):
        drawn = getattr(together, name)
        assert np.array_equal(drawn[1], getattr(alone, name)[0])
        assert not np.array_equal(drawn[0], drawn[1])


def test_a_quiet_domain_has_the_same_poses_and_no_noise() -> None:
    quiet, noisy = (plan_episodes([5], CUBE, domain, {}, 23) for domain in (Domain("quiet"), NOISY))
    assert np.array_equal(quiet.object_pose[:, [0, 1, 3, 6]], noisy.object_pose[:, [0, 1, 3, 6]])
    assert not quiet.joint_noise.any() and not quiet.pose_noise.any()
