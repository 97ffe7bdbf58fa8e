"""Point clouds in datasets: half precision, compact on disk, kept by everything that copies a dataset."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from score_rl.contracts import ArraySpec
from score_rl.data import layout
from score_rl.data.dataset import load_dataset
from score_rl.data.merge import merge
from score_rl.data.repair import repair_dataset
from score_rl.data.writer import DatasetWriter

CLOUD, SEEN, DATA = "observation.cloud", "observation.cloud_seen", "data/chunk-000/file-000.parquet"
OBSERVED = {CLOUD: ArraySpec((128, 3), unit="m", frame="base"), SEEN: ArraySpec((1,))}
FEATURES = {name: layout.stored(array) for name, array in OBSERVED.items()} | {"action": ArraySpec((2,))}
FRAMES = 200


def frames(seed: int) -> dict[str, np.ndarray]:
    """A cube of 45 mm that is carried about half a metre away, seen with 2 mm of noise."""
    generator = np.random.default_rng(seed)
    centre = [0.5, 0.0, 0.1] + 0.003 * generator.standard_normal((FRAMES, 3)).cumsum(axis=0)
    faces = np.clip(generator.uniform(-2, 2, (FRAMES, 128, 3)), -1, 1) * 0.0225
    cloud = centre[:, None] + faces + 0.002 * generator.standard_normal((FRAMES, 128, 3))
    return {
        CLOUD: cloud.astype(np.float32),
        SEEN: np.ones(FRAMES, np.float32),
        "action": centre[:, :2].astype(np.float32),
    }


def write(root: Path, episodes: int = 2) -> Path:
    writer = DatasetWriter(root, 10, FEATURES, "arm")
    for episode in range(episodes):
        writer.add_episode(frames(episode), "carry")
    writer.finalize()
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("clouds") / "d")


def test_clouds_alone_are_stored_in_half_precision() -> None:
    assert FEATURES[CLOUD] == ArraySpec((128, 3), "float16", "m", "base") and FEATURES[SEEN] == OBSERVED[SEEN]
    pose, picture = ArraySpec((7,), unit="m"), ArraySpec((8, 8, 3), "uint8")
    marks = ArraySpec((16, 3), unit="px")
    assert all(layout.stored(array) == array for array in (pose, picture, marks))


def test_read_back_as_it_was_seen_to_half_a_millimetre(root: Path) -> None:
    dataset = load_dataset(root)
    read, written = dataset.episode(1)[CLOUD], frames(1)[CLOUD]
    assert read.dtype == np.float16 and read.shape == (FRAMES, 128, 3)
    np.testing.assert_array_equal(read, written.astype(np.float16))
    near = np.abs(written) < 1
    # Between 0.5 and 1 a half moves in steps of 2^-11, so that rounding errs by 2^-12 = 0.244 mm.
    assert 2**-13 < np.abs(read.astype(np.float64) - written)[near].max() <= 2**-12
    assert dataset.interface().observation["cloud"] == OBSERVED[CLOUD]


def test_a_cloud_takes_less_than_half_of_its_memory(root: Path) -> None:
    with pq.ParquetFile(root / DATA) as stream:
        columns = [stream.metadata.row_group(0).column(i) for i in range(stream.metadata.num_columns)]
    kinds = {column.path_in_schema.split(".list")[0]: column for column in columns}
    assert kinds[CLOUD].compression == "ZSTD" and "BYTE_STREAM_SPLIT" in kinds[CLOUD].encodings
    assert {kinds[name].compression for name in kinds if name != CLOUD} == {"SNAPPY"}
    raw = 4 * FRAMES * 128 * 3  # as float32
    assert kinds[CLOUD].total_compressed_size < 0.45 * raw
    plain = pa.BufferOutputStream()
    pq.write_table(pq.read_table(root / DATA, columns=[CLOUD]).slice(0, FRAMES), plain, compression="snappy")
    assert kinds[CLOUD].total_compressed_size < 0.8 * plain.tell()


def test_a_dataset_without_clouds_is_written_as_before() -> None:
    assert layout.parquet_options({"action": ArraySpec((2,)), "picture": ArraySpec((8, 8, 3), "uint8")}) == {
        "compression": "snappy"
    }


def test_the_column_is_a_list_of_fixed_size_that_the_datasets_library_knows(root: Path) -> None:
    schema = pq.read_schema(root / DATA)
    assert schema.field(CLOUD).type == pa.list_(pa.list_(pa.float16(), 3), 128)
    described = json.loads(schema.metadata[b"huggingface"])["info"]["features"][CLOUD]
    assert described == {"shape": [128, 3], "dtype": "float16", "_type": "Array2D"}


def test_merged_and_repaired_datasets_keep_clouds(root: Path, tmp_path: Path) -> None:
    one = load_dataset(root)
    both = merge([one, load_dataset(write(tmp_path / "other", 1))])
    assert both.features[CLOUD] == FEATURES[CLOUD] and both.num_episodes == 3
    np.testing.assert_array_equal(both.episode(2)[CLOUD], one.episode(0)[CLOUD])
    repaired = repair_dataset(root, tmp_path / "repaired")
    assert (repaired.episodes, repaired.fault) == (2, "")
    assert (repaired.root / DATA).read_bytes() == (root / DATA).read_bytes()
