"""What a run that Weights & Biases kept offline holds: the records of its .wandb file, without an account."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEADER, BLOCK = 7, 2**15
"""Bytes before the first record and before every fragment; bytes of a block, over whose end no fragment reaches."""


def history(folder: Path) -> list[dict[str, Any]]:
    """The rows of the one run in a folder that `wandb.init` made, with W&B's own entries."""
    rows = [record.history for record in records(folder) if record.HasField("history")]
    return [{".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in row.item} for row in rows]


def records(folder: Path) -> Iterator[Any]:
    """The messages of the file, in LevelDB's log format: whole (1), or first, middle and last (2, 3, 4)."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.glob("*.wandb")
    data, at, pieces = file.read_bytes(), HEADER, b""
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        pieces += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):
            yield Record.FromString(pieces)
            pieces = b""
