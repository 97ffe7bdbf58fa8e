"""A small dataset to put faults into, and hands that put them there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from score_rl.contracts import ArraySpec
from score_rl.core.files import write_json
from score_rl.core.records import read_json
from score_rl.data import layout
from score_rl.data.writer import DatasetWriter

DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"


def swing(length: int, phase: float = 0.0) -> dict[str, np.ndarray]:
    """A smooth episode: 3 observed numbers and 2 actions in [-1, 1]."""
    t = np.arange(length, dtype=np.float32)[:, None] / 10 + phase
    return {
        "observation.state": np.hstack([np.sin(t), np.cos(t), np.sin(2 * t)]).astype(np.float32),
        "action": np.hstack([np.sin(t + 0.1), np.cos(t + 0.1)]).astype(np.float32),
    }


def write(root: Path, lengths: tuple[int, ...] = (40, 50, 60), fps: int = 10, change=None, **tasks: str) -> Path:
    """Dataset of swings; `change(episode, frames)` edits the arrays of an episode in place."""
    features = {"observation.state": ArraySpec((3,)), "action": ArraySpec((2,))}
    writer = DatasetWriter(root, fps, features, "arm")
    for episode, length in enumerate(lengths):
        frames = swing(length, phase=float(episode))
        if change is not None:
            change(episode, frames)
        writer.add_episode(frames, tasks.get("task", "pinch"))
    writer.finalize()
    return root


def edit_info(root: Path, **changes: object) -> None:
    write_json(root / layout.INFO_PATH, {**read_json(root / layout.INFO_PATH), **changes})


def edit_feature(root: Path, name: str, **changes: object) -> None:
    """Change a feature's entry in info.json."""
    features = read_json(root / layout.INFO_PATH)["features"]
    edit_info(root, features={**features, name: {**features.get(name, {}), **changes}})


def edit_column(root: Path, name: str, values: pa.Array, path: str = DATA) -> None:
    """Replace a column of a table, or add it."""
    table = pq.read_table(root / path)
    if name in table.column_names:
        place = table.column_names.index(name)
        table = table.set_column(place, table.schema.field(name).with_type(values.type), values)
    else:
        table = table.append_column(name, values)
    pq.write_table(table, root / path)


def as_version21(root: Path) -> Path:
    """Rewrite a dataset of v3.0 as one of v2.1: one file per episode, tables as JSON lines."""
    table, rows = pq.read_table(root / DATA), pq.read_table(root / EPISODES).to_pylist()
    lines = []
    for row in rows:
        part = table.slice(row["dataset_from_index"], row["length"])
        pq.write_table(part, root / "data" / "chunk-000" / f"episode_{row['episode_index']:06d}.parquet")
        lines.append({name: row[name] for name in ("episode_index", "tasks", "length")})
    (root / DATA).unlink()
    (root / EPISODES).unlink()
    (root / "meta" / "episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    path = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
    edit_info(root, codebase_version="v2.1", data_path=path, chunks_size=1000)
    return root
