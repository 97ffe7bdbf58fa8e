"""LeRobotDataset v2.1: one data file per episode, and tables as JSON lines. Read only, by way of v3.0's words.

- meta/info.json: as in v3.0, but for the template of the data files
- meta/episodes.jsonl: one line per episode (index, tasks, length)
- data/chunk-000/episode_000000.parquet: one row per frame of one episode
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from score_rl.core.errors import ScoreError
from score_rl.core.ranges import Count, Natural
from score_rl.core.records import parse, read_json_lines

VERSION = "v2.1"
EPISODES_PATH = "meta/episodes.jsonl"
FIELDS = ("episode_index", "tasks", "length")
EPISODES_PER_CHUNK = 1000
"""Of a dataset that does not say."""


@dataclass(frozen=True)
class Row:
    """What is read of a line of episodes.jsonl."""

    episode_index: Natural
    tasks: tuple[str, ...] | str | None
    length: Count


def as_current(info: Mapping[str, Any]) -> dict[str, Any]:
    """info.json whose template of data files has v3.0's fields: a file's index is its episode's."""
    path = str(info["data_path"])
    for old, new in (("{episode_chunk", "{chunk_index"), ("{episode_index", "{file_index")):
        path = path.replace(old, new)
    return {**info, "data_path": path}


def episodes(root: Path, info: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The episodes as columns of v3.0's table. Raises ScoreError where the file is missing or contradicts info."""
    found = rows(root)
    if len(found) != info["total_episodes"]:
        raise ScoreError(
            f"{root}: info.json counts {info['total_episodes']} episodes, {EPISODES_PATH} lists {len(found)}"
        )
    ends = np.cumsum([row["length"] for row in found]).tolist()
    per_chunk = info.get("chunks_size", EPISODES_PER_CHUNK)
    return {
        **{name: [row[name] for row in found] for name in FIELDS},
        "dataset_from_index": [0, *ends[:-1]],
        "dataset_to_index": ends,
        "data/chunk_index": [number // per_chunk for number in range(len(found))],
        "data/file_index": list(range(len(found))),
    }


def rows(root: Path) -> list[dict[str, Any]]:
    """One record per episode, in order. Raises ScoreError where the file is missing or says less."""
    path = root / EPISODES_PATH
    found = read_json_lines(path)
    for number, row in enumerate(found):
        where = f"{path}, line {number + 1}"
        if parse(Row, row, where, others=True).episode_index != number:
            raise ScoreError(f"{where} is of episode {row['episode_index']}, expected {number}")
    return found
