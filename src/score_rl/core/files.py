"""Files that are either the old one or the new one, never half of each."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from score_rl.core.errors import ScoreError
from score_rl.core.records import json_lines, read_json_lines


def to_plain(value: Any) -> Any:
    """The value as JSON knows it: dataclasses and mappings become dicts, sequences and arrays lists.

    Paths become text; NaN and infinities become None, because JSON has no word for them.
    """
    if isinstance(value, enum.Enum):
        return value.name
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return [to_plain(item) for item in sorted(value)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # numpy and torch, scalars and arrays
        return to_plain(value.tolist())
    raise TypeError(f"cannot write a {type(value).__name__} as JSON: {value!r}")


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file atomically; an interruption at any point leaves the old file intact.

    Raises ScoreError where the file cannot be written (full disk, no permission).
    """
    try:
        place = Path(os.path.realpath(path))  # a link stays, and its target is written
        # Always the same name, so that what a killed process left is overwritten when the file is written again.
        temporary = place.with_name(f".{place.name}.tmp")
        place.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: NUL in the name
        raise ScoreError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, place)
    except OSError as error:
        raise ScoreError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):  # gone already, unless something failed
            temporary.unlink()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write a value (see `to_plain`) as readable JSON, atomically."""
    write_text(path, json.dumps(to_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of a file's contents."""
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ScoreError(f"cannot read {path}: {error.strerror or error}") from error


def require_free_space(path: str | os.PathLike[str], size: int) -> None:
    """Raise ScoreError unless the disk that holds (or will hold) the path has `size` bytes free."""
    place = Path(path).absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < size:
        raise ScoreError(f"not enough disk space for {path}: needs {size / 1e6:.0f} MB, {free / 1e6:.0f} MB are free")


def previous_folder(path: str | os.PathLike[str]) -> Path:
    """Where `replace_folder` keeps the old folder for the moment in which it changes places with the new one."""
    path = Path(path)
    return path.with_name(f".{path.name}.previous")


def replace_folder(new: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Move a finished folder to where another one may be, which is deleted.

    A full folder cannot be renamed over another, so there are two renames: the old one aside, the new one into its
    place. Between them nothing is at `path`. An error there puts the old one back at once; a process killed there
    leaves it, complete, as `previous_folder(path)`, from where `restore_folder` brings it back.
    """
    path, previous = Path(path), previous_folder(path)
    if not path.exists():
        os.rename(new, path)
        return
    shutil.rmtree(previous, ignore_errors=True)
    os.rename(path, previous)
    try:
        os.rename(new, path)
    except BaseException:
        restore_folder(path)
        raise
    shutil.rmtree(previous)


def restore_folder(path: str | os.PathLike[str]) -> bool:
    """Bring back the folder whose replacement was cut off between its renames; False where none was."""
    previous = previous_folder(path)
    if Path(path).exists() or not previous.is_dir():
        return False
    os.rename(previous, path)
    return True


class JsonLines:
    """Append-only log of JSON records, one per line; a last line torn by a crash is dropped on opening."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises ScoreError for a file that is none of JSON lines."""
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._ends = [end for _, end in json_lines(self.path)] if self.path.exists() else []
        if self.path.exists() and self.path.stat().st_size > self._end_of(len(self._ends)):
            os.truncate(self.path, self._end_of(len(self._ends)))

    def __len__(self) -> int:
        """Number of records."""
        return len(self._ends)

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one record; it is on the disk when this returns."""
        line = json.dumps(to_plain(record), ensure_ascii=False, allow_nan=False).encode() + b"\n"
        try:
            with self.path.open("ab") as stream:
                stream.write(line)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise ScoreError(f"cannot write {self.path}: {error.strerror or error}") from error
        self._ends.append(self._end_of(len(self._ends)) + len(line))

    def read(self) -> list[dict[str, Any]]:
        """All records, oldest first."""
        return read_json_lines(self.path) if self.path.exists() else []

    def truncate_to(self, records: int) -> None:
        """Keep the first `records` records: a resumed run rewinds its log to its checkpoint."""
        if not 0 <= records <= len(self):
            raise ScoreError(f"{self.path} has {len(self)} records, cannot keep the first {records}")
        if records < len(self):
            os.truncate(self.path, self._end_of(records))
            del self._ends[records:]

    def _end_of(self, records: int) -> int:
        return self._ends[records - 1] if records else 0
