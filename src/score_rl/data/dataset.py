"""Reading a LeRobotDataset v3.0 (or v2.1, see `legacy`) into numpy, checked."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from score_rl.contracts import COMMAND, ArraySpec, Interface
from score_rl.core.errors import ScoreError
from score_rl.core.interfaces import action_spec
from score_rl.core.ranges import Natural
from score_rl.core.records import parse
from score_rl.core.run_record import verify
from score_rl.data import legacy
from score_rl.data.info import (
    check_episodes,
    data_file,
    index_features,
    name_notes,
    read_info,
    split_features,
    task_text,
)
from score_rl.data.layout import ARROW_TYPES, OBSERVATION

ACTION = "action"
TIMESTAMP_TOLERANCE = 0.1
"""How far a frame may be from its place on the grid of 1/fps, in frames."""

LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
"""Arrow types that hold the entries of an array."""

_STANDARD_COLUMNS = {"episode_index", "tasks", "length", "dataset_from_index", "dataset_to_index"}


@dataclass(frozen=True)
class Dataset:
    """All frames of all episodes, one after the other."""

    root: Path
    """Where it was read from; named in errors."""
    fps: float
    """Control steps per second."""
    robot_type: str
    """Label of the robot that recorded it."""
    columns: Mapping[str, NDArray[Any]]
    """Feature -> (frames, *shape), in the type that it was recorded in."""
    features: Mapping[str, ArraySpec]
    """What the columns are."""
    starts: NDArray[np.int64]
    """(episodes,) first frame of every episode."""
    ends: NDArray[np.int64]
    """(episodes,) frame behind the last one of every episode."""
    tasks: tuple[str, ...]
    """Task text of every episode."""
    extra: Mapping[str, NDArray[Any]]
    """What the writer recorded once per episode: name -> (episodes, ...)."""
    skipped: tuple[str, ...] = ()
    """Features that were not read: video, images and text."""
    derived: tuple[str, ...] = ()
    """Features that are not in the files but computed from others."""
    notes: tuple[str, ...] = ()
    """What reading left out or took in another way than info.json says, one line each."""

    @property
    def num_episodes(self) -> int:
        """Episodes."""
        return len(self.starts)

    @property
    def num_frames(self) -> int:
        """Frames of all episodes."""
        return int(self.ends[-1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(episodes,) frames of every episode."""
        return self.ends - self.starts

    def episode(self, index: int) -> dict[str, NDArray[Any]]:
        """Feature -> (T, *shape) of one episode (views, not copies)."""
        frames = slice(self.starts[index], self.ends[index])
        return {name: column[frames] for name, column in self.columns.items()}

    def interface(self) -> Interface:
        """What was seen and done, as a policy would: numbers as float32, pixels as uint8. Views are stored for every
        frame like any other key, so they are among the observation. Raises ScoreError without actions."""
        if ACTION not in self.features:
            raise ScoreError(f"{self.root} has no feature '{ACTION}'; it has {', '.join(sorted(self.columns))}")
        action = self.features[ACTION]
        names = action.names or tuple(f"action_{i}" for i in range(action.size))
        return Interface(
            observation={
                name.removeprefix(OBSERVATION): replace(one, dtype="uint8" if one.dtype == "uint8" else "float32")
                for name, one in self.features.items()
                if name.startswith(OBSERVATION)
            },
            action=action_spec(names, action.unit),
            control_rate_hz=self.fps,
        )

    def require(self, features: Mapping[str, tuple[int, ...]], fps: float | None = None) -> None:
        """Raise ScoreError unless the dataset has these features (name -> shape) and this rate."""
        for name, shape in features.items():
            if name not in self.columns:
                hint = " (it is there, but only arrays are read)" if name in self.skipped else ""
                have = ", ".join(sorted(self.columns))
                raise ScoreError(f"{self.root} has no feature '{name}'{hint}; it has {have}")
            if (have_shape := self.columns[name].shape[1:]) != shape:
                raise ScoreError(f"{self.root}: '{name}' has shape {have_shape}, expected {shape}")
        if fps is not None and abs(self.fps - fps) > 1e-6:
            raise ScoreError(f"{self.root} was recorded at {self.fps:g} Hz, expected {fps:g} Hz")


def load_dataset(root: str | os.PathLike[str]) -> Dataset:
    """Read the arrays of a dataset; video, images and text are left out and listed in `Dataset.skipped`.

    `observation.command`, where it was not recorded, is the action of the frame before (zeros in an episode's
    first frame). Raises ScoreError for missing or corrupt files, another format version, columns that do not
    match info.json, gaps in the index, timestamps off the grid of 1/fps, NaN or infinity, and a file that was changed
    after the run that it belongs to wrote it.
    """
    root = Path(root)
    info = read_info(root)
    verify(root)
    features, skipped = split_features(info["features"], root)
    check_episodes(root, info)
    episodes = (
        legacy.episodes(root, info) if info["codebase_version"] == legacy.VERSION else _read_episodes(root, info)
    )
    starts = np.array(episodes["dataset_from_index"], dtype=np.int64)
    ends = np.array(episodes["dataset_to_index"], dtype=np.int64)
    columns = _read_data(root, info, episodes, {**features, **index_features(info["features"], root)})
    _check_index(root, columns, starts, ends, float(info["fps"]))
    columns = {name: columns[name] for name in features}
    _check_finite(root, columns, starts)
    derived: tuple[str, ...] = ()
    if ACTION in columns and OBSERVATION + COMMAND not in columns:
        derived = (OBSERVATION + COMMAND,)
        columns[derived[0]] = _previous(columns[ACTION], starts)
        features[derived[0]] = features[ACTION]
    return Dataset(
        root=root,
        fps=info["fps"],
        robot_type=str(info.get("robot_type")),
        columns=columns,
        features=features,
        starts=starts,
        ends=ends,
        tasks=tuple(task_text(tasks) for tasks in episodes["tasks"]),
        extra={name: _stack(values) for name, values in episodes.items() if _is_extra(name)},
        skipped=skipped,
        derived=derived,
        notes=tuple(note for name in features for note in name_notes(name, info["features"].get(name, {}))),
    )


def _read_episodes(root: Path, info: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Columns of the episodes table (statistics left out), in the order of the episodes."""
    paths = sorted((root / "meta" / "episodes").glob("chunk-*/file-*.parquet"))
    if not paths:
        raise ScoreError(f"{root / 'meta' / 'episodes'} holds no episode files")
    columns: dict[str, list[Any]] = {}
    for path in paths:
        table = read_table(path)
        for name in table.column_names:
            if not name.startswith("stats/"):
                columns.setdefault(name, []).extend(_values(table, name, path))
    needed = _STANDARD_COLUMNS | {"data/chunk_index", "data/file_index"}
    if missing := sorted(needed - columns.keys()):
        raise ScoreError(f"{paths[0]} has no columns {', '.join(missing)}")
    for name in sorted(needed - {"tasks"}):
        columns[name] = parse(list[Natural], columns[name], paths[0], key=name)
    tasks = [[task_text(task)] if isinstance(task, str) or task is None else task for task in columns["tasks"]]
    columns["tasks"] = parse(list[tuple[str, ...]], tasks, paths[0], key="tasks")
    listed = columns["episode_index"]
    if len(listed) != info["total_episodes"] or listed != list(range(len(listed))):
        raise ScoreError(
            f"{root}: info.json counts {info['total_episodes']} episodes, meta/episodes lists "
            f"{len(listed)} (or not in order)"
        )
    return columns


def _values(table: pa.Table, name: str, path: Path) -> list[Any]:
    try:
        return table[name].to_pylist()
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise ScoreError(f"{path} is corrupt: column '{name}': {error}") from error


def _read_data(
    root: Path, info: Mapping[str, Any], episodes: Mapping[str, list[Any]], features: Mapping[str, ArraySpec]
) -> dict[str, NDArray[Any]]:
    """Columns (frames, *shape) of all data files, in the order of the episodes."""
    places = dict.fromkeys(zip(episodes["data/chunk_index"], episodes["data/file_index"], strict=True))
    pieces: dict[str, list[NDArray[Any]]] = {name: [] for name in features}
    for chunk_index, file_index in places:
        path = data_file(root, info, chunk_index, file_index)
        table = read_table(path, list(features))
        for name, feature in features.items():
            pieces[name].append(to_numpy(table[name], name, feature, path))
    columns = {name: np.concatenate(parts) for name, parts in pieces.items()}
    frames = len(columns["index"])
    if frames != info["total_frames"]:
        raise ScoreError(f"{root}: info.json counts {info['total_frames']} frames, the data has {frames}")
    return columns


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    if not path.is_file():
        raise ScoreError(f"{path} does not exist")
    try:
        with pq.ParquetFile(path) as stream:
            missing = sorted(set(columns or ()) - set(stream.schema_arrow.names))
            if not missing:
                return stream.read(columns)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise ScoreError(f"{path} is corrupt: {error}") from error
    raise ScoreError(f"{path} has no columns {', '.join(missing)}, which info.json lists")


def to_numpy(column: pa.ChunkedArray, name: str, feature: ArraySpec, path: Path) -> NDArray[Any]:
    """Column (frames, *shape) of the type that info.json declares."""
    values = column.combine_chunks()
    if isinstance(values, pa.ChunkedArray):  # what older pyarrow returns
        values = pa.concat_arrays(values.chunks)
    shape = feature.shape if pa.types.is_nested(values.type) or feature.shape != (1,) else ()
    frames, missing = len(values), values.null_count
    for size in shape:
        lists = any(is_kind(values.type) for is_kind in LISTS)
        if not lists or not np.all(np.asarray(values.value_lengths().fill_null(size)) == size):
            raise ScoreError(f"{path}: column '{name}' does not have the shape {feature.shape} of info.json")
        values = values.flatten()
        missing += values.null_count
    if missing:
        raise ScoreError(f"{path}: column '{name}' has missing values")
    if values.type != ARROW_TYPES[feature.dtype]:
        raise ScoreError(f"{path}: column '{name}' is {values.type}, info.json says {feature.dtype}")
    return values.to_numpy(zero_copy_only=False).reshape(frames, *feature.shape)


def _check_index(
    root: Path,
    columns: Mapping[str, NDArray[Any]],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    fps: float,
) -> None:
    """The episodes follow each other without gaps, and the frames of each lie on the grid of 1/fps."""
    total = len(columns["index"])
    lengths = ends - starts
    if not len(starts) or np.any(lengths < 1) or starts[0] or ends[-1] != total or np.any(starts[1:] != ends[:-1]):
        raise ScoreError(f"{root}: the episodes in meta/episodes do not cover the {total} frames one by one")
    frame = np.arange(total) - np.repeat(starts, lengths)
    expected = {
        "index": np.arange(total),
        "frame_index": frame,
        "episode_index": np.repeat(np.arange(len(starts)), lengths),
    }
    for name, values in expected.items():
        wrong = np.flatnonzero(columns[name][:, 0] != values)
        if len(wrong):
            row = wrong[0]
            raise ScoreError(f"{root}: {name} is {columns[name][row, 0]} in row {row}, expected {values[row]}")
    wrong = np.flatnonzero(off_grid(columns["timestamp"][:, 0], frame, fps))
    if len(wrong):
        row = wrong[0]
        raise ScoreError(
            f"{root}: timestamp {columns['timestamp'][row, 0]:.4f} s in row {row} (frame {frame[row]}) "
            f"does not fit {fps:g} Hz"
        )


def off_grid(timestamp: NDArray[Any], frame: NDArray[np.int64], fps: float) -> NDArray[np.bool_]:
    """Which frames are not at frame / fps, as far as the timestamps' own type can say: float32 resolves 0.12 ms
    behind 17 minutes, an eighth of a frame at 1000 Hz."""
    resolved = np.spacing(np.abs(timestamp)) if timestamp.dtype.kind == "f" else np.ones(len(timestamp))
    away = np.abs(timestamp.astype(np.float64) * fps - frame)
    return ~(away <= TIMESTAMP_TOLERANCE + resolved.astype(np.float64) * fps)  # NaN is off every grid


def _check_finite(root: Path, columns: Mapping[str, NDArray[Any]], starts: NDArray[np.int64]) -> None:
    for name, values in columns.items():
        bad = np.flatnonzero(~np.isfinite(values).all(axis=tuple(range(1, values.ndim))))
        if len(bad):
            episode = int(np.searchsorted(starts, bad[0], side="right")) - 1
            frame = bad[0] - starts[episode]
            raise ScoreError(f"{root}: NaN or infinity in '{name}', first in episode {episode}, frame {frame}")


def _previous(values: NDArray[Any], starts: NDArray[np.int64]) -> NDArray[Any]:
    """Row t - 1 in row t; zeros in the first row of every episode."""
    shifted = np.roll(values, 1, axis=0)
    shifted[starts] = 0
    return shifted


def _stack(values: list[Any]) -> NDArray[Any]:
    """(episodes,) or (episodes, k) array; lists of different lengths stay objects."""
    if len({len(value) if isinstance(value, list) else None for value in values}) == 1:
        with contextlib.suppress(ValueError):  # lists in lists, of different lengths
            return np.array(values)
    stacked = np.empty(len(values), dtype=object)
    stacked[:] = values
    return stacked


def _is_extra(name: str) -> bool:
    return name not in _STANDARD_COLUMNS and "/" not in name
