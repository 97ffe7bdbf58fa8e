"""What is whole of an interrupted recording is kept, in a new folder; the old one stays as it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from door import DATA, EPISODES, as_version21, edit_column, edit_info, swing, write

from score_rl.contracts import ArraySpec
from score_rl.core.errors import ScoreError
from score_rl.core.runs import start_run
from score_rl.data import layout
from score_rl.data.dataset import load_dataset
from score_rl.data.repair import repair_dataset
from score_rl.data.writer import DatasetWriter


@dataclass(frozen=True)
class Nothing:
    """Settings of a stage that has none."""


def tree(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def repaired(root, tmp_path):
    before = tree(root)
    found = repair_dataset(root, tmp_path / "new")
    assert tree(root) == before
    dataset = load_dataset(tmp_path / "new")
    assert (dataset.num_episodes, dataset.num_frames) == (found.episodes, found.frames)
    for episode, length in enumerate(dataset.lengths):
        for name, values in swing(int(length), float(episode)).items():
            np.testing.assert_array_equal(dataset.episode(episode)[name], values)
    return dataset, found.fault


def test_a_whole_dataset_stays_whole(tmp_path):
    dataset, fault = repaired(write(tmp_path / "d"), tmp_path)
    assert dataset.lengths.tolist() == [40, 50, 60] and fault == "" and dataset.tasks == ("pinch",) * 3


def test_frames_that_were_never_written(tmp_path):
    root = write(tmp_path / "d")
    pq.write_table(pq.read_table(root / DATA).slice(0, 40 + 50 + 7), root / DATA)
    dataset, fault = repaired(root, tmp_path)
    assert dataset.lengths.tolist() == [40, 50] and "episode 2 has 7 frames of 60" in fault


def test_a_nan_a_gap_and_a_clock_that_jumps(tmp_path):
    for number, (name, row, value, message) in enumerate(
        (
            ("timestamp", 95, 99.0, "the timestamp of frame 5 does not fit 10 Hz"),
            ("frame_index", 95, 6, "frame 5 is missing"),
        )
    ):
        (folder := tmp_path / str(number)).mkdir()
        root = write(folder / "d")
        values = pq.read_table(root / DATA)[name].to_numpy().copy()
        values[row] = value
        edit_column(root, name, pa.array(values))
        dataset, fault = repaired(root, folder)
        assert dataset.num_episodes == 2 and message in fault


def test_a_table_of_episodes_that_is_torn(tmp_path):
    root = write(tmp_path / "d")
    (root / EPISODES).write_bytes((root / EPISODES).read_bytes()[:100])
    dataset, fault = repaired(root, tmp_path)
    assert dataset.num_episodes == 3 and fault == ""


def test_counts_that_were_not_updated(tmp_path):
    root = write(tmp_path / "d")
    edit_info(root, total_episodes=2, total_frames=90)
    assert repaired(root, tmp_path)[0].num_episodes == 3


def test_version_21_with_a_torn_file(tmp_path):
    root = as_version21(write(tmp_path / "d"))
    path = root / "data" / "chunk-000" / "episode_000002.parquet"
    path.write_bytes(path.read_bytes()[:200])
    dataset, fault = repaired(root, tmp_path)
    assert dataset.num_episodes == 2 and "episode_000002.parquet is corrupt" in fault


def test_an_unfinished_collection(tmp_path):
    features = {"observation.state": ArraySpec((3,)), "action": ArraySpec((2,))}
    writer = DatasetWriter(tmp_path / "d", 10, features, "arm")
    for episode in range(3):
        writer.add_episode(swing(20 + episode, float(episode)), "pinch", {"seed": episode})
    torn = tmp_path / "d" / "staging" / "episode-000002.safetensors"
    torn.write_bytes(torn.read_bytes()[:50])
    dataset, fault = repaired(tmp_path / "d", tmp_path)
    assert dataset.lengths.tolist() == [20, 21] and dataset.extra["seed"].tolist() == [0, 1]
    assert "episode-000002.safetensors" in fault


def test_what_cannot_be_repaired_is_said(tmp_path):
    root = write(tmp_path / "d")
    with pytest.raises(ScoreError, match="exists already"):
        repair_dataset(root, tmp_path)
    with pytest.raises(ScoreError, match="choose a folder outside"):
        repair_dataset(root, root / "new")
    run = start_run(tmp_path / "run", "collect", Nothing(), {})
    write(run.path("dataset"))
    run.finish()
    with pytest.raises(ScoreError, match="lies in the recording"):
        repair_dataset(run.directory / "dataset", run.directory / "new")
    (root / DATA).write_bytes(b"PAR1")
    with pytest.raises(ScoreError, match=r"d has no whole episode: .*is corrupt"):
        repair_dataset(root, tmp_path / "new")
    (root / layout.INFO_PATH).unlink()
    with pytest.raises(ScoreError, match=r"info\.json"):
        repair_dataset(root, tmp_path / "new")
    assert not (tmp_path / "new").exists()
