"""One owner at a time: a lock that ends with the process that holds it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any, Self

from score_rl.core.errors import ScoreError

_held: dict[Path, Lock] = {}  # Locks of this process.


class InUse(ScoreError):
    """Another process holds the lock: the message names it, and since when."""


class Lock:
    """A lock file, held (flock) from construction to `release` or to the end of the process, however it ends.

    Within one process the later owner takes over: an object that was left behind by an error must not be in the way
    of the next attempt.
    """

    def __init__(self, path: Path, what: Path) -> None:
        """what: what it guards. Raises InUse where another process holds it, ScoreError where there can be none."""
        self.path, self.what = path, what
        if path in _held:
            _held[path].release()
        self._file = self._acquire()
        _held[path] = self

    @property
    def held(self) -> bool:
        """Neither released nor taken over."""
        return not self._file.closed

    def check(self) -> None:
        """Raise ScoreError where the lock is not held any more."""
        if not self.held:
            raise ScoreError(f"{self.what} belongs to a later run of this process, or to none")

    def release(self) -> None:
        """Give the lock back and remove its file; calling it twice is allowed."""
        if self.held:
            _held.pop(self.path, None)
            with contextlib.suppress(OSError):
                self.path.unlink()  # while it is still held, so that it is nobody else's
            self._file.close()

    def _acquire(self) -> Any:
        while True:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                file = self.path.open("a+", encoding="utf-8")
            except FileNotFoundError:  # its folder was removed in between
                continue
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or error
                raise ScoreError(f"cannot write {self.what}: {reason}") from error
            try:
                if _try(file, self.path):
                    if _is_at(file, self.path):  # else: removed by its last owner meanwhile
                        break
                else:
                    file.seek(0)
                    raise InUse(f"{self.what} is in use by {_owner(file.read())}")
            except BaseException:
                file.close()
                raise
            file.close()
        file.truncate(0)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        file.write(json.dumps({"pid": os.getpid(), "command": command_line(), "since": since}))
        file.flush()
        return file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_held(path: Path) -> bool:
    """Whether a process, this one included, holds the lock of a path. Raises ScoreError where there can be none."""
    try:
        with path.open("r+", encoding="utf-8") as file:
            return not _try(file, path)
    except FileNotFoundError:
        return False


def _try(file: Any, path: Path) -> bool:
    """Lock a file, unless another process has."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise ScoreError(f"cannot lock {path}: {error.strerror}; the file system must support flock(2)") from error
    return True


def _is_at(file: Any, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _owner(text: str) -> str:
    """The holder by what it wrote about itself, of which a part may be missing just now."""
    try:
        about = json.loads(text)
        return f"process {about['pid']} ({about['command']}) since {about['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process, which has just begun"


def command_line() -> str:
    """The command as typed, with the program's folder left out."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
