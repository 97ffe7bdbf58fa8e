"""What a LeRobotDataset v3.0 looks like on disk: files, columns, types and statistics (no video).

- meta/info.json: version, rate, features, totals; written last, so that its presence means "complete"
- meta/stats.json: statistics of every feature over all frames
- meta/tasks.parquet: one row per task text
- meta/episodes/chunk-000/file-000.parquet: one row per episode (tasks, extent, statistics, our own columns)
- data/chunk-000/file-000.parquet: one row per frame, one row group per episode
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from score_rl.core.errors import ScoreError, unknown_choice

VERSION = "v3.0"
INFO_PATH = "meta/info.json"
STATS_PATH = "meta/stats.json"
TASKS_PATH = "meta/tasks.parquet"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
FILES_PER_CHUNK = 1000
DATA_FILE_MB = 100
"""A data file is closed when it holds this much (before compression)."""

ARROW_TYPES: dict[str, pa.DataType] = {
    "float32": pa.float32(),
    "float64": pa.float64(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "bool": pa.bool_(),
}
"""Low-dimensional types; a feature of any other type (video, image, text) is not read."""

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
STATISTICS = ("min", "max", "mean", "std", "count", *QUANTILES)


@dataclass(frozen=True)
class Feature:
    """One column of a dataset."""

    dtype: str
    """One of `ARROW_TYPES`."""
    shape: tuple[int, ...]
    """(d,); scalars are (1,)."""
    names: tuple[str, ...] | None = None
    """One name per element, where there are any."""

    @property
    def width(self) -> int:
        """d: numbers per frame."""
        return self.shape[0]

    @property
    def arrow_type(self) -> pa.DataType:
        """Type of the parquet column: scalars are stored bare, wider features as lists of fixed size."""
        element = ARROW_TYPES[self.dtype]
        return element if self.width == 1 else pa.list_(element, self.width)

    def to_info(self) -> dict[str, Any]:
        """Entry of this feature in info.json."""
        names = None if self.names is None else list(self.names)
        return {"dtype": self.dtype, "shape": list(self.shape), "names": names}


INDEX_FEATURES = {
    "timestamp": Feature("float32", (1,)),
    "frame_index": Feature("int64", (1,)),
    "episode_index": Feature("int64", (1,)),
    "index": Feature("int64", (1,)),
    "task_index": Feature("int64", (1,)),
}
"""Columns that every dataset has behind its own: time [s] and frame within the episode, episode, frame within
the dataset, task."""


def check_feature(name: str, feature: Feature) -> None:
    """Raise ScoreError for a feature that cannot be written."""
    if feature.dtype not in ARROW_TYPES:
        raise unknown_choice(f"dtype of feature '{name}'", feature.dtype, ARROW_TYPES)
    if len(feature.shape) != 1 or feature.width < 1:
        raise ScoreError(f"feature '{name}' has shape {feature.shape}; only (d,) with d >= 1 can be written")
    if feature.names is not None and len(feature.names) != feature.width:
        raise ScoreError(f"feature '{name}' has {len(feature.names)} names for {feature.width} elements")
    if name in INDEX_FEATURES or "/" in name or not name:
        raise ScoreError(f"'{name}' is no name for a feature (reserved: {', '.join(INDEX_FEATURES)}; no '/')")


def data_schema(features: Mapping[str, Feature]) -> pa.Schema:
    """Arrow schema of a data file; the metadata tells the `datasets` library the types of its columns."""
    described = {name: _describe(feature) for name, feature in features.items()}
    metadata = {"huggingface": json.dumps({"info": {"features": described}})}
    return pa.schema([pa.field(name, feature.arrow_type) for name, feature in features.items()], metadata)


def tasks_table(tasks: list[str]) -> pa.Table:
    """Table of the task texts, which are the pandas index of the file.

    lerobot 0.4 leaves that index unnamed, later releases call it `task`; both take it as the index, whatever
    its name, because the metadata says so.
    """
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            _pandas_column("task_index", "int64", "int64"),
            _pandas_column("task", "unicode", "object"),
        ],
        "attributes": {},
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.2.0",
    }
    columns = {"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())}
    return pa.table(columns).replace_schema_metadata({"pandas": json.dumps(pandas)})


def episode_statistics(values: NDArray[Any]) -> dict[str, list[Any]]:
    """Statistics of a feature (frames, d), per element; standard deviation of the population, as in lerobot.

    lerobot estimates quantiles from histograms; here they are exact (linear interpolation).
    """
    wide = values.astype(np.float64)
    quantiles = np.quantile(wide, list(QUANTILES.values()), axis=0)
    return {
        "min": values.min(axis=0).tolist(),
        "max": values.max(axis=0).tolist(),
        "mean": wide.mean(axis=0).tolist(),
        "std": wide.std(axis=0).tolist(),
        "count": [len(values)],
        **{name: row.tolist() for name, row in zip(QUANTILES, quantiles, strict=True)},
    }


def statistics_type(feature: Feature, statistic: str) -> pa.DataType:
    """Type of the column `stats/<feature>/<statistic>` of an episodes file."""
    if statistic == "count":
        return pa.list_(pa.int64())
    if statistic in ("min", "max") and feature.dtype in ("bool", "int32", "int64"):
        return pa.list_(pa.bool_() if feature.dtype == "bool" else pa.int64())
    return pa.list_(pa.float64())


def _describe(feature: Feature) -> dict[str, Any]:
    value = {"dtype": feature.dtype, "_type": "Value"}
    return value if feature.width == 1 else {"feature": value, "length": feature.width, "_type": "List"}


def _pandas_column(name: str, pandas_type: str, numpy_type: str) -> dict[str, Any]:
    return {
        "name": name,
        "field_name": name,
        "pandas_type": pandas_type,
        "numpy_type": numpy_type,
        "metadata": None,
    }
