"""The state of every job, kept in files only: any number of processes read and write it at the same time.

OUT/jobs/ holds, per job, its claims and a record {status, digest, wall_s, error}: `started`, `done` or `failed`.
"""

from __future__ import annotations

import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from score_rl.core.errors import ScoreError
from score_rl.core.files import read_json, write_json
from score_rl.pipeline.experiment.claims import Claim, Claims, file_stem, this_process
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
ENDED = (DONE, FAILED, SKIPPED)
DEATHS = 2
"""A job whose process died this often within one call of the command counts as failed."""
POLL_S = 1.0
"""Seconds between two looks at the files."""


class Board:
    """The jobs of an experiment in the folder OUT, as one process sees them."""

    def __init__(self, out: Path, jobs: Sequence[Job], invocation: str = "") -> None:
        self.out, self.jobs = Path(out), list(jobs)
        self.claims = Claims(self.out / "jobs", this_process(invocation))
        self._done: dict[str, dict[str, Any]] = {}

    def record_path(self, job: Job) -> Path:
        """File of a job's record."""
        return self.out / "jobs" / f"{file_stem(job.name)}.json"

    def log_path(self, job: Job) -> Path:
        """What the job printed."""
        return self.out / "logs" / f"{file_stem(job.name)}.log"

    def directory(self, name: str) -> Path:
        """Run directory of a job."""
        return self.out / "runs" / name

    def record(self, job: Job) -> dict[str, Any]:
        """The job's record; empty where it was never started."""
        if job.name in self._done:
            return self._done[job.name]
        path = self.record_path(job)
        record = read_json(path) if path.exists() else {}
        if record.get("status") == DONE:
            self._done[job.name] = record
        return record

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
        if self.claims.held(job.name):
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
        if running := [job.name for job in other if self.claims.held(job.name)]:
            raise ScoreError(f"{running[0]} is running with another configuration; stop it first")
        for job in other:
            self._delete(job)
        return [job.name for job in other]

    def retry_failed(self) -> list[str]:
        """Forget failures, so that these jobs are tried again; their names."""
        failed = [job for job in self.jobs if self.record(job).get("status") == FAILED]
        for job in failed:
            write_json(self.record_path(job), {"status": "started", "digest": job.digest})
        return [job.name for job in failed]

    def _of_another_configuration(self) -> list[Job]:
        return [job for job in self.jobs if self.record(job).get("digest", job.digest) != job.digest]

    def _delete(self, job: Job) -> None:
        directory = self.directory(job.name)
        if directory.exists():
            # Renamed first: an interrupted deletion must not leave half a run under the old name.
            doomed = directory.with_name(f".{directory.name}.{os.getpid()}.deleted")
            directory.rename(doomed)
            shutil.rmtree(doomed)
        self.record_path(job).unlink(missing_ok=True)
        self._done.pop(job.name, None)

    def take(self) -> tuple[Job, Claim] | None:
        """Claim the first job that can be started; None where there is none at the moment."""
        states = self.states()
        for job in self.jobs:
            if states[job.name] not in (READY, UNFINISHED):
                continue
            claim = self.claims.take(job.name)
            if claim is None:
                continue
            if self.record(job).get("status") in (DONE, FAILED) or self._died_too_often(job, claim):
                self.claims.release(job.name, claim)  # somebody ended it between the look and the claim
                continue
            return job, claim
        return None

    def _died_too_often(self, job: Job, claim: Claim) -> bool:
        earlier = [c for c in self.claims.history(job.name) if c.generation < claim.generation]
        deaths = sum(c.state == "held" and c.owner.invocation == claim.owner.invocation for c in earlier)
        if deaths >= DEATHS:
            error = f"its process died {deaths} times (killed, or out of memory?)"
            write_json(self.record_path(job), _record(FAILED, job, claim, 0.0, error))
        return deaths >= DEATHS

    def execute(self, job: Job, claim: Claim, run: Callable[[Job, Path], None]) -> None:
        """Run a claimed job and record how it ended; what it prints goes to its log."""
        start = time.monotonic()
        write_json(self.record_path(job), _record("started", job, claim, 0.0))
        with self.claims.heartbeat(job.name, claim), captured(self.log_path(job)):
            status, error = DONE, ""
            try:
                run(job, self.out)
            except Exception as failure:
                status, error = FAILED, f"{type(failure).__name__}: {failure}"
                traceback.print_exc()
            if self.claims.mine(job.name, claim):
                wall_s = time.monotonic() - start
                write_json(self.record_path(job), _record(status, job, claim, wall_s, error))


def work(board: Board, run: Callable[[Job, Path], None], parent: int | None = None) -> None:
    """Take job after job until all have ended, or until the process `parent` is gone."""
    while True:
        taken = board.take()
        if taken is not None:
            board.execute(*taken, run)
        elif all(state in ENDED for state in board.states().values()):
            return
        else:
            time.sleep(POLL_S)  # others work on what the rest waits for
        if parent is not None and os.getppid() != parent:
            return


@contextmanager
def captured(path: Path) -> Iterator[None]:
    """Append what the body prints to a file: also what libraries write past Python."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = [os.dup(1), os.dup(2)]
    with path.open("a", buffering=1) as log, redirect_stdout(log), redirect_stderr(log):
        try:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            yield
        finally:
            for number, copy in zip((1, 2), kept):
                os.dup2(copy, number)
                os.close(copy)


def _record(status: str, job: Job, claim: Claim, wall_s: float, error: str = "") -> dict[str, Any]:
    return {
        "job": job.name,
        "status": status,
        "digest": job.digest,
        "generation": claim.generation,
        "machine": claim.owner.machine.split()[0],
        "wall_s": round(wall_s, 2),
        "error": error,
    }
