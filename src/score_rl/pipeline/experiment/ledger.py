"""What is known of every job, in files only: any process may read it, and who works on a job holds its lock.

OUT/jobs/ holds, per job, a lock and a record {status, digest, attempts, wall_s, error}; status is `started`, `done`
or `failed`. A lock (flock(2)) is the kernel's: it goes with the process that holds it, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from score_rl.core.errors import ScoreError
from score_rl.core.files import write_json
from score_rl.core.records import parse, read_json
from score_rl.pipeline.experiment.job import Job

DONE, FAILED, SKIPPED, RUNNING, UNFINISHED, READY, WAITING = (
    "done",
    "failed",
    "skipped",
    "running",
    "unfinished",
    "ready",
    "waiting",
)
"""States: `unfinished` was begun and is nobody's now, `skipped` needs something that failed."""
POLL_S = 0.5
"""Seconds between two tries to get a lock that somebody else holds."""


class Ledger:
    """The jobs of an experiment in the folder OUT."""

    def __init__(self, out: Path, jobs: Sequence[Job]) -> None:
        self.out, self.jobs = Path(out), list(jobs)
        self._done: dict[str, dict[str, Any]] = {}

    def directory(self, name: str) -> Path:
        """Run directory of a job."""
        return self.out / "runs" / name

    def log_path(self, job: Job) -> Path:
        """What the job printed."""
        return self.out / "logs" / f"{_stem(job)}.log"

    def record(self, job: Job) -> dict[str, Any]:
        """The job's record; empty where it was never started."""
        if job.name in self._done:
            return self._done[job.name]
        path = self._path(job, "json")
        record = parse(dict[str, Any], read_json(path), path) if path.exists() else {}
        if record.get("status") == DONE:
            self._done[job.name] = record
        return record

    def write(self, job: Job, status: str, wall_s: float = 0.0, error: str = "", attempts: int = 0) -> None:
        """Write the job's record; `attempts` more than before."""
        attempts += self.record(job).get("attempts", 0)
        known = {"job": job.name, "status": status, "digest": job.digest, "attempts": attempts}
        known |= {"machine": socket.gethostname(), "wall_s": round(wall_s, 2), "error": error}
        write_json(self._path(job, "json"), known)

    def states(self) -> dict[str, str]:
        """State of every job, in the order of the plan."""
        states: dict[str, str] = {}
        for job in self.jobs:
            states[job.name] = self._state(job, [states[name] for name in job.needs])
        return states

    def _state(self, job: Job, needs: Sequence[str]) -> str:
        status = self.record(job).get("status")
        if status in (DONE, FAILED):
            return status
        if any(state in (FAILED, SKIPPED) for state in needs):
            return SKIPPED
        if status == "started" and self.held(job):
            return RUNNING
        if any(state != DONE for state in needs):
            return WAITING
        return UNFINISHED if status == "started" else READY

    def check(self) -> None:
        """Raise ScoreError where the folder holds jobs of another configuration."""
        if other := self._of_another_configuration():
            names = ", ".join(job.name for job in other[:3])
            raise ScoreError(
                f"{self.out} holds {len(other)} jobs of another configuration ({names}{', ...' * (len(other) > 3)}); "
                "choose another --out, or pass --overwrite to run these again"
            )

    def remove_changed(self) -> list[str]:
        """Delete the jobs of another configuration and return their names; ScoreError where one is running."""
        other = self._of_another_configuration()
        if running := [job.name for job in other if self.held(job)]:
            raise ScoreError(f"{running[0]} is running with another configuration; stop it first")
        for job in other:
            directory = self.directory(job.name)
            if directory.exists():
                # Renamed first: an interrupted deletion must not leave half a run under the old name.
                doomed = directory.with_name(f".{directory.name}.{os.getpid()}.deleted")
                directory.rename(doomed)
                shutil.rmtree(doomed)
            self._path(job, "json").unlink(missing_ok=True)
            self._done.pop(job.name, None)
        return [job.name for job in other]

    def retry_failed(self) -> list[str]:
        """Forget failures, so that these jobs are tried again; their names."""
        failed = [job for job in self.jobs if self.record(job).get("status") == FAILED]
        for job in failed:
            self.write(job, "started")
        return [job.name for job in failed]

    def _of_another_configuration(self) -> list[Job]:
        return [job for job in self.jobs if self.record(job).get("digest", job.digest) != job.digest]

    def held(self, job: Job) -> bool:
        """Whether somebody works on a job."""
        path = self._path(job, "lock")
        if not path.exists():
            return False
        with path.open("a") as file:
            return not _try_lock(file.fileno(), path)

    @contextmanager
    def lock(self, job: Job, waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Be the only one, of all processes, to work on a job; `waiting` is called once where somebody else does."""
        path = self._path(job, "lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            if not _try_lock(file.fileno(), path):
                waiting()
                while not _try_lock(file.fileno(), path):
                    time.sleep(POLL_S)
            yield

    def _path(self, job: Job, ending: str) -> Path:
        return self.out / "jobs" / f"{_stem(job)}.{ending}"


def _stem(job: Job) -> str:
    return job.name.replace("/", ".")


def _try_lock(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise ScoreError(f"cannot lock {path}: {error.strerror}; the file system must support flock(2)") from error
    return True
