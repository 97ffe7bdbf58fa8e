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


class Lock:
    """A lock file, held (flock) from construction to `release` or to the end of the process, however it ends.

    Within one process the later owner takes over: an object that was left behind by an error must not be in the way
    of the next attempt.
    """

    def __init__(self, path: Path, what: Path) -> None:
        """`what` is what it guards. Raises ScoreError that names the process that holds it, and since when."""
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
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(file.fileno()).st_nlink:  # else: removed by its last owner meanwhile
                    break
            except BlockingIOError:
                file.seek(0)
                text = file.read()
                file.close()
                raise ScoreError(f"{self.what} is in use by {_owner(text)}") from None
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
