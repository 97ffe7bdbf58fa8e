import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from score_rl.contracts import ArraySpec
from score_rl.core.errors import ScoreError
from score_rl.core.files import write_json
from score_rl.core.records import read_json
from score_rl.data import layout
from score_rl.data.dataset import load_dataset
from score_rl.data.writer import DatasetWriter

ADROIT = Path(__file__).parents[3] / "shared" / "data" / "adroit_door_human"
DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
FEATURES = {
    "observation.state": ArraySpec((2,), names=("x", "y")),
    "action": ArraySpec((3,), "float32"),
    "next.success": ArraySpec((1,), "bool"),
}


def frames(episode: int) -> dict[str, np.ndarray]:
    """Episode of 3 + episode frames whose values tell where they belong."""
    length = 3 + episode
    count = np.arange(length, dtype=np.float32)[:, None] + 10 * episode
    return {
        "observation.state": np.hstack([count, -count]),
        "action": np.hstack([count, count + 0.25, count + 0.5]),
        "next.success": np.arange(length) == length - 1,
    }


def write(root: Path, episodes: int = 3, task: str = "pinch") -> Path:
    writer = DatasetWriter(root, fps=10, features=FEATURES, robot_type="arm")
    for episode in range(writer.num_episodes, episodes):
        extra = {"seed": 100 + episode, "style": "top", "goal": [0.5, episode], "won": episode == 1}
        assert writer.add_episode(frames(episode), task, extra) == episode
    writer.finalize()
    return root


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def edit_info(root: Path, **changes: object) -> None:
    write_json(root / layout.INFO_PATH, {**read_json(root / layout.INFO_PATH), **changes})


def edit_data(root: Path, name: str, values: pa.Array) -> None:
    table = pq.read_table(root / DATA)
    field = table.schema.field(name).with_type(values.type)
    pq.write_table(table.set_column(table.column_names.index(name), field, values), root / DATA)


def test_round_trip(tmp_path):
    dataset = load_dataset(write(tmp_path / "d"))
    assert (dataset.fps, dataset.robot_type, dataset.num_episodes, dataset.num_frames) == (10, "arm", 3, 12)
    assert dataset.starts.tolist() == [0, 3, 7] and dataset.ends.tolist() == [3, 7, 12]
    assert dataset.lengths.tolist() == [3, 4, 5]
    assert dataset.features["observation.state"].names == ("x", "y") and dataset.features["action"].names == ()
    assert dataset.tasks == ("pinch",) * 3
    for episode in range(3):
        for name, values in frames(episode).items():
            read = dataset.episode(episode)[name]
            assert read.dtype == FEATURES[name].dtype and read.shape == (3 + episode, FEATURES[name].size)
            np.testing.assert_array_equal(read, values.reshape(read.shape))


def test_extra_columns_come_back_as_arrays(tmp_path):
    extra = load_dataset(write(tmp_path / "d")).extra
    assert extra["seed"].tolist() == [100, 101, 102] and extra["seed"].dtype == np.int64
    assert extra["style"].tolist() == ["top"] * 3
    assert extra["goal"].tolist() == [[0.5, 0], [0.5, 1], [0.5, 2]]
    assert extra["won"].tolist() == [False, True, False]


def test_the_missing_command_is_the_action_before(tmp_path):
    dataset = load_dataset(write(tmp_path / "d"))
    assert dataset.derived == ("observation.command",)
    command = dataset.episode(1)["observation.command"]
    np.testing.assert_array_equal(command[0], [0, 0, 0])
    np.testing.assert_array_equal(command[1:], frames(1)["action"][:-1])


def test_a_recorded_command_is_kept(tmp_path):
    features = {"action": ArraySpec((1,), "float32"), "observation.command": ArraySpec((1,), "float32")}
    writer = DatasetWriter(tmp_path / "d", 10, features, "arm")
    writer.add_episode({"action": np.ones(2), "observation.command": np.full(2, 7.0)}, "t")
    writer.finalize()
    dataset = load_dataset(tmp_path / "d")
    assert dataset.derived == () and dataset.columns["observation.command"].tolist() == [[7], [7]]


def test_index_columns_and_statistics_by_hand(tmp_path):
    root = write(tmp_path / "d")
    with pq.ParquetFile(root / DATA) as stream:
        table = stream.read()
        assert [stream.metadata.row_group(i).num_rows for i in range(3)] == [3, 4, 5]
    assert table["frame_index"].to_pylist() == [0, 1, 2, 0, 1, 2, 3, 0, 1, 2, 3, 4]
    assert table["episode_index"].to_pylist() == [0] * 3 + [1] * 4 + [2] * 5
    assert table["index"].to_pylist() == list(range(12))
    assert table["task_index"].to_pylist() == [0] * 12
    np.testing.assert_allclose(table["timestamp"].to_numpy()[:5], [0, 0.1, 0.2, 0, 0.1], rtol=1e-6)

    row = pq.read_table(root / EPISODES).to_pylist()[1]
    assert (row["length"], row["dataset_from_index"], row["dataset_to_index"]) == (4, 3, 7)
    assert (row["data/chunk_index"], row["data/file_index"], row["tasks"]) == (0, 0, ["pinch"])
    state = "stats/observation.state/"  # x: 10 11 12 13, y: -10 -11 -12 -13
    assert row[state + "min"] == [10, -13] and row[state + "max"] == [13, -10]
    assert row[state + "mean"] == [11.5, -11.5] and row[state + "count"] == [4]
    np.testing.assert_allclose(row[state + "std"], np.sqrt(1.25))
    np.testing.assert_allclose(row[state + "q10"], [10.3, -12.7])
    np.testing.assert_allclose(row[state + "q50"], [11.5, -11.5])
    assert row["stats/next.success/max"] == [True] and row["stats/next.success/mean"] == [0.25]

    stats = read_json(root / layout.STATS_PATH)  # all frames: 0 1 2, 10 11 12 13, 20 21 22 23 24
    assert stats["observation.state"]["mean"] == pytest.approx([159 / 12, -159 / 12])
    assert stats["observation.state"]["count"] == [12]
    assert stats["observation.state"]["q50"] == pytest.approx([12.5, -12.5])
    assert stats.keys() == {*FEATURES, *layout.INDEX_FEATURES}


def test_several_tasks_are_numbered_in_the_order_of_appearance(tmp_path):
    writer = DatasetWriter(tmp_path / "d", 10, FEATURES, "arm")
    for episode, task in enumerate(["b", "a", "b"]):
        writer.add_episode(frames(episode), task)
    writer.finalize()
    assert load_dataset(tmp_path / "d").tasks == ("b", "a", "b")
    table = pq.read_table(tmp_path / "d" / layout.TASKS_PATH)
    assert table.to_pydict() == {"task_index": [0, 1], "task": ["b", "a"]}
    assert json.loads(table.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    task_index = pq.read_table(tmp_path / "d" / DATA)["task_index"].to_pylist()
    assert task_index == [0] * 3 + [1] * 4 + [0] * 5


def test_large_datasets_are_split_into_files(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "DATA_FILE_MB", 1e-6)  # one byte: every episode gets its own file
    monkeypatch.setattr(layout, "FILES_PER_CHUNK", 2)
    root = write(tmp_path / "d")
    written = sorted(str(path.relative_to(root)) for path in (root / "data").rglob("*.parquet"))
    assert written == [DATA, "data/chunk-000/file-001.parquet", "data/chunk-001/file-000.parquet"]
    dataset = load_dataset(root)
    for episode in range(3):
        np.testing.assert_array_equal(dataset.episode(episode)["action"], frames(episode)["action"])


@pytest.mark.slow
def test_an_interrupted_collection_ends_with_the_same_bytes(tmp_path):
    expected = tree(write(tmp_path / "whole"))
    root = tmp_path / "killed"
    code = (
        "import os, signal, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_lerobot import *\n"
        f"writer = DatasetWriter(Path({str(root)!r}), 10, FEATURES, 'arm')\n"
        "for e in range(2): writer.add_episode(frames(e), 'pinch', "
        "{'seed': 100 + e, 'style': 'top', 'goal': [0.5, e], 'won': e == 1})\n"
        "from score_rl.core import files\n"
        "files.os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "writer.add_episode(frames(2), 'pinch', {'seed': 102, 'style': 'top', 'goal': [0.5, 2], 'won': False})\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert DatasetWriter(root, 10, FEATURES, "arm").num_episodes == 2
    with pytest.raises(ScoreError, match="unfinished: resume"):
        load_dataset(root)
    assert tree(write(root)) == expected


@pytest.mark.parametrize("survivors", range(4))
def test_an_interrupted_finalize_is_repeated(tmp_path, monkeypatch, survivors):
    expected = tree(write(tmp_path / "whole"))
    written = []

    def failing(original):
        def write_one(path, *arguments, **options):
            if len(written) == survivors:
                raise KeyboardInterrupt
            written.append(path)
            original(path, *arguments, **options)

        return write_one

    from score_rl.data import writer

    root = tmp_path / "killed"
    with monkeypatch.context() as patch:
        patch.setattr(writer, "_write_parquet", failing(writer._write_parquet))
        patch.setattr(writer.DatasetWriter, "_info", failing(lambda self, *_: None))
        with pytest.raises(KeyboardInterrupt):
            write(root)
    with pytest.raises(ScoreError, match="unfinished"):
        load_dataset(root)
    assert tree(write(root)) == expected


def test_killed_while_the_staging_folder_was_made(tmp_path):
    (tmp_path / "d" / "staging").mkdir(parents=True)
    (tmp_path / "d" / "staging" / ".spec.json.tmp").write_text("{")
    assert load_dataset(write(tmp_path / "d")).num_episodes == 3


def test_a_finished_dataset_is_left_alone(tmp_path):
    root = write(tmp_path / "d")
    before = tree(root)
    writer = DatasetWriter(root, 10, FEATURES, "arm")
    assert writer.finalized and writer.num_episodes == 3
    with pytest.raises(ScoreError, match="finished dataset"):
        writer.add_episode(frames(3), "pinch")
    writer.finalize()
    assert tree(root) == before


@pytest.mark.parametrize("finished", [False, True])
def test_another_dataset_in_the_same_place_is_refused(tmp_path, finished):
    root = tmp_path / "d"
    write(root) if finished else DatasetWriter(root, 10, FEATURES, "arm")
    with pytest.raises(ScoreError, match="other fps, robot_type"):
        DatasetWriter(root, 20, FEATURES, "leg")
    with pytest.raises(ScoreError, match="other features"):
        DatasetWriter(root, 10, {"action": FEATURES["action"]}, "arm")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "thesis.tex").write_text("")
    with pytest.raises(ScoreError, match="not empty and holds no dataset"):
        DatasetWriter(tmp_path / "x", 10, FEATURES, "arm")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action": np.zeros((3, 4))}, r"'action' has shape \(3, 4\), expected \(frames, 3\)"),
        ({"action": np.zeros((2, 3))}, "different lengths"),
        ({"action": np.full((3, 3), np.nan)}, "NaN or infinity in feature 'action', first in frame 0, element 0"),
        ({"action": np.full((3, 3), "a")}, "expected float32"),
        ({"next.success": np.zeros(3)}, "'next.success' is float64, expected bool"),
        ({"observation.state": np.zeros((0, 2))}, r"shape \(0, 2\)"),
        ({"other": np.zeros(3)}, r"unknown features \['other'\]"),
    ],
)
def test_the_writer_refuses_bad_episodes_and_stays_usable(tmp_path, change, message):
    writer = DatasetWriter(tmp_path / "d", 10, FEATURES, "arm")
    with pytest.raises(ScoreError, match=message):
        writer.add_episode({**frames(0), **change}, "pinch")
    assert writer.num_episodes == 0
    writer.add_episode(frames(0), "pinch")
    with pytest.raises(ScoreError, match=r"missing features \['action'\]"):
        writer.add_episode({key: value for key, value in frames(1).items() if key != "action"}, "pinch")


def test_the_writer_refuses_bad_extra_columns(tmp_path):
    writer = DatasetWriter(tmp_path / "d", 10, FEATURES, "arm")
    for extra in ({"length": 1}, {"stats/x": 1}, {"seed": float("nan")}, {"seed": None}, {"seed": [[1]]}):
        with pytest.raises(ScoreError, match="extra column"):
            writer.add_episode(frames(0), "pinch", extra)
    writer.add_episode(frames(0), "pinch", {"seed": 1})
    with pytest.raises(ScoreError, match=r"extra columns \['style'\], earlier ones \['seed'\]"):
        writer.add_episode(frames(1), "pinch", {"style": 1})
    resumed = DatasetWriter(tmp_path / "d", 10, FEATURES, "arm")
    with pytest.raises(ScoreError, match=r"extra columns \[\], earlier ones \['seed'\]"):
        resumed.add_episode(frames(1), "pinch")


@pytest.mark.parametrize(
    ("name", "feature", "message"),
    [
        ("action", ArraySpec((3,), "float46"), "did you mean 'float64'"),
        ("action", ArraySpec((3, 0)), r"shape \(3, 0\)"),
        ("action", ArraySpec((3,), "float32", names=("a",)), "1 names for 3 entries"),
        ("timestamp", ArraySpec((1,), "float32"), "no name for a feature"),
        ("a/b", ArraySpec((1,), "float32"), "no name for a feature"),
    ],
)
def test_the_writer_refuses_features_that_cannot_be_written(tmp_path, name, feature, message):
    with pytest.raises(ScoreError, match=message):
        DatasetWriter(tmp_path / "d", 10, {name: feature}, "arm")
    assert not (tmp_path / "d").exists()


def test_the_writer_needs_a_whole_rate_and_an_episode(tmp_path):
    with pytest.raises(ScoreError, match="whole number"):
        DatasetWriter(tmp_path / "d", 12.5, FEATURES, "arm")
    with pytest.raises(ScoreError, match="no episodes"):
        DatasetWriter(tmp_path / "d", 10, FEATURES, "arm").finalize()


def test_finalize_needs_room(tmp_path, monkeypatch):
    from score_rl.core import files

    writer = DatasetWriter(tmp_path / "d", 10, FEATURES, "arm")
    writer.add_episode(frames(0), "pinch")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(ScoreError, match="not enough disk space"):
        writer.finalize()
    monkeypatch.undo()
    writer.finalize()
    assert load_dataset(tmp_path / "d").num_episodes == 1


@pytest.mark.parametrize("missing", [layout.INFO_PATH, DATA, EPISODES])
def test_missing_files_are_named(tmp_path, missing):
    root = write(tmp_path / "d")
    (root / missing).unlink()
    named = "meta/episodes" if missing == EPISODES else missing
    with pytest.raises(ScoreError, match=named):
        load_dataset(root)
    with pytest.raises(ScoreError, match="does not exist"):
        load_dataset(tmp_path / "nowhere")


@pytest.mark.parametrize("path", [DATA, EPISODES])
@pytest.mark.parametrize("keep", [0, 100, -20])
def test_truncated_parquet_is_named(tmp_path, path, keep):
    root = write(tmp_path / "d")
    (root / path).write_bytes((root / path).read_bytes()[:keep])
    with pytest.raises(ScoreError, match=f"{path} is corrupt"):
        load_dataset(root)


def test_a_link_to_itself_is_no_file(tmp_path):
    root = write(tmp_path / "d")
    (root / DATA).unlink()
    (root / DATA).symlink_to((root / DATA).name)
    with pytest.raises(ScoreError, match=r"file-000\.parquet does not exist"):
        load_dataset(root)


def test_nan_in_a_dataset_is_located(tmp_path):
    root = write(tmp_path / "d")
    values = pq.read_table(root / DATA)["observation.state"].combine_chunks().flatten().to_numpy().copy()
    values[2 * 5 + 1] = np.nan  # row 5: episode 1, frame 2
    edit_data(root, "observation.state", pa.FixedSizeListArray.from_arrays(pa.array(values), 2))
    with pytest.raises(ScoreError, match=r"NaN or infinity in 'observation\.state', first in episode 1, frame 2"):
        load_dataset(root)


def test_missing_values_are_found(tmp_path):
    root = write(tmp_path / "d")
    edit_data(root, "next.success", pa.array([None] + [True] * 11))
    with pytest.raises(ScoreError, match=r"'next\.success' has missing values"):
        load_dataset(root)


def test_columns_must_match_info(tmp_path):
    root = write(tmp_path / "d")
    features = read_json(root / layout.INFO_PATH)["features"]
    wider = {**features, "action": {**features["action"], "shape": [4]}}
    edit_info(root, features=wider)
    with pytest.raises(ScoreError, match="'action' does not have the shape \\(4,\\)"):
        load_dataset(root)
    edit_info(root, features={**features, "action": {**features["action"], "dtype": "float64"}})
    with pytest.raises(ScoreError, match=r"'action' is float, info\.json says float64"):
        load_dataset(root)
    edit_info(root, features={**features, "gripper": features["action"]})
    with pytest.raises(ScoreError, match="no columns gripper"):
        load_dataset(root)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fps": 20}, "does not fit 20 Hz"),
        ({"fps": 0}, "fps is 0"),
        ({"codebase_version": "v1.6"}, r"LeRobotDataset v1\.6; this reads v3\.0 and v2\.1"),
        ({"total_frames": 11}, "counts 11 frames, the data has 12"),
        ({"total_episodes": 4}, "counts 4 episodes, meta/episodes lists 3"),
        ({"total_episodes": 10**15}, "counts 1000000000000000 episodes, meta/episodes lists 3"),
        ({"data_path": "data/{chunk_index:>99999999999}"}, "expected a template of chunk_index and file_index"),
        ({"data_path": "data/{chunk_index.__class__}"}, "expected a template"),
        ({"data_path": "data/{file_index!r}"}, "expected a template"),
        ({"data_path": "data/{"}, "expected a template"),
        ({"data_path": "data/\0"}, "expected a template"),
        ({"data_path": "../{file_index}"}, "leads out of"),
        ({"chunks_size": 0}, "chunks_size is 0, expected >= 1"),
        ({"features": {"action": {}}}, "features.action lacks dtype, shape"),
        ({"features": {}}, "no features that are arrays"),
    ],
)
def test_contradictions_in_info_are_named(tmp_path, changes, message):
    root = write(tmp_path / "d")
    edit_info(root, **changes)
    with pytest.raises(ScoreError, match=message):
        load_dataset(root)


def test_info_without_needed_entries(tmp_path):
    root = write(tmp_path / "d")
    write_json(root / layout.INFO_PATH, {"codebase_version": "v3.0", "fps": 10})
    with pytest.raises(ScoreError, match="lacks features, data_path, total_frames"):
        load_dataset(root)


def test_gaps_in_the_index_are_found(tmp_path):
    root = write(tmp_path / "d")
    edit_data(root, "frame_index", pa.array([0, 1, 2, 0, 1, 3, 4, 0, 1, 2, 3, 4]))
    with pytest.raises(ScoreError, match="frame_index is 3 in row 5, expected 2"):
        load_dataset(root)
    shutil.rmtree(root)
    write(root)
    table = pq.read_table(root / EPISODES)
    position = table.column_names.index("dataset_to_index")
    pq.write_table(table.set_column(position, "dataset_to_index", pa.array([3, 6, 12])), root / EPISODES)
    with pytest.raises(ScoreError, match="do not cover the 12 frames"):
        load_dataset(root)


def test_video_is_listed_and_left_out(tmp_path):
    root = write(tmp_path / "d")
    features = read_json(root / layout.INFO_PATH)["features"]
    video = {"dtype": "video", "shape": [480, 640, 3], "names": ["height", "width", "channels"]}
    edit_info(root, features={**features, "observation.images.top": video})
    dataset = load_dataset(root)
    assert dataset.skipped == ("observation.images.top",)
    with pytest.raises(ScoreError, match="only arrays are read"):
        dataset.require({"observation.images.top": (3,)})


def test_lists_of_free_size_and_wrapped_names_are_read(tmp_path):
    root = write(tmp_path / "d")
    rows = pq.read_table(root / DATA)["action"].to_pylist()
    edit_data(root, "action", pa.array(rows, pa.list_(pa.float32())))
    features = read_json(root / layout.INFO_PATH)["features"]
    edit_info(root, features={**features, "action": {**features["action"], "names": {"motors": ["a", "b", "c"]}}})
    dataset = load_dataset(root)
    assert dataset.columns["action"].tolist() == rows and dataset.features["action"].names == ("a", "b", "c")
    edit_data(root, "action", pa.array([rows[0][:2]] + [rows[0] + [1.0]] + rows[2:], pa.list_(pa.float32())))
    with pytest.raises(ScoreError, match="'action' does not have the shape \\(3,\\)"):
        load_dataset(root)


def test_require_compares_with_a_policy_or_robot(tmp_path):
    dataset = load_dataset(write(tmp_path / "d"))
    dataset.require({"observation.state": (2,), "action": (3,)}, fps=10.0)
    with pytest.raises(ScoreError, match=r"'action' has shape \(3,\), expected \(23,\)"):
        dataset.require({"action": (23,)})
    with pytest.raises(ScoreError, match=r"no feature 'observation\.pose'; it has action, next\.success, observ"):
        dataset.require({"observation.pose": (7,)})
    with pytest.raises(ScoreError, match="recorded at 10 Hz, expected 20 Hz"):
        dataset.require({}, fps=20)


@pytest.mark.skipif(not ADROIT.exists(), reason="dataset written by lerobot not present")
def test_a_dataset_written_by_lerobot_is_read():
    dataset = load_dataset(ADROIT)
    assert (dataset.num_episodes, dataset.num_frames, dataset.fps) == (25, 6729, 100)
    assert {name: column.shape[1] for name, column in dataset.columns.items()} == {
        "observation.state": 39,
        "action": 28,
        "next.success": 1,
        "observation.command": 28,
    }
    assert set(dataset.tasks) == {"open the door"} and not dataset.extra and not dataset.skipped
    success = dataset.columns["next.success"][:, 0]  # the door is open: hinge (element 28) beyond 1.35 rad
    assert sum(dataset.episode(episode)["next.success"].any() for episode in range(25)) == 7
    np.testing.assert_array_equal(success, dataset.columns["observation.state"][:, 28] >= 1.35)


@pytest.mark.skipif(not ADROIT.exists(), reason="dataset written by lerobot not present")
def test_what_we_write_has_the_layout_that_lerobot_writes(tmp_path):
    source = load_dataset(ADROIT)
    types = {"observation.state": "float32", "action": "float32", "next.success": "bool"}
    features = {name: ArraySpec(source.columns[name].shape[1:], dtype) for name, dtype in types.items()}
    writer = DatasetWriter(tmp_path, 100, features, "adroit_hand")
    for episode in range(source.num_episodes):
        columns = source.episode(episode)
        writer.add_episode({name: columns[name] for name in features}, source.tasks[episode], {"seed": episode})
    writer.finalize()

    theirs, ours = (pq.ParquetFile(root / DATA) for root in (ADROIT, tmp_path))
    assert ours.schema_arrow.equals(theirs.schema_arrow)
    assert ours.metadata.num_row_groups == theirs.metadata.num_row_groups == 25
    described = [
        json.loads(file.schema_arrow.metadata[b"huggingface"])["info"]["features"] for file in (ours, theirs)
    ]
    assert described[0] == described[1]
    assert ours.read().equals(theirs.read())

    theirs, ours = (pq.read_table(root / EPISODES) for root in (ADROIT, tmp_path))
    assert ours.column_names == [*theirs.column_names, "seed"]
    for name in theirs.column_names:
        assert ours.schema.field(name).equals(theirs.schema.field(name)), name
        if name.rpartition("/")[2] not in layout.QUANTILES:  # lerobot estimates these from histograms
            for a, b in zip(ours[name].to_pylist(), theirs[name].to_pylist(), strict=True):
                assert a == b if name == "tasks" else np.allclose(a, b, rtol=1e-4, atol=2e-5), name

    assert read_json(tmp_path / layout.INFO_PATH) == read_json(ADROIT / layout.INFO_PATH)
    theirs, ours = (read_json(root / layout.STATS_PATH) for root in (ADROIT, tmp_path))
    assert {name: set(entry) for name, entry in ours.items()} == {name: set(entry) for name, entry in theirs.items()}
    for name, entry in theirs.items():
        for statistic in ("min", "max", "mean", "std", "count"):
            np.testing.assert_allclose(ours[name][statistic], entry[statistic], rtol=1e-4, atol=2e-5)

    theirs, ours = (pq.read_table(root / layout.TASKS_PATH) for root in (ADROIT, tmp_path))
    for table in (theirs, ours):  # pandas takes the column that the metadata calls the index, whatever its name
        index = json.loads(table.schema.metadata[b"pandas"])["index_columns"][0]
        assert table.column_names == ["task_index", index] and table[index].to_pylist() == ["open the door"]


SEEN = {
    "observation.cloud": ArraySpec((2, 3), "float16", "m", "base", ("x", "y", "z")),
    "observation.picture": ArraySpec((2, 2, 3), "uint8"),
    "action": ArraySpec((1,), "float32", "rad", names=("push",)),
}


def seen(length: int = 3) -> dict[str, np.ndarray]:
    count = np.arange(length)
    return {
        "observation.cloud": (count[:, None, None] + np.arange(6).reshape(2, 3) / 4).astype(np.float32),
        "observation.picture": (count[:, None, None, None] + np.arange(12).reshape(2, 2, 3)).astype(np.uint8),
        "action": count.astype(np.float32),
    }


def write_seen(root: Path, lengths: tuple[int, ...] = (3, 2)) -> Path:
    writer = DatasetWriter(root, 10, SEEN, "camera")
    for length in lengths:
        writer.add_episode(seen(length), "look")
    writer.finalize()
    return root


def test_arrays_of_any_rank_round_trip(tmp_path):
    dataset = load_dataset(write_seen(tmp_path / "d"))
    assert dataset.features == {**SEEN, "observation.command": SEEN["action"]} and not dataset.skipped
    for episode, length in enumerate((3, 2)):
        for name, values in seen(length).items():
            read = dataset.episode(episode)[name]
            assert read.dtype == SEEN[name].dtype and read.shape == (length, *SEEN[name].shape)
            np.testing.assert_array_equal(read, values.reshape(read.shape))
    interface = dataset.interface()
    assert interface.observation["cloud"] == ArraySpec((2, 3), "float32", "m", "base", ("x", "y", "z"))
    assert interface.observation["picture"] == SEEN["observation.picture"]
    assert (interface.action, interface.control_rate_hz) == (SEEN["action"], 10.0)


def test_arrays_are_nested_lists_that_the_datasets_library_knows(tmp_path):
    root = write_seen(tmp_path / "d")
    schema = pq.read_schema(root / DATA)
    assert schema.field("observation.cloud").type == pa.list_(pa.list_(pa.float16(), 3), 2)
    described = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert described["observation.cloud"] == {"shape": [2, 3], "dtype": "float16", "_type": "Array2D"}
    assert described["observation.picture"] == {"shape": [2, 2, 3], "dtype": "uint8", "_type": "Array3D"}
    # Lists of free size, as the library writes them, are the same data.
    free = pq.read_table(root / DATA)["observation.cloud"].cast(pa.list_(pa.list_(pa.float16())))
    edit_data(root, "observation.cloud", free.combine_chunks())
    np.testing.assert_array_equal(load_dataset(root).episode(1)["observation.cloud"], seen(2)["observation.cloud"])


def test_statistics_of_arrays_are_per_entry_of_the_last_axis(tmp_path):
    stats = read_json(write_seen(tmp_path / "d", (3,)) / layout.STATS_PATH)
    # x of the two points over three frames: 0 0.75, 1 1.75, 2 2.75; red of the first picture: 0 3 6 9
    cloud, picture = stats["observation.cloud"], stats["observation.picture"]
    assert cloud["min"] == [0, 0.25, 0.5] and cloud["max"] == [2.75, 3, 3.25] and cloud["count"] == [3]
    assert cloud["mean"] == pytest.approx([1.375, 1.625, 1.875])
    assert picture["min"] == [0, 1, 2] and picture["max"] == [11, 12, 13]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observation.cloud": np.zeros((3, 3, 2))}, r"has shape \(3, 3, 2\), expected \(frames, 2, 3\)"),
        ({"observation.cloud": np.full((3, 2, 3), 1e6)}, "NaN or infinity in feature 'observation.cloud'"),
        ({"observation.picture": np.zeros((3, 2, 2, 3))}, "is float64, expected uint8"),
        ({"observation.picture": np.full((3, 2, 2, 3), 256, np.uint16)}, "holds numbers that uint8 cannot"),
    ],
)
def test_the_writer_is_strict_about_arrays(tmp_path, change, message):
    writer = DatasetWriter(tmp_path / "d", 10, SEEN, "camera")
    with pytest.raises(ScoreError, match=message):
        writer.add_episode({**seen(), **change}, "look")


def test_the_reader_is_strict_about_arrays(tmp_path):
    root = write_seen(tmp_path / "d", (3,))
    cloud = pq.read_table(root / DATA)["observation.cloud"].to_pylist()
    cloud[1][0] = [0.0, 1.0]
    edit_data(root, "observation.cloud", pa.array(cloud, pa.list_(pa.list_(pa.float16()))))
    with pytest.raises(ScoreError, match=r"'observation.cloud' does not have the shape \(2, 3\)"):
        load_dataset(root)
    cloud[1][0] = None
    edit_data(root, "observation.cloud", pa.array(cloud, pa.list_(pa.list_(pa.float16()))))
    with pytest.raises(ScoreError, match="missing values"):
        load_dataset(root)
    cloud[1][0] = [0.0, np.nan, 1.0]
    edit_data(root, "observation.cloud", pa.array(cloud, pa.list_(pa.list_(pa.float16()))))
    with pytest.raises(ScoreError, match="first in episode 0, frame 1"):
        load_dataset(root)
