"""What is known of every job, in files only: any process may read it, and who works on a job holds its lock.

OUT/jobs/ holds, per job, a lock (`core.locks`: it goes with the process that holds it) and a `JobRecord`.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from score_rl.core.errors import ScoreError
from score_rl.core.files import write_json
from score_rl.core.locks import InUse, Lock, is_held
from score_rl.core.ranges import Natural, NonNegative
from score_rl.core.records import parse, read_json
from score_rl.core.runs import retire
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


@dataclass(frozen=True)
class JobRecord:
    """What became of a job so far."""

    job: str
    """Its name."""
    status: Literal["started", "done", "failed"]
    digest: str
    """Of the job that was run: see `Job.digest`."""
    attempts: Natural
    machine: str
    """Name of the computer that worked on it last."""
    wall_s: NonNegative
    """Seconds that the last attempt took."""
    error: str
    """Why it failed; else empty."""


class Ledger:
    """The jobs of an experiment in the folder OUT."""

    def __init__(self, out: Path, jobs: Sequence[Job]) -> None:
        self.out, self.jobs = Path(out), list(jobs)
        self._done: dict[str, JobRecord] = {}

    def directory(self, name: str) -> Path:
        """Run directory of a job."""
        return self.out / "runs" / name

    def log_path(self, job: Job) -> Path:
        """What the job printed."""
        return self.out / "logs" / f"{_stem(job)}.log"

    def record(self, job: Job) -> JobRecord | None:
        """The job's record; None where it was never started. Raises ScoreError for a file that is none."""
        if job.name in self._done:
            return self._done[job.name]
        path = self._path(job, "json")
        record = parse(JobRecord, read_json(path), path) if path.exists() else None
        if record is not None and record.status == DONE:
            self._done[job.name] = record
        return record

    def status(self, job: Job) -> str | None:
        """`started`, `done` or `failed`; None where the job was never started."""
        record = self.record(job)
        return None if record is None else record.status

    def records(self) -> dict[str, JobRecord]:
        """Name -> record of every job that was started."""
        known = {job.name: self.record(job) for job in self.jobs}
        return {name: record for name, record in known.items() if record is not None}

    def write(
        self,
        job: Job,
        status: Literal["started", "done", "failed"],
        wall_s: float = 0.0,
        error: str = "",
        attempts: int = 0,
    ) -> None:
        """Write the job's record; `attempts` more than before."""
        before = self.record(job)
        attempts += 0 if before is None else before.attempts
        machine, wall_s = socket.gethostname(), round(wall_s, 2)
        record = JobRecord(job.name, status, job.digest, attempts, machine, wall_s, error)
        write_json(self._path(job, "json"), record)

    def states(self) -> dict[str, str]:
        """State of every job, in the order of the plan."""
        states: dict[str, str] = {}
        for job in self.jobs:
            states[job.name] = self._state(job, [states[name] for name in job.needs])
        return states

    def _state(self, job: Job, needs: Sequence[str]) -> str:
        status = self.status(job)
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

    def give_up_changed(self) -> list[str]:
        """Forget the jobs of another configuration, so that they are run again, and return their names.

        A run's files stay until the new run takes their place, and what else is in its folder stays for good. Raises
        ScoreError where one is running, and where a folder holds something that is no run.
        """
        other = self._of_another_configuration()
        if running := [job.name for job in other if self.held(job)]:
            raise ScoreError(f"{running[0]} is running with another configuration; stop it first")
        for job in other:
            retire(self.directory(job.name))
            self._path(job, "json").unlink(missing_ok=True)
            self._done.pop(job.name, None)
        return [job.name for job in other]

    def retry_failed(self) -> list[str]:
        """Forget failures, so that these jobs are tried again; their names."""
        failed = [job for job in self.jobs if self.status(job) == FAILED]
        for job in failed:
            self.write(job, "started")
        return [job.name for job in failed]

    def _of_another_configuration(self) -> list[Job]:
        known = [(job, self.record(job)) for job in self.jobs]
        return [job for job, record in known if record is not None and record.digest != job.digest]

    def held(self, job: Job) -> bool:
        """Whether somebody works on a job."""
        return is_held(self._path(job, "lock"))

    @contextmanager
    def lock(self, job: Job, waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Be the only one, of all processes, to work on a job; `waiting` is called once where somebody else does."""
        lock, told = None, False
        while lock is None:
            try:
                lock = Lock(self._path(job, "lock"), self.directory(job.name))
            except InUse:
                if not told:
                    waiting()
                    told = True
                time.sleep(POLL_S)
        with lock:
            yield

    def _path(self, job: Job, ending: str) -> Path:
        return self.out / "jobs" / f"{_stem(job)}.{ending}"


def _stem(job: Job) -> str:
    return job.name.replace("/", ".")
