"""Claims: which process works on a job, such that a killed process never blocks it and no two ever share it.

A claim is a file JOB.claim-K. It is created exclusively, so of all processes that want generation K one gets it.
A claim is never deleted: a dead one of generation K is taken over by creating K + 1, which again one process wins.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from score_rl.core.errors import ScoreError
from score_rl.core.files import write_json

HEARTBEAT_S = 10.0
"""Seconds between two signs of life of a claim's owner."""
SILENCE_S = 120.0
"""Silence after which an owner on another machine is taken for dead; on this machine the process is looked up."""


@dataclass(frozen=True)
class Owner:
    """A process, such that another process can tell whether it still runs."""

    machine: str
    """Name and boot of the machine: process numbers mean something there only."""
    pid: int
    started: str | None
    """When the process started, in the kernel's count; tells a process from a later one with its number."""
    invocation: str
    """Which call of `score benchmark` it belongs to."""


@dataclass(frozen=True)
class Claim:
    """What a claim's file says."""

    generation: int
    owner: Owner
    state: str
    """`held`, or `released` where its owner let go of it."""


def this_process(invocation: str) -> Owner:
    """The owner that this process is."""
    return Owner(_machine(), os.getpid(), _started(os.getpid()), invocation)


class Claims:
    """The claims in a folder, as one process sees them."""

    def __init__(self, folder: Path, owner: Owner) -> None:
        self.folder, self.owner = folder, owner
        self._seen: dict[Path, tuple[int, float]] = {}

    def path(self, job: str, generation: int) -> Path:
        """File of a claim."""
        return self.folder / f"{file_stem(job)}.claim-{generation}"

    def history(self, job: str) -> list[Claim]:
        """All claims on a job, oldest first."""
        found, generation = [], 1
        while (claim := self._read(self.path(job, generation), generation)) is not None:
            found.append(claim)
            generation += 1
        return found

    def held(self, job: str) -> bool:
        """Whether somebody alive works on a job."""
        return bool(claims := self.history(job)) and self.alive(job, claims[-1])

    def alive(self, job: str, claim: Claim) -> bool:
        """Whether a claim is held by a process that lives, as far as this process can tell."""
        if claim.state == "released":
            return False
        if claim.owner.machine == self.owner.machine:
            return _started(claim.owner.pid) == claim.owner.started and _exists(claim.owner.pid)
        # No two machines' clocks are compared: what counts is how long this process has seen no sign of life.
        path, now = self.path(job, claim.generation), time.monotonic()
        with contextlib.suppress(OSError):
            beat = path.stat().st_mtime_ns
            if self._seen.get(path, (None, 0.0))[0] != beat:
                self._seen[path] = (beat, now)
        return now - self._seen.setdefault(path, (0, now))[1] < SILENCE_S

    def take(self, job: str) -> Claim | None:
        """Claim a job; None where somebody alive holds it or was faster."""
        history = self.history(job)
        if history and self.alive(job, history[-1]):
            return None
        claim = Claim(len(history) + 1, self.owner, "held")
        path = self.path(job, claim.generation)
        # Written first and linked then: the file appears complete, and only if there was none.
        draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        write_json(draft, asdict(claim))
        try:
            os.link(draft, path)
        except FileExistsError:
            return None
        except OSError as error:
            raise ScoreError(f"cannot claim a job in {self.folder}: {error.strerror or error}") from error
        finally:
            draft.unlink(missing_ok=True)
        return claim

    def release(self, job: str, claim: Claim) -> None:
        """Let go of a job."""
        write_json(self.path(job, claim.generation), {**asdict(claim), "state": "released"})

    def mine(self, job: str, claim: Claim) -> bool:
        """Whether no other process has taken the job over, believing this one dead."""
        return not self.path(job, claim.generation + 1).exists()

    @contextmanager
    def heartbeat(self, job: str, claim: Claim) -> Iterator[None]:
        """Touch the claim now and then while the body runs, and release it behind."""
        stop = threading.Event()
        path = self.path(job, claim.generation)

        def beat() -> None:
            while not stop.wait(HEARTBEAT_S):
                with contextlib.suppress(OSError):
                    os.utime(path)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self.release(job, claim)

    def _read(self, path: Path, generation: int) -> Claim | None:
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            return Claim(generation, Owner(**record["owner"]), record["state"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ScoreError(f"{path} is no claim: {error}") from error


def file_stem(job: str) -> str:
    """A job's name as part of a file's name."""
    return job.replace("/", ".")


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _started(pid: int) -> str | None:
    """Start of a process in clock ticks since boot (proc(5), field 22); None where there is no /proc.

    A zombie, dead but not yet waited for, counts as gone.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else fields[19]


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return f"{socket.gethostname()} {boot}".strip()
