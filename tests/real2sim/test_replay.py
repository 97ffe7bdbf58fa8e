"""The replay is the world without contacts, and takes only frames without contact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from recordings import record

from score_rl.data.dataset import Dataset
from score_rl.real2sim.calibrate import centre
from score_rl.real2sim.replay import Replay, Segments, contact_free
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


def test_at_most_max_frames() -> None:
    assert contact_free(hand_made([0.3] * 9, [0.5] * 9), 0.07, 0.04, 2, 4).valid.sum() == 4


def test_subset_is_cut_to_its_longest() -> None:
    valid = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool)
    segments = Segments(np.zeros((2, 4, 1)), np.zeros((2, 1)), np.zeros((2, 3, 1)), valid)
    assert segments.subset(np.array([1])).sent.shape == (1, 1, 1)
