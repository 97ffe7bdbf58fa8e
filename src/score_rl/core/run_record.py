"""A run directory's record, run.json, and what vouches for the directory's files: their digests, which it lists."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from score_rl.core.errors import ScoreError
from score_rl.core.files import sha256, to_plain, write_json
from score_rl.core.outputs import RECORD
from score_rl.core.ranges import NonNegative
from score_rl.core.records import parse_kind, read_json, shown

KIND, VERSION = "score_rl.run", 1
CONFIG, METRICS = "config.json", "metrics.jsonl"


@dataclass(frozen=True)
class RunRecord:
    """The content of run.json."""

    kind: Literal["score_rl.run"]
    version: Literal[1]
    stage: str
    """What was run, e.g. "pretrain"."""
    status: Literal["running", "finished", "retired"]
    """retired: whatever runs here next takes its place, as if --overwrite had been given."""
    command: str
    python: str
    versions: Mapping[str, str | None]
    commit: str
    machine: Mapping[str, Any]
    torch_threads: int
    seeds: Mapping[str, int]
    started_at: str
    resumed: tuple[Mapping[str, str], ...]
    """When and by which commands it was taken up again."""
    wall_s: NonNegative
    """Seconds spent, interruptions left out."""
    summary: Mapping[str, Any]
    """What `Run.finish` was given; empty until then."""
    parts: tuple[str, ...]
    """Files and folders in the directory that the run writes."""
    files: Mapping[str, str]
    """Every file that the finished run wrote -> its SHA-256; empty until then."""
    sha256: str = ""
    """Of the rest of the record."""

    @property
    def finished(self) -> bool:
        """The run is complete."""
        return self.status == "finished"

    @property
    def retired(self) -> bool:
        """The run is to be replaced."""
        return self.status == "retired"


def read_run(directory: str | os.PathLike[str]) -> tuple[RunRecord, dict[str, Any]]:
    """(run.json, config.json) of a run directory. Raises ScoreError where it is none."""
    directory = Path(directory)
    config = read_json(directory / CONFIG)
    if not isinstance(config, dict):
        raise ScoreError(f"{directory / CONFIG} is {shown(config)}, expected a record {{...}}")
    verify(directory, CONFIG)
    return read_record(directory / RECORD), config


def verify(folder: str | os.PathLike[str], *names: str) -> None:
    """Compare files with what the finished run wrote that they belong to; nothing happens where they belong to none.

    names: files relative to `folder`, which is a run directory or up to two levels below one; without names, all of
    the run's files below `folder`. Raises ScoreError that names a file which was changed or is missing.
    """
    folder = Path(os.path.realpath(folder))
    for directory in (folder, *folder.parents[:2]):
        if not (directory / RECORD).is_file():
            continue
        values = read_json(directory / RECORD)
        if not isinstance(values, dict) or values.get("kind") != KIND:
            continue
        wanted = {(folder / name).relative_to(directory).as_posix() for name in names}
        for name, digest in _parse_record(values, directory / RECORD).files.items():
            path = directory / name
            if (name in wanted) if names else path.is_relative_to(folder):
                if not path.is_file():
                    raise ScoreError(f"{path} is missing, which the run in {directory} wrote")
                if sha256(path) != digest:
                    raise ScoreError(f"{path} was changed after the run in {directory} wrote it (another SHA-256)")
        return


def read_record(path: Path) -> RunRecord:
    """Raises ScoreError where a file is no record of a run of ours."""
    values = read_json(path)
    if not isinstance(values, dict) or values.get("kind") != KIND:
        raise ScoreError(f"{path} is no record of a run of score (kind {KIND!r}); not touching its folder")
    return _parse_record(values, path)


def _parse_record(values: dict[str, Any], path: Path) -> RunRecord:
    record = parse_kind(RunRecord, values, path, KIND, VERSION)
    if record.sha256 != _record_digest(record):
        raise ScoreError(f"{path} was changed: it does not agree with its own SHA-256")
    return record


def write_record(directory: Path, record: RunRecord) -> None:
    write_json(directory / RECORD, replace(record, sha256=_record_digest(record)))


def _record_digest(record: RunRecord) -> str:
    text = json.dumps(to_plain(replace(record, sha256="")), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
