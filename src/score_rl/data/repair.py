"""The longest whole prefix of an interrupted recording, read episode by episode and written anew."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from score_rl.contracts import ArraySpec
from score_rl.core.checkpoints import load_tensors
from score_rl.core.errors import ScoreError
from score_rl.core.outputs import real_path, resolve_output
from score_rl.core.records import parse, read_json
from score_rl.data import layout, legacy
from score_rl.data.dataset import off_grid, read_table, to_numpy
from score_rl.data.info import FeatureEntry, index_features, read_info, split_features, task_text
from score_rl.data.writer import DatasetWriter, Staged, Stored, checked_frames

STAGING = "staging"


@dataclass(frozen=True)
class Repair:
    """What was kept of a recording."""

    root: Path
    """The new dataset."""
    episodes: int
    frames: int
    fault: str
    """Why what follows was left behind; "" where everything was whole."""


@dataclass(frozen=True)
class _Source:
    """A recording that may end anywhere."""

    fps: float
    robot_type: str
    features: Mapping[str, ArraySpec]
    episodes: Iterator[tuple[dict[str, NDArray[Any]], str, dict[str, Any]]]
    """(frames by feature, task, further columns) of every whole episode; raises ScoreError at the first fault."""


def repair_dataset(root: str | os.PathLike[str], out: str | os.PathLike[str]) -> Repair:
    """Write the whole episodes before the first fault of the dataset at `root` as a dataset at `out`, a new folder.

    Understands LeRobotDatasets of v3.0 and v2.1 that are cut off, torn or of which tables are missing, and unfinished
    collections of `DatasetWriter`. Raises ScoreError where `out` exists or not one episode is whole.
    """
    root, out = Path(root), Path(out)
    if out.exists():
        raise ScoreError(f"{out} exists already; a repaired dataset goes into a new folder")
    if real_path(out).is_relative_to(real_path(root)):
        raise ScoreError(f"{out} lies in {root}, which stays as it is: choose a folder outside")
    resolve_output(out, {"recording": root})
    unfinished = (root / STAGING).is_dir() and not (root / layout.INFO_PATH).exists()
    source = _staged(root) if unfinished else _recorded(root)
    kept: list[tuple[dict[str, NDArray[Any]], str, dict[str, Any]]] = []
    fault = ""
    try:
        for episode in source.episodes:
            kept.append(episode)
    except ScoreError as error:
        fault = str(error)
    if not kept:
        raise ScoreError(f"{root} has no whole episode" + (f": {fault}" if fault else ""))
    writer = DatasetWriter(out, source.fps, source.features, source.robot_type)
    for frames, task, extra in kept:
        writer.add_episode(frames, task, extra)
    writer.finalize()
    frames_kept = sum(len(next(iter(frames.values()))) for frames, _, _ in kept)
    return Repair(out, len(kept), frames_kept, fault)


def _staged(root: Path) -> _Source:
    """A collection of `DatasetWriter` that was never finished."""
    path = root / STAGING / "spec.json"
    spec = parse(Stored, read_json(path), path, defaults=True, others=True)
    parse(Mapping[str, FeatureEntry], spec.features, path, key="features", defaults=True, others=True)
    features, _ = split_features(spec.features, root)

    def episodes() -> Iterator[tuple[dict[str, NDArray[Any]], str, dict[str, Any]]]:
        for path in sorted((root / STAGING).glob("episode-*.safetensors")):
            tensors, metadata = load_tensors(path, "episode")
            said = parse(Staged, metadata, path)
            frames = {name: tensor.numpy() for name, tensor in tensors.items()}
            yield checked_frames(frames, features, str(path)), said.task, dict(said.extra)

    return _Source(spec.fps, spec.robot_type, features, episodes())


def _recorded(root: Path) -> _Source:
    """A LeRobotDataset, whose data files alone are believed; its tables name the tasks where they can be read."""
    info = read_info(root)
    features, _ = split_features(info["features"], root)
    return _Source(
        float(info["fps"]),
        str(info.get("robot_type")),
        features,
        _read(root, features, index_features(info["features"], root), float(info["fps"]), _listed(root, info)),
    )


def _read(
    root: Path,
    features: Mapping[str, ArraySpec],
    index: Mapping[str, ArraySpec],
    fps: float,
    listed: Mapping[int, tuple[str, int]],
) -> Iterator[tuple[dict[str, NDArray[Any]], str, dict[str, Any]]]:
    """Episode after episode of the data files; listed: episode -> (task, frames) where the tables say them."""
    number = 0
    for path in sorted((root / "data").glob("chunk-*/*.parquet")):
        table = read_table(path, [*features, *index])
        arrays = {name: to_numpy(table[name], name, one, path) for name, one in {**features, **index}.items()}
        belongs = arrays["episode_index"][:, 0]
        for start, end in _runs(belongs):
            frames = {name: column[start:end] for name, column in arrays.items()}
            if belongs[start] != number:
                raise ScoreError(f"{path}: episode {belongs[start]} follows where episode {number} is expected")
            task, length = listed.get(number, ("", end - start))
            _check_whole(frames, features, fps, length, f"{path}: episode {number}")
            yield {name: frames[name] for name in features}, task, {}
            number += 1


def _runs(values: NDArray[Any]) -> list[tuple[int, int]]:
    """(start, end) of every stretch of equal values."""
    edges = np.flatnonzero(np.diff(values)) + 1
    return list(zip([0, *edges], [*edges, len(values)])) if len(values) else []


def _check_whole(
    frames: Mapping[str, NDArray[Any]], features: Mapping[str, ArraySpec], fps: float, length: int, where: str
) -> None:
    """Raise ScoreError for an episode that is cut off, has gaps, or holds NaN."""
    frame = np.arange(len(frames["frame_index"]))
    if len(frame) != length:
        raise ScoreError(f"{where} has {len(frame)} frames of {length}")
    if len(wrong := np.flatnonzero(frames["frame_index"][:, 0] != frame)):
        raise ScoreError(f"{where}: frame {wrong[0]} is missing")
    if len(wrong := np.flatnonzero(off_grid(frames["timestamp"][:, 0], frame, fps))):
        raise ScoreError(f"{where}: the timestamp of frame {wrong[0]} does not fit {fps:g} Hz")
    for name in features:
        finite = np.isfinite(frames[name]).reshape(len(frame), -1).all(axis=1)
        if not finite.all():
            raise ScoreError(f"{where}: NaN or infinity in '{name}', frame {int(np.argmin(finite))}")


def _listed(root: Path, info: Mapping[str, Any]) -> dict[int, tuple[str, int]]:
    """Episode -> (task, frames) of the tables that can be read."""
    rows: list[dict[str, Any]] = []
    try:
        if info["codebase_version"] == legacy.VERSION:
            rows = legacy.rows(root)
        for path in sorted((root / "meta" / "episodes").glob("chunk-*/file-*.parquet")):
            rows += read_table(path, list(legacy.FIELDS)).to_pylist()
    except (ScoreError, pa.ArrowException, ValueError, OverflowError):
        pass  # what was read before the fault is still true
    listed: dict[int, tuple[str, int]] = {}
    with contextlib.suppress(ScoreError):
        for row in rows:
            said = parse(legacy.Row, row, root, others=True)
            listed[said.episode_index] = (task_text(said.tasks), said.length)
    return listed
