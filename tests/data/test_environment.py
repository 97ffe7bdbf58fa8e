"""What lerobot's ACT and Diffusion policies call the environment's state is written for them, and not read here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from score_rl.contracts import ArraySpec
from score_rl.core.records import read_json
from score_rl.data import layout
from score_rl.data.dataset import load_dataset
from score_rl.data.environment import ENVIRONMENT, joined_feature, joined_names
from score_rl.data.repair import repair_dataset
from score_rl.data.writer import DatasetWriter

FEATURES = {
    "observation.state": ArraySpec((2,)),
    "observation.command": ArraySpec((1,)),
    "observation.object": ArraySpec((2,), names=("x", "y")),
    "observation.touch": ArraySpec((1,)),
    "observation.cloud": ArraySpec((4, 3)),
    "action": ArraySpec((1,)),
}
DATA = "data/chunk-000/file-000.parquet"


def write(root: Path) -> Path:
    writer = DatasetWriter(root, 10, FEATURES, "arm")
    for episode in range(2):
        steps = np.arange(3, dtype=np.float32) + 10 * episode
        frames = {name: np.zeros((3, *one.shape), np.float32) for name, one in FEATURES.items()}
        frames["observation.object"] = np.stack([steps, -steps], axis=1)
        frames["observation.touch"] = steps + 0.5
        writer.add_episode(frames, "push")
    writer.finalize()
    return root


def test_it_joins_the_vectors_beside_state_and_command(tmp_path: Path) -> None:
    root = write(tmp_path / "d")
    table = pq.read_table(root / DATA)
    assert table[ENVIRONMENT].to_pylist()[:2] == [[0, 0, 0.5], [1, -1, 1.5]]
    entry = read_json(root / layout.INFO_PATH)["features"][ENVIRONMENT]
    assert entry["joins"] == ["observation.object", "observation.touch"]
    assert (entry["shape"], entry["names"]) == ([3], ["object.x", "object.y", "touch.0"])
    assert read_json(root / layout.STATS_PATH)[ENVIRONMENT]["max"] == [12, 0, 12.5]


def test_it_is_no_key_of_the_dataset_and_stays_when_that_is_written_again(tmp_path: Path) -> None:
    root = write(tmp_path / "d")
    dataset = load_dataset(root)
    assert dataset.columns.keys() == FEATURES.keys() and not dataset.skipped
    assert DatasetWriter(root, 10, FEATURES, "arm").finalized  # the same dataset, although it holds a column more
    repair_dataset(root, tmp_path / "again")
    assert pq.read_table(tmp_path / "again" / DATA)[ENVIRONMENT].to_pylist()[5] == [12, -12, 12.5]


def test_nothing_is_joined_where_somebody_says_it_himself_or_there_are_images() -> None:
    own, pixels = {ENVIRONMENT: ArraySpec((1,))}, {"observation.image": ArraySpec((8, 8, 3), "uint8")}
    alone = {name: FEATURES[name] for name in ("observation.state", "observation.command", "action")}
    stateless = {name: one for name, one in FEATURES.items() if name != "observation.state"}
    for features in (FEATURES | own, FEATURES | pixels, alone, stateless):
        assert joined_names(features) == () and joined_feature(features) == {}
