"""The replay is the world without contacts, and takes only frames without contact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recordings import record

from score_rl.core.errors import ScoreError
from score_rl.data.dataset import Dataset
from score_rl.real2sim.calibrate import centre
from score_rl.real2sim.replay import Replay, Segments, contact_free, require_features
from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.domain import Distribution, load_domain
from score_rl.sim.task import get_task


def test_replay_reproduces_the_world() -> None:
    twin = load_domain("twin")
    errors = {
        "hand.backlash_rad": 0.03,
        "robot.lag_s": 0.02,
        "robot.delay_s": 0.025,
        "hand.gain_scale": 0.9,
        "hand.joint_bias_rad": 0.05,
    }
    domain = replace(
        twin,
        robot={name: Distribution("constant", ((value,),)) for name, value in errors.items()},
        episode={"robot.joint_jitter_rad": Distribution("constant", ((0.0,),))},
    )
    dataset = record(domain, 0, episodes=3, steps=12)
    segments = contact_free(dataset, 0.07, 0.04, 5, 100)
    task = get_task("pinch_cube")
    replay = Replay(task, domain, segments, 2, 1)
    nominal, path = replay.run([centre(twin, task.parameters), centre(domain, task.parameters)])
    offset = np.concatenate([np.zeros(7), np.full(16, 0.05)])
    np.testing.assert_allclose((path - offset)[segments.valid], segments.measured[segments.valid], atol=1e-5)
    assert np.abs(nominal - path).max() > 0.02


def hand_made(distances: list[float], heights: list[float]) -> Dataset:
    """One episode; fingertips at given distances from the object, at given heights."""
    frames = len(distances)
    tips = np.zeros((frames, 4, 3))
    tips[..., 2] = np.array(heights)[:, None]
    pose = np.zeros((frames, 7))
    pose[:, 0], pose[:, 2], pose[:, 3] = distances, heights, 1
    ramp = np.arange(frames)[:, None] * np.ones(23)
    columns = {
        "observation.state": 100 + ramp,
        "observation.command": ramp,
        "observation.object_pose": pose,
        "observation.palm_pose": np.tile([0, 0, 9.0, 1, 0, 0, 0], (frames, 1)),
        "observation.fingertip_pos": tips.reshape(frames, 12),
    }
    ends = np.array([frames])
    return Dataset(Path("x"), 10.0, "", columns, dict.fromkeys(columns), np.array([0]), ends, ("t",), {})


def test_cut_where_the_hand_comes_near_the_object() -> None:
    segments = contact_free(hand_made([0.3, 0.2, 0.1, 0.06, 0.2], [0.5] * 5), 0.07, 0.04, 2, 100)
    assert segments.valid.tolist() == [[True, True, True]]
    assert segments.measured[0, :, 0].tolist() == [100, 101, 102]
    assert segments.start[0, 0] == 0
    assert segments.sent[0, :, 0].tolist() == [1, 2]  # what was sent at frame k is the command of frame k + 1


def test_cut_where_the_hand_comes_near_the_table() -> None:
    segments = contact_free(hand_made([0.3] * 5, [0.5, 0.3, 0.1, 0.03, 0.5]), 0.07, 0.04, 2, 100)
    assert segments.valid.sum() == 3


def without_poses(reach: list[float], *seen: float) -> Dataset:
    """One episode; fingertips come along x to the points of the first segment, 0.02 m about (0, 0, 0.5). The last one
    is the hand, whose points are at its tips; further objects lie between, 1 m away."""
    made = hand_made(reach, [0.5] * len(reach))
    tips = made.columns["observation.fingertip_pos"].reshape(-1, 4, 3)
    tips[..., 0] = np.array(reach)[:, None]
    cloud = np.full((len(reach), 2 * len(seen), 3), 9.0)  # where everything is later does not count
    first = cloud[0].reshape(len(seen), 2, 3)
    first[:], first[0], first[-1] = [0, 1, 0.5], [[0.02, 0, 0.5], [-0.02, 0, 0.5]], tips[0, :2]
    columns = {**made.columns, "observation.cloud": cloud, "observation.cloud_seen": np.tile(seen, (len(reach), 1))}
    del columns["observation.object_pose"]
    return replace(made, columns=columns)


@pytest.mark.parametrize("seen", [(1, 1), (1, 0, 1)])
def test_without_poses_the_points_of_the_first_frame_say_where_objects_are(seen: tuple[float, ...]) -> None:
    # The nearest point is at x = 0.02: 0.08 and 0.072 are free, 0.068 is near; the hand's own points are no object's.
    dataset = without_poses([0.3, 0.1, 0.092, 0.088, 0.3], *seen)
    segments = contact_free(dataset, 0.07, 0.04, 2, 100, len(seen) - 1)
    assert segments.valid.tolist() == [[True, True, True]]


def test_where_no_object_is_seen_at_first_nothing_is_known_to_be_free() -> None:
    with pytest.raises(ScoreError, match="none of 1 episodes begins with 2 frames in which the hand is free"):
        contact_free(without_poses([0.3] * 5, 0, 1), 0.07, 0.04, 2, 100)


def test_the_palm_keeps_twice_the_distance_of_points() -> None:
    dataset = without_poses([0.3] * 4, 1, 1)
    dataset.columns["observation.palm_pose"][:, :3] = [[0.3, 0, 0.5], [0.17, 0, 0.5], [0.15, 0, 0.5], [0.3, 0, 0.5]]
    assert contact_free(dataset, 0.07, 0.04, 2, 100).valid.tolist() == [[True, True]]  # 0.15 and 0.13 m


def test_a_recording_without_poses_and_clouds_is_refused() -> None:
    dataset = without_poses([0.3] * 4, 1, 1)
    blind = {name: column for name, column in dataset.columns.items() if "cloud" not in name}
    with pytest.raises(ScoreError, match=r"neither 'observation\.object_pose' nor 'observation\.cloud'.*it has obs"):
        require_features(replace(dataset, columns=blind), FRANKA_LEAP)
    require_features(dataset, FRANKA_LEAP)


def test_at_most_max_frames() -> None:
    assert contact_free(hand_made([0.3] * 9, [0.5] * 9), 0.07, 0.04, 2, 4).valid.sum() == 4


def test_subset_is_cut_to_its_longest() -> None:
    valid = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool)
    segments = Segments(np.zeros((2, 4, 1)), np.zeros((2, 1)), np.zeros((2, 3, 1)), valid)
    assert segments.subset(np.array([1])).sent.shape == (1, 1, 1)
