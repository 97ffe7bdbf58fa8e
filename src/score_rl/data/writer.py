"""Writing a LeRobotDataset v3.0 episode by episode: a killed collection keeps every finished episode."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from score_rl.contracts import ArraySpec
from score_rl.core.checkpoints import load_tensors, save_tensors
from score_rl.core.errors import ScoreError
from score_rl.core.files import require_free_space, to_plain, write_bytes, write_json
from score_rl.core.ranges import Natural
from score_rl.core.records import parse, read_json
from score_rl.data import layout
from score_rl.data.environment import ENVIRONMENT, JOINS, joined_column, joined_feature, joined_names
from score_rl.data.layout import INDEX_FEATURES

EpisodeValue = bool | int | float | str | Sequence[float]
"""What may be recorded once per episode, beside the frames."""


@dataclass(frozen=True)
class Stored:
    """What is read of a dataset's info.json or of a writer's own notes."""

    fps: float
    robot_type: str
    features: Mapping[str, Any]
    total_episodes: Natural = 0


@dataclass(frozen=True)
class Staged:
    """What a staged episode says besides its frames."""

    kind: str
    task: str
    extra: Mapping[str, Any]


class DatasetWriter:
    """Collects episodes in a staging folder and merges them into a dataset at the end.

    Opening a folder in which a writer was killed continues behind its last complete episode; the finished
    dataset is byte for byte that of an uninterrupted writer.
    """

    def __init__(
        self, root: str | os.PathLike[str], fps: int, features: Mapping[str, ArraySpec], robot_type: str
    ) -> None:
        """fps: control steps per second. Raises ScoreError where `root` holds a dataset of another kind."""
        if fps != int(fps) or fps < 1:
            raise ScoreError(f"fps must be a positive whole number (LeRobot stores an integer), got {fps}")
        for name, feature in features.items():
            layout.check_feature(name, feature)
        self.root = Path(root)
        self.fps = int(fps)
        self.features = dict(features)
        self.robot_type = robot_type
        self._staging = self.root / "staging"
        self._open()

    @property
    def finalized(self) -> bool:
        """Whether the dataset is complete; nothing can be added then."""
        return (self.root / layout.INFO_PATH).exists()

    @property
    def num_episodes(self) -> int:
        """Episodes that are safe on disk: where to continue."""
        return self._num_episodes

    def add_episode(
        self,
        frames: Mapping[str, NDArray[Any]],
        task: str,
        extra: Mapping[str, EpisodeValue] | None = None,
    ) -> int:
        """Store an episode and return its index; it survives a crash from here on.

        frames: one array (T, *shape) per feature, (T,) allowed for (1,); index columns are added by the writer.
        extra: further columns of the episodes table (e.g. its seed), the same names for every episode.
        Raises ScoreError for missing or unknown features, other shapes or lengths, and NaN or infinity.
        """
        if self.finalized:
            raise ScoreError(f"{self.root} is a finished dataset; nothing can be added to it")
        episode = self._num_episodes
        arrays = checked_frames(frames, self.features, f"episode {episode}")
        extra = _checked_extra(extra or {}, f"episode {episode}")
        if episode and sorted(extra) != self._extra_names:
            raise ScoreError(
                f"episode {episode} has the extra columns {sorted(extra)}, earlier ones {self._extra_names}"
            )
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        metadata = {"kind": "episode", "task": task, "extra": extra}
        save_tensors(self._staged(episode), tensors, metadata)
        self._extra_names = sorted(extra)
        self._num_episodes += 1
        return episode

    def finalize(self) -> None:
        """Merge the staged episodes into the dataset; repeating or interrupting it does no harm.

        Raises ScoreError without episodes, or where the disk has no room for the result.
        """
        if not self.finalized:
            if not self._num_episodes:
                raise ScoreError(f"{self.root} has no episodes to make a dataset of")
            staged_size = sum(path.stat().st_size for path in self._staging.iterdir())
            require_free_space(self.root, 2 * staged_size)
            self._merge()
        shutil.rmtree(self._staging, ignore_errors=True)

    @property
    def _written(self) -> dict[str, ArraySpec]:
        """What the data files hold: the features, what joins some of them for lerobot's policies, the index."""
        return {**self.features, **joined_feature(self.features), **INDEX_FEATURES}

    def _open(self) -> None:
        spec = {
            "fps": self.fps,
            "robot_type": self.robot_type,
            "features": {name: layout.to_info(feature) for name, feature in self.features.items()},
        }
        path = self.root / layout.INFO_PATH if self.finalized else self._staging / "spec.json"
        total = 0
        if path.exists():
            stored = parse(Stored, read_json(path), path, defaults=True, others=True)
            total = stored.total_episodes
            ours = {*INDEX_FEATURES, *joined_feature(self.features)}
            own = {name: entry for name, entry in stored.features.items() if name not in ours}
            found = {"fps": stored.fps, "robot_type": stored.robot_type, "features": own}
            different = [key for key in spec if spec[key] != found[key]]
            if different:
                raise ScoreError(f"{self.root} holds a dataset with other {', '.join(different)}")
        elif self.root.exists() and any(path != self._staging for path in self.root.iterdir()):
            raise ScoreError(f"{self.root} is not empty and holds no dataset")
        else:
            write_json(path, spec)
        if self.finalized:
            self._num_episodes = total
            return
        self._num_episodes = 0
        while self._staged(self._num_episodes).exists():
            self._num_episodes += 1
        self._extra_names = sorted(self._load(0)[1]["extra"]) if self._num_episodes else []

    def _staged(self, episode: int) -> Path:
        return self._staging / f"episode-{episode:06d}.safetensors"

    def _load(self, episode: int) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        path = self._staged(episode)
        tensors, metadata = load_tensors(path, "episode")
        if tensors.keys() != self.features.keys():
            raise ScoreError(f"{path} holds {', '.join(tensors)}, expected {', '.join(self.features)}")
        return {name: tensors[name].numpy() for name in self.features}, vars(parse(Staged, metadata, path))

    def _merge(self) -> None:
        """Write every file of the dataset, info.json last."""
        tasks: list[str] = []
        rows: list[dict[str, Any]] = []
        pieces: list[dict[str, NDArray[Any]]] = []
        files = _DataFiles(self.root, self._written)
        total = 0
        for episode in range(self._num_episodes):
            frames, metadata = self._load(episode)
            if metadata["task"] not in tasks:
                tasks.append(metadata["task"])
            length = len(next(iter(frames.values())))
            task_index = tasks.index(metadata["task"])
            joined = joined_column(frames, self.features)
            columns = {**frames, **joined, **_index_columns(length, self.fps, episode, total, task_index)}
            chunk_index, file_index = files.add(columns)
            row = {"episode_index": episode, "tasks": [metadata["task"]], "length": length}
            row.update({"data/chunk_index": chunk_index, "data/file_index": file_index})
            row.update(dataset_from_index=total, dataset_to_index=total + length)
            for name, values in columns.items():
                for statistic, value in layout.episode_statistics(values).items():
                    row[f"stats/{name}/{statistic}"] = value
            row.update({"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}, **metadata["extra"])
            rows.append(row)
            pieces.append(columns)
            total += length
        files.close()
        _write_parquet(self.root / layout.EPISODES_PATH.format(chunk_index=0, file_index=0), [self._table(rows)])
        _write_parquet(self.root / layout.TASKS_PATH, [layout.tasks_table(tasks)])
        joined = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
        statistics = {name: layout.episode_statistics(values) for name, values in joined.items()}
        write_json(self.root / layout.STATS_PATH, statistics)
        write_json(self.root / layout.INFO_PATH, self._info(total, len(tasks)))

    def _table(self, rows: list[dict[str, Any]]) -> pa.Table:
        """The episodes table; columns of our own, whose types pyarrow infers, stand at its end."""
        types = {"episode_index": pa.int64(), "tasks": pa.list_(pa.string()), "length": pa.int64()}
        types.update({"data/chunk_index": pa.int64(), "data/file_index": pa.int64()})
        types.update(dataset_from_index=pa.int64(), dataset_to_index=pa.int64())
        for name, feature in self._written.items():
            for statistic in layout.STATISTICS:
                types[f"stats/{name}/{statistic}"] = layout.statistics_type(feature, statistic)
        types.update({"meta/episodes/chunk_index": pa.int64(), "meta/episodes/file_index": pa.int64()})
        columns = {}
        for name in rows[0]:
            try:
                columns[name] = pa.array([row[name] for row in rows], types.get(name))
            except pa.ArrowInvalid as error:
                raise ScoreError(f"extra column '{name}' mixes types: {error}") from error
        return pa.table(columns)

    def _info(self, frames: int, tasks: int) -> dict[str, Any]:
        features = {name: layout.to_info(feature) for name, feature in self._written.items()}
        if ENVIRONMENT not in self.features and ENVIRONMENT in features:
            features[ENVIRONMENT][JOINS] = list(joined_names(self.features))
        return {
            "codebase_version": layout.VERSION,
            "robot_type": self.robot_type,
            "total_episodes": self._num_episodes,
            "total_frames": frames,
            "total_tasks": tasks,
            "chunks_size": layout.FILES_PER_CHUNK,
            "data_files_size_in_mb": layout.DATA_FILE_MB,
            "video_files_size_in_mb": 200,
            "fps": self.fps,
            "splits": {"train": f"0:{self._num_episodes}"},
            "data_path": layout.DATA_PATH,
            "video_path": None,
            "features": features,
        }


class _DataFiles:
    """Data files of limited size, one row group per episode."""

    def __init__(self, root: Path, features: Mapping[str, ArraySpec]) -> None:
        self._root, self._features = root, features
        self._schema = layout.data_schema(features)
        self._number, self._tables = 0, list[pa.Table]()

    def add(self, columns: Mapping[str, NDArray[Any]]) -> tuple[int, int]:
        """Append an episode; returns (chunk index, file index) of where it goes."""
        if sum(table.nbytes for table in self._tables) >= layout.DATA_FILE_MB * 1e6:
            self.close()
        arrays = [_arrow_array(columns[name], feature) for name, feature in self._features.items()]
        self._tables.append(pa.Table.from_arrays(arrays, schema=self._schema))
        return divmod(self._number, layout.FILES_PER_CHUNK)

    def close(self) -> None:
        """Write the current file and begin the next."""
        chunk_index, file_index = divmod(self._number, layout.FILES_PER_CHUNK)
        path = self._root / layout.DATA_PATH.format(chunk_index=chunk_index, file_index=file_index)
        _write_parquet(path, self._tables, **layout.parquet_options(self._features))
        self._number, self._tables = self._number + 1, []


def _write_parquet(path: Path, tables: Sequence[pa.Table], **options: Any) -> None:
    """Write tables of one schema as the row groups of one file, atomically; options: `ParquetWriter`'s."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, tables[0].schema, **options) as stream:
        for table in tables:
            stream.write_table(table, row_group_size=len(table))
    write_bytes(path, sink.getvalue().to_pybytes())


def _arrow_array(values: NDArray[Any], feature: ArraySpec) -> pa.Array:
    array = pa.array(np.ascontiguousarray(values).reshape(-1), layout.ARROW_TYPES[feature.dtype])
    for size in reversed(feature.shape if feature.shape != (1,) else ()):
        array = pa.FixedSizeListArray.from_arrays(array, size)
    return array


def _index_columns(length: int, fps: int, episode: int, first: int, task: int) -> dict[str, NDArray[Any]]:
    frame = np.arange(length, dtype=np.int64)[:, None]
    return {
        "timestamp": (frame / fps).astype(np.float32),
        "frame_index": frame,
        "episode_index": np.full_like(frame, episode),
        "index": first + frame,
        "task_index": np.full_like(frame, task),
    }


def checked_frames(
    frames: Mapping[str, NDArray[Any]], features: Mapping[str, ArraySpec], where: str
) -> dict[str, NDArray[Any]]:
    """Frames of an episode as its features are stored. Raises ScoreError; see `DatasetWriter.add_episode`."""
    if frames.keys() != features.keys():
        missing, unknown = sorted(features.keys() - frames.keys()), sorted(frames.keys() - features.keys())
        raise ScoreError(f"{where}: missing features {missing}, unknown features {unknown}")
    arrays: dict[str, NDArray[Any]] = {}
    for name, feature in features.items():
        array = np.asarray(frames[name])
        array = array[:, None] if array.ndim == 1 and feature.shape == (1,) else array
        if array.shape[1:] != feature.shape or not len(array):
            expected = ", ".join(map(str, feature.shape))
            raise ScoreError(f"{where}: feature '{name}' has shape {array.shape}, expected (frames, {expected})")
        if not np.can_cast(array.dtype, feature.dtype, "same_kind"):
            raise ScoreError(f"{where}: feature '{name}' is {array.dtype}, expected {feature.dtype}")
        with np.errstate(over="ignore"):
            arrays[name] = array.astype(feature.dtype)  # what a small float cannot hold becomes infinite
        if arrays[name].dtype.kind in "iu" and not np.array_equal(arrays[name], array):
            raise ScoreError(f"{where}: feature '{name}' holds numbers that {feature.dtype} cannot")
        if not np.isfinite(arrays[name]).all():
            raise ScoreError(f"{where}: NaN or infinity in feature '{name}', {_first_bad(arrays[name])}")
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ScoreError(f"{where}: features of different lengths {lengths}")
    return arrays


def _checked_extra(extra: Mapping[str, EpisodeValue], where: str) -> dict[str, Any]:
    plain: dict[str, Any] = to_plain(extra)
    taken = {"episode_index", "tasks", "length", "dataset_from_index", "dataset_to_index"}
    for name, value in plain.items():
        if name in taken or "/" in name or not name:
            raise ScoreError(f"{where}: '{name}' is no name for an extra column")
        for item in value if isinstance(value, list) else [value]:
            if not isinstance(item, (bool, int, float, str)) or (isinstance(item, float) and math.isnan(item)):
                raise ScoreError(f"{where}: extra column '{name}' has the value {extra[name]!r}")
    return plain


def _first_bad(array: NDArray[Any]) -> str:
    frame, *element = np.argwhere(~np.isfinite(array))[0].tolist()
    return f"first in frame {frame}, element {', '.join(map(str, element))}"
