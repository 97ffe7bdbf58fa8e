"""Where a robot process listens: a Unix socket that only one robot has, and no file of anybody else is lost for it.

Beside the socket ADDRESS stands ADDRESS.lock, the mark of the robot that made it. It names the process and the
socket's inode, and is locked for as long as the process lives, however it ends. So a socket is replaced only where

- the mark beside it is ours and names this very socket,
- nobody holds the mark, and
- nobody answers at the socket.

Everything else at the address (a file, a folder, a link, somebody else's socket) is refused and left alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from score_rl.core.errors import ScoreError

LONGEST_PATH = 107 if sys.platform == "linux" else 103
"""Bytes of a path that fit into a socket's address."""
MARK = "score-rl robot"
"""First word of a mark."""


def check_address(address: Path) -> None:
    """Raise ScoreError for a path that no socket can have."""
    path = os.fsencode(address)
    if b"\0" in path or not address.name:
        raise ScoreError(f"the address {str(address)!r} is no path of a socket")
    if len(path) > LONGEST_PATH:
        raise ScoreError(f"the address {address} has {len(path)} bytes; a Unix socket's may have {LONGEST_PATH}")


@contextlib.contextmanager
def listening(address: Path) -> Iterator[socket.socket]:
    """A socket that listens at `address` (and never blocks); gone behind the block, with its mark.

    Raises ScoreError where the address cannot be had.
    """
    check_address(address)
    with _marked(address) as mark, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        _remove_dead(address, mark)
        try:
            listener.bind(str(address))
        except OSError as error:
            raise ScoreError(f"cannot listen at {address}: {error.strerror or error}") from error
        inode = os.lstat(address).st_ino
        _write(mark, f"{MARK}\nprocess {os.getpid()}\ninode {inode}\n")
        listener.listen()
        listener.setblocking(False)
        try:
            yield listener
        finally:
            with contextlib.suppress(FileNotFoundError):
                if os.lstat(address).st_ino == inode:  # not what somebody has put there meanwhile
                    os.unlink(address)


def answers(address: Path) -> bool:
    """Somebody listens at the address."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(address))
        except BlockingIOError:  # lives, with many who wait
            return True
        except OSError:
            return False
    return True


@contextlib.contextmanager
def _marked(address: Path) -> Iterator[int]:
    """The mark of an address, locked, as a file descriptor; removed behind the block."""
    path = address.with_name(address.name + ".lock")
    while True:
        try:
            mark = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ScoreError(f"cannot listen at {address}: {path}: {error.strerror or error}") from error
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            process = _words(mark).get("process", "?")
            os.close(mark)
            raise ScoreError(f"another robot (process {process}) lives at {address}") from None
        if _is_at(mark, path):
            break
        os.close(mark)  # its robot has just ended, and removed it
    try:
        if os.fstat(mark).st_size and not _words(mark):
            raise ScoreError(f"cannot listen at {address}: {path} is not a robot's mark; choose another address")
        try:
            yield mark
        finally:
            if _is_at(mark, path):
                os.unlink(path)
    finally:
        os.close(mark)


def _is_at(mark: int, path: Path) -> bool:
    """The open file is the one at the path."""
    try:
        return os.path.samestat(os.fstat(mark), os.lstat(path))
    except FileNotFoundError:
        return False


def _remove_dead(address: Path, mark: int) -> None:
    """Remove what a robot that was killed has left. Raises ScoreError where anything else is at the address."""
    try:
        found = os.lstat(address)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ScoreError(f"cannot listen at {address}: {error.strerror or error}") from error
    ours = stat.S_ISSOCK(found.st_mode) and found.st_uid == os.getuid()
    if ours and answers(address):
        raise ScoreError(f"somebody listens at {address} already; choose another address")
    if not ours or _words(mark).get("inode") != str(found.st_ino):
        raise ScoreError(f"{address} exists and is no socket of a robot that has ended; choose another address")
    os.unlink(address)


def _words(mark: int) -> dict[str, str]:
    """{name: value} of a mark; empty for a file that is none."""
    lines = os.pread(mark, 1000, 0).decode("ascii", errors="replace").splitlines()
    if lines[:1] != [MARK]:
        return {}
    return {"mark": MARK} | dict(line.split(" ", 1) for line in lines[1:] if " " in line)


def _write(mark: int, text: str) -> None:
    os.ftruncate(mark, 0)
    os.pwrite(mark, text.encode(), 0)
