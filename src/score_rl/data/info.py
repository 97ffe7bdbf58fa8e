"""meta/info.json of a LeRobotDataset: what it must say, and what follows from it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

from score_rl.contracts import ArraySpec
from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.ranges import Count, Natural, Positive
from score_rl.core.records import parse, read_json, shown
from score_rl.data import layout, legacy
from score_rl.data.environment import JOINS
from score_rl.data.layout import ARROW_TYPES, INDEX_FEATURES

_FIELDS = [
    [name, spec, None]
    for name in ("chunk_index", "file_index")
    for spec in ("", "d", *map("0{}d".format, range(1, 10)))
]
"""[name, format, conversion] of what a template of data files may hold."""


@dataclass(frozen=True)
class FeatureEntry:
    """A feature as info.json lists it."""

    dtype: str
    shape: tuple[Any, ...]
    names: Any = None
    """A list of names, or such a list in a mapping of one entry."""
    unit: str = ""
    frame: str = ""
    joins: tuple[str, ...] = ()
    """Columns that this one repeats, see `data.environment`."""


@dataclass(frozen=True)
class Info:
    """What is read of info.json."""

    codebase_version: str
    fps: Positive
    features: Mapping[str, FeatureEntry]
    data_path: str
    total_frames: Natural
    total_episodes: Natural
    robot_type: str | None = None
    chunks_size: Count = legacy.EPISODES_PER_CHUNK


def read_info(root: Path) -> dict[str, Any]:
    """The content of info.json in v3.0's words. Raises ScoreError where it is none."""
    if not root.is_dir():
        raise ScoreError(f"{root} does not exist")
    if (root / "staging").is_dir() and not (root / layout.INFO_PATH).exists():
        raise ScoreError(f"{root} is unfinished: resume its collection to complete it")
    path = root / layout.INFO_PATH
    values = read_json(path)
    version = values.get("codebase_version") if isinstance(values, dict) else None
    if isinstance(version, str) and version not in (layout.VERSION, legacy.VERSION):
        raise ScoreError(
            f"{root} is a LeRobotDataset {version}; this reads {layout.VERSION} and {legacy.VERSION} "
            "(convert it with lerobot's own conversion script)"
        )
    parse(Info, values, path, defaults=True, others=True)
    info = legacy.as_current(values) if version == legacy.VERSION else values
    data_file(root, info, 0, 0)
    return info


def data_file(root: Path, info: Mapping[str, Any], chunk_index: int, file_index: int) -> Path:
    """Path of a data file. Raises ScoreError where info.json's template is none, or leads out of the dataset."""
    template = info["data_path"]
    try:
        fields = [field for _, *field in Formatter().parse(template) if field[0] is not None]
    except ValueError:
        fields = [[]]
    if any(field not in _FIELDS for field in fields) or "\0" in template:
        raise ScoreError(
            f"{root / layout.INFO_PATH}: data_path is {shown(template)}, expected a template of "
            f"chunk_index and file_index such as {layout.DATA_PATH}"
        )
    path = root / template.format(chunk_index=chunk_index, file_index=file_index)
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        raise ScoreError(f"{root / layout.INFO_PATH}: data_path is {shown(template)}, which leads out of {root}")
    return path


def check_episodes(root: Path, info: Mapping[str, Any]) -> None:
    """Raise ScoreError for a dataset without episodes."""
    if not info["total_episodes"]:
        raise ScoreError(f"{root} has no episodes: {layout.INFO_PATH} counts total_episodes 0")


def index_features(entries: Mapping[str, Any], root: Path) -> dict[str, ArraySpec]:
    """The index columns in the types that info.json gives them, e.g. timestamps as float64. Raises ScoreError."""
    found = {}
    for name, usual in INDEX_FEATURES.items():
        dtype, kind = entries.get(name, {}).get("dtype", usual.dtype), usual.dtype.rstrip("0123456789")
        fitting = [each for each in ARROW_TYPES if each.startswith(kind)]
        if dtype not in fitting:
            raise unknown_choice(f"dtype of {name} in {root / layout.INFO_PATH}", dtype, fitting)
        found[name] = ArraySpec(usual.shape, dtype)
    return found


def task_text(tasks: Any) -> str:
    """Text of an episode's tasks, which some writers store as a list and others as the text itself."""
    if isinstance(tasks, str) or tasks is None:
        return tasks or ""
    return ", ".join(str(task) for task in tasks)


def name_notes(name: str, entry: Mapping[str, Any]) -> list[str]:
    """Why the names that info.json gives a feature are not used, where they are not."""
    names, shape = layout.plain_names(entry), tuple(entry.get("shape", ()))
    if len(names) in (0, len(shape)) and len(set(names)) == len(names):
        return []  # one name for each axis, as of images, says nothing about entries
    if len(names) != shape[-1]:
        return [f"'{name}' has {len(names)} names for {shape[-1]} entries: they are left out"]
    twice = sorted({one for one in names if names.count(one) > 1})
    return [f"'{name}' names {', '.join(twice)} more than once: its names are left out"] if twice else []


def split_features(entries: Mapping[str, Any], root: Path) -> tuple[dict[str, ArraySpec], tuple[str, ...]]:
    """Features that are arrays, and the names of the others; what only joins features is neither."""
    features: dict[str, ArraySpec] = {}
    skipped: list[str] = []
    for name, entry in entries.items():
        if name in INDEX_FEATURES or entry.get(JOINS):
            continue
        if entry["dtype"] in ARROW_TYPES:
            where = f"features.{name}.shape"
            shape = parse(tuple[Count, ...], entry["shape"], root / layout.INFO_PATH, key=where)
            features[name] = layout.from_info({**entry, "shape": shape})
            layout.check_feature(name, features[name])
        else:
            skipped.append(name)
    if not features:
        raise ScoreError(f"{root} has no features that are arrays; it has {', '.join(skipped) or 'none'}")
    return features, tuple(skipped)
