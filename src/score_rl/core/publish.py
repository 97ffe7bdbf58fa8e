"""A run directory's content changes in one step, and what the user keeps there stays.

What replaces a finished run is built in DIRECTORY/.score-rl/next. When it is whole, renaming that to `ready` decides:
from then on the exchange is finished by whoever opens the directory next, however often it is cut off. Before, the
old run is untouched. Only files that the old run's record lists are removed; what else is there stays as it is.

    next/          the new run, while it is being made; resumed as any other run
    ready/         the new run, complete; its files move into place, run.json last
    replaced.json  the old run's record, while its files are being removed
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from score_rl.core.errors import ScoreError
from score_rl.core.outputs import RECORD

PRIVATE = ".score-rl"
"""Folder of a run directory that is ours alone: lock, and whatever is not in place yet."""

Owned = Callable[[Path], Iterable[str]]
"""Relative paths of the files and folders that the run of a record (its file) wrote."""


def next_folder(directory: Path) -> Path:
    """Where a run that is to replace the one in `directory` is made."""
    return directory / PRIVATE / "next"


def content(directory: Path) -> list[Path]:
    """What is in a directory besides our private folder; empty where it does not exist."""
    try:
        return sorted(path for path in directory.iterdir() if path.name != PRIVATE)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ScoreError(f"cannot use {directory} as a folder: {error.strerror or error}") from error


def files_below(directory: Path) -> list[str]:
    """Relative paths of all files, those of our private folder left out, sorted."""
    found = []
    for folder, folders, files in os.walk(directory):
        folders[:] = [name for name in folders if name != PRIVATE]
        found += [Path(folder, name).relative_to(directory).as_posix() for name in files]
    return sorted(found)


def publish(directory: Path, owned: Owned) -> None:
    """Put `next_folder(directory)` in place of the run that is there. Raises ScoreError, with the old run as it was,
    where a new file would fall onto one that the old run did not write."""
    made, record = next_folder(directory), directory / RECORD
    mine = {RECORD, *(_expanded(directory, owned(record)) if record.exists() else ())}
    for name in files_below(made):
        if blocking := _in_the_way(directory, name, mine):
            raise ScoreError(f"{blocking} was not written by the run that is replaced; move it away and repeat")
    os.replace(made, made.with_name("ready"))
    complete(directory, owned)


def complete(directory: Path, owned: Owned) -> None:
    """Finish an exchange that was decided; nothing happens where there is none."""
    private = directory / PRIVATE
    ready, replaced, record = private / "ready", private / "replaced.json", directory / RECORD
    if not ready.is_dir():
        return
    if record.exists() and (ready / RECORD).exists() and not replaced.exists():
        os.replace(record, replaced)
    if replaced.exists():
        _remove(directory, [*_expanded(directory, owned(replaced))])
        replaced.unlink()
    for name in sorted(files_below(ready), key=lambda name: (name == RECORD, name)):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(ready / name, directory / name)
    shutil.rmtree(ready)


def tidy(directory: Path) -> None:
    """Remove the private folder, and the directory itself, where they are empty."""
    for folder in (directory / PRIVATE, directory):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _expanded(directory: Path, names: Iterable[str]) -> set[str]:
    """Files that the names stand for, each a file or a whole folder; nothing outside, nothing through a link."""
    found: set[str] = set()
    for name in names:
        path = directory / name
        if os.path.realpath(path) != os.path.join(os.path.realpath(directory), name):
            continue
        found |= {f"{name}/{inner}" for inner in files_below(path)} if path.is_dir() else {name}
    return found


def _in_the_way(directory: Path, name: str, mine: Collection[str]) -> Path | None:
    """What is where a file is to go, or where one of its folders is, and is not ours to replace."""
    path = directory / name
    for folder in [directory.joinpath(*path.relative_to(directory).parts[:n]) for n in range(1, name.count("/") + 1)]:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            return folder
    return path if (path.exists() or path.is_symlink()) and (name not in mine or path.is_dir()) else None


def _remove(directory: Path, names: Iterable[str]) -> None:
    folders: set[Path] = set()
    for name in names:
        (directory / name).unlink(missing_ok=True)
        folders |= {parent for parent in (directory / name).parents if parent.is_relative_to(directory)}
    for folder in sorted(folders - {directory}, key=lambda folder: -len(folder.parts)):
        with contextlib.suppress(OSError):
            folder.rmdir()  # where nothing of somebody else is left in it
