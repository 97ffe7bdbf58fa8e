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
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from score_rl.contracts import ArraySpec
from score_rl.core.errors import ScoreError
from score_rl.core.interfaces import check_array

VERSION = "v3.0"
OBSERVATION = "observation."
"""Prefix of observed features: actor key K of a world is stored as `observation.K`."""
INFO_PATH = "meta/info.json"
STATS_PATH = "meta/stats.json"
TASKS_PATH = "meta/tasks.parquet"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
FILES_PER_CHUNK = 1000
DATA_FILE_MB = 100
"""A data file is closed when it holds this much (before compression)."""

ARROW_TYPES: dict[str, pa.DataType] = {
    "float16": pa.float16(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "uint8": pa.uint8(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "bool": pa.bool_(),
}
"""Types of arrays; a feature of any other type (video, image, text) is not read."""

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
STATISTICS = ("min", "max", "mean", "std", "count", *QUANTILES)


INDEX_FEATURES = {
    "timestamp": ArraySpec((1,), "float32"),
    "frame_index": ArraySpec((1,), "int64"),
    "episode_index": ArraySpec((1,), "int64"),
    "index": ArraySpec((1,), "int64"),
    "task_index": ArraySpec((1,), "int64"),
}
"""Columns that every dataset has behind its own: time [s] and frame within the episode, episode, frame within
the dataset, task."""


def check_feature(name: str, feature: ArraySpec) -> None:
    """Raise ScoreError for a feature that cannot be written."""
    check_array(feature, f"feature '{name}'", tuple(ARROW_TYPES))
    if name in INDEX_FEATURES or "/" in name or not name:
        raise ScoreError(f"'{name}' is no name for a feature (reserved: {', '.join(INDEX_FEATURES)}; no '/')")


def to_info(feature: ArraySpec) -> dict[str, Any]:
    """Entry of a feature in info.json; unit and frame are ours, and only there where somebody said them."""
    said = {name: value for name, value in (("unit", feature.unit), ("frame", feature.frame)) if value}
    return {"dtype": feature.dtype, "shape": list(feature.shape), "names": list(feature.names) or None, **said}


def from_info(entry: Mapping[str, Any]) -> ArraySpec:
    """The inverse of `to_info`, for datasets of others too: names that are not one per entry of the last axis, or
    not distinct, are left out; a shape without axes is a single number."""
    shape, names = tuple(entry["shape"]) or (1,), plain_names(entry)
    names = names if len(names) == shape[-1] and len(set(names)) == len(names) else ()
    return ArraySpec(shape, entry["dtype"], str(entry.get("unit", "")), str(entry.get("frame", "")), names)


def plain_names(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of a feature in info.json; a list that is wrapped into a mapping such as {"motors": [...]} is taken out
    of it."""
    names = entry.get("names")
    if isinstance(names, dict) and len(names) == 1:
        names = next(iter(names.values()))
    return tuple(str(name) for name in names) if isinstance(names, list) else ()


def arrow_type(feature: ArraySpec) -> pa.DataType:
    """Type of the parquet column: scalars are stored bare, all else as (nested) lists of fixed size."""
    arrow = ARROW_TYPES[feature.dtype]
    for size in reversed(feature.shape if feature.shape != (1,) else ()):
        arrow = pa.list_(arrow, size)
    return arrow


def stored(array: ArraySpec) -> ArraySpec:
    """A view as a recording keeps it: point clouds (points, 3) in metres are rounded to half precision, which errs by
    0.24 mm within 1 m of the origin and by 0.49 mm within 2 m, less than depth cameras do."""
    cloud = array.dtype == "float32" and len(array.shape) == 2 and array.shape[1] == 3 and array.unit == "m"
    return replace(array, dtype="float16") if cloud else array


def is_dense(feature: ArraySpec) -> bool:
    """Whether a feature is an array of several axes of measured numbers, which hardly repeat: a dictionary of them
    costs more than it saves."""
    return len(feature.shape) > 1 and feature.dtype.startswith("float")


def parquet_options(features: Mapping[str, ArraySpec]) -> dict[str, Any]:
    """Options of a `pyarrow.parquet.ParquetWriter` of these columns: snappy, and zstd on byte-split numbers for dense
    ones (the upper bytes of neighbouring points are alike, their lower ones are noise)."""
    if not any(map(is_dense, features.values())):
        return {"compression": "snappy"}
    leaves = {_leaf(name, feature): is_dense(feature) for name, feature in features.items()}
    return {
        "compression": {leaf: "zstd" if dense else "snappy" for leaf, dense in leaves.items()},
        "use_dictionary": [leaf for leaf, dense in leaves.items() if not dense],
        "use_byte_stream_split": [leaf for leaf, dense in leaves.items() if dense],
    }


def data_schema(features: Mapping[str, ArraySpec]) -> pa.Schema:
    """Arrow schema of a data file; the metadata tells the `datasets` library the types of its columns."""
    described = {name: _describe(feature) for name, feature in features.items()}
    metadata = {"huggingface": json.dumps({"info": {"features": described}})}
    return pa.schema([pa.field(name, arrow_type(feature)) for name, feature in features.items()], metadata)


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
    """Statistics of a feature (frames, *shape) per entry of its last axis, so (d,) each: of clouds and images
    they are over all points and pixels too. Standard deviation of the population, as in lerobot.

    lerobot estimates quantiles from histograms; here they are exact (linear interpolation).
    """
    count, values = len(values), values.reshape(-1, values.shape[-1])
    wide = values.astype(np.float64)
    quantiles = np.quantile(wide, list(QUANTILES.values()), axis=0)
    return {
        "min": values.min(axis=0).tolist(),
        "max": values.max(axis=0).tolist(),
        "mean": wide.mean(axis=0).tolist(),
        "std": wide.std(axis=0).tolist(),
        "count": [count],
        **{name: row.tolist() for name, row in zip(QUANTILES, quantiles, strict=True)},
    }


def statistics_type(feature: ArraySpec, statistic: str) -> pa.DataType:
    """Type of the column `stats/<feature>/<statistic>` of an episodes file."""
    if statistic == "count":
        return pa.list_(pa.int64())
    if statistic in ("min", "max") and feature.dtype in ("bool", "uint8", "int32", "int64"):
        return pa.list_(pa.bool_() if feature.dtype == "bool" else pa.int64())
    return pa.list_(pa.float64())


def _describe(feature: ArraySpec) -> dict[str, Any]:
    """A feature as the `datasets` library describes its columns."""
    value = {"dtype": feature.dtype, "_type": "Value"}
    if len(feature.shape) > 1:
        return {"shape": list(feature.shape), "dtype": feature.dtype, "_type": f"Array{len(feature.shape)}D"}
    return value if feature.shape == (1,) else {"feature": value, "length": feature.size, "_type": "List"}


def _leaf(name: str, feature: ArraySpec) -> str:
    """Name of a feature's numbers among the columns of a parquet file."""
    return name + ".list.element" * (len(feature.shape) if feature.shape != (1,) else 0)


def _pandas_column(name: str, pandas_type: str, numpy_type: str) -> dict[str, Any]:
    return {
        "name": name,
        "field_name": name,
        "pandas_type": pandas_type,
        "numpy_type": numpy_type,
        "metadata": None,
    }
