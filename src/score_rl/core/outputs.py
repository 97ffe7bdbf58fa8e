"""Where results may go: never onto what they are made from, never onto what this product did not write."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from score_rl.core.errors import ScoreError

RECORD = "run.json"
"""File that makes a folder a run directory; see `core.runs`."""


def resolve_output(path: str | os.PathLike[str], inputs: Mapping[str, Path] | None = None) -> Path:
    """The output's place with symbolic links followed.

    Raises ScoreError where it is no possible path, and where it is, contains or lies in one of the inputs (role ->
    path), or in the run directory that an input is part of.
    """
    text = os.fspath(path)
    if "\0" in text or text in ("", os.sep):
        raise ScoreError(f"cannot write {text!r}: choose the path of a folder or file")
    place = real_path(path)
    for role, given in (inputs or {}).items():
        source = real_path(given)
        whole = source.parent if (source.parent / RECORD).is_file() else source
        for taken in (source, whole):
            if place == taken or place.is_relative_to(taken) or taken.is_relative_to(place):
                relation = "is" if place == taken else "lies in" if place.is_relative_to(taken) else "contains"
                raise ScoreError(f"the output {path} {relation} the {role} {given}; choose another place")
    return place


def real_path(path: str | os.PathLike[str]) -> Path:
    """Absolute path, symbolic links followed. Raises ScoreError where there can be no such path."""
    try:
        place = Path(os.path.realpath(path))
        os.stat(place)
    except FileNotFoundError:
        return place
    except (OSError, ValueError) as error:
        raise ScoreError(f"cannot use {os.fspath(path)!r}: {getattr(error, 'strerror', None) or error}") from error
    return place


def check_folder(path: str | os.PathLike[str]) -> None:
    """Raise ScoreError unless a folder of run directories may be here: no file, and no run directory itself."""
    place = real_path(path)
    if place.exists() and not place.is_dir():
        raise ScoreError(f"{path} is a file, not a directory")
    if (place / RECORD).exists():
        raise ScoreError(f"{path} is the run directory of one stage (it holds {RECORD}); choose another folder")


def check_file(path: Path, overwrite: bool, is_ours: Callable[[Path], bool], what: str) -> None:
    """Raise ScoreError unless a file may be written here: nothing is there, or with `overwrite` a `what` of ours."""
    if path.is_dir():
        raise ScoreError(f"{path} is a folder, expected the path of a file")
    if not path.exists():
        return
    if not is_ours(path):
        raise ScoreError(f"{path} is no {what} that score wrote; not replacing it")
    if not overwrite:
        raise ScoreError(f"{path} exists; choose another --out or pass --overwrite")
