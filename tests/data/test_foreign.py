"""Datasets as other people's tools write them: odd types, layouts, names and clocks."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from door import DATA, EPISODES, as_version21, edit_column, edit_feature, edit_info, swing, write

from score_rl.core.errors import ScoreError
from score_rl.data.dataset import load_dataset


def test_tasks_as_plain_text(tmp_path):
    root = write(tmp_path / "d")
    edit_column(root, "tasks", pa.array(["pinch", "pinch, then lift", None]), EPISODES)
    assert load_dataset(root).tasks == ("pinch", "pinch, then lift", "")


def test_no_episodes(tmp_path):
    root = write(tmp_path / "d")
    edit_info(root, total_episodes=0, total_frames=0)
    for path in (DATA, EPISODES):
        pq.write_table(pq.read_table(root / path).slice(0, 0), root / path)
    with pytest.raises(ScoreError, match="d has no episodes"):
        load_dataset(root)


@pytest.mark.parametrize(("fps", "length"), [(1000, 400), (1000, 35 * 60 * 1000), (100, 35 * 60 * 100)])
def test_what_float32_timestamps_can_say_is_enough(tmp_path, fps, length):
    # 35 minutes at 1000 Hz: float32 resolves 0.24 ms there, a quarter of a frame.
    assert load_dataset(write(tmp_path / "d", (length,), fps)).num_frames == length


def test_a_late_frame_is_still_seen_at_1000_hz(tmp_path):
    root = write(tmp_path / "d", (300,), 1000)
    times = (np.arange(300) / 1000).astype(np.float32)
    times[200:] += 0.001
    edit_column(root, "timestamp", pa.array(times))
    with pytest.raises(ScoreError, match=r"timestamp 0\.2010 s in row 200 .*does not fit 1000 Hz"):
        load_dataset(root)


def test_a_timestamp_that_is_nan_is_refused(tmp_path):
    root = write(tmp_path / "d", (30,))
    times = (np.arange(30) / 10).astype(np.float32)
    times[7] = np.nan
    edit_column(root, "timestamp", pa.array(times))
    with pytest.raises(ScoreError, match="timestamp nan s in row 7"):
        load_dataset(root)


def test_float64_timestamps_where_info_says_so(tmp_path):
    root = write(tmp_path / "d", (30,))
    edit_column(root, "timestamp", pa.array(np.arange(30) / 10))
    edit_feature(root, "timestamp", dtype="float64")
    assert load_dataset(root).num_frames == 30


def test_large_lists_float64_scalars_and_images_beside_the_state(tmp_path):
    root = write(tmp_path / "d", (30,))
    state = swing(30)["observation.state"].astype(np.float64)
    lists = pa.array(state.tolist(), pa.large_list(pa.float64()))
    edit_column(root, "observation.state", lists)
    edit_feature(root, "observation.state", dtype="float64")
    edit_column(root, "observation.load", pa.array(np.arange(30, dtype=np.float32)))
    edit_feature(root, "observation.load", dtype="float32", shape=[], names=None)
    pictures = pa.array([{"bytes": b"", "path": "x.png"}] * 30)
    edit_column(root, "observation.images.cam", pictures)
    edit_feature(root, "observation.images.cam", dtype="image", shape=[64, 64, 3], names=["height", "width", "c"])
    dataset = load_dataset(root)
    np.testing.assert_array_equal(dataset.columns["observation.state"], state)
    assert dataset.columns["observation.load"].tolist() == [[i] for i in range(30)]
    assert dataset.skipped == ("observation.images.cam",)
    interface = dataset.interface()
    assert {key: (one.shape, one.dtype) for key, one in interface.observation.items()} == {
        "state": ((3,), "float32"),
        "load": ((1,), "float32"),
        "command": ((2,), "float32"),
    }


def test_a_feature_without_width_is_refused(tmp_path):
    root = write(tmp_path / "d", (30,))
    edit_feature(root, "observation.state", shape=[0], names=None)
    with pytest.raises(ScoreError, match=r"observation\.state\.shape\[0\] is 0, expected >= 1"):
        load_dataset(root)


@pytest.mark.parametrize(
    ("shape", "names", "note"),
    [
        (2, ["x", "x"], "'action' names x more than once: its names are left out"),
        (2, {"motors": ["a", "b", "c"]}, "'action' has 3 names for 2 entries: they are left out"),
        (2, ["a", "b"], None),
        (2, ["actions"], None),  # a name of the axis, as other tools write it
    ],
)
def test_names_that_cannot_be(tmp_path, shape, names, note):
    root = write(tmp_path / "d", (30,))
    edit_feature(root, "action", names=names)
    dataset = load_dataset(root)
    assert dataset.notes == ((note,) if note else ())
    assert dataset.features["action"].names == (("a", "b") if names == ["a", "b"] else ())
    assert dataset.interface().action_names == (("a", "b") if names == ["a", "b"] else ("action_0", "action_1"))


# ---- version 2.1 ------------------------------------------------------------------------------------------------


def test_version_21_reads_as_version_30(tmp_path):
    expected = load_dataset(write(tmp_path / "new"))
    dataset = load_dataset(as_version21(write(tmp_path / "old")))
    assert dataset.tasks == expected.tasks and dataset.lengths.tolist() == [40, 50, 60]
    assert dataset.columns.keys() == expected.columns.keys()
    for name, column in expected.columns.items():
        np.testing.assert_array_equal(dataset.columns[name], column)


def test_version_21_contradictions_are_named(tmp_path):
    root = as_version21(write(tmp_path / "old"))
    path = root / "meta" / "episodes.jsonl"
    whole = path.read_text()
    for text, message in (
        (whole[: whole.rindex("{")], "counts 3 episodes, .*lists 2"),
        (whole.replace('"episode_index": 1', '"episode_index": 5'), "line 2 is of episode 5, expected 1"),
        (whole.replace('"length": 50', '"size": 50'), "line 2 lacks length"),
        (whole.replace('"length": 50', '"length": -50'), "line 2: length is -50, expected >= 1"),
        (whole.replace('"length": 50', f'"length": {10**30}'), "expected a whole number of 64 bits"),
        (re.sub(r'"tasks": \[[^]]*\]', '"tasks": 3', whole), "line 1: tasks is 3"),
    ):
        path.write_text(text)
        with pytest.raises(ScoreError, match=message):
            load_dataset(root)
    path.unlink()
    with pytest.raises(ScoreError, match=r"episodes\.jsonl does not exist"):
        load_dataset(root)
