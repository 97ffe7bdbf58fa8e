"""The jobs of an experiment on Dask: a job is a task, what it needs are its futures, its result is on the disk.

Whatever ends a worker, Dask gives its job to another one, where the stage resumes; with the third death the job has
failed. Whatever ends this process, the next one leaves out what is done.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from score_rl.core.progress import progress
from score_rl.pipeline.experiment.job import Job, with_absolute_paths
from score_rl.pipeline.experiment.ledger import DONE, FAILED, SKIPPED, Ledger

if TYPE_CHECKING:
    from distributed import Client, Future

Runner = Callable[[Job, Path], None]
"""Runs one job given OUT; a function of a module, so that other processes find it."""
ALONE = threading.Lock()
"""A process works on one job at a time: output, threads of torch and arguments are the whole process's."""


def execute(ledger: Ledger, run: Runner, client: Client, console: Console, share_of: int = 0) -> dict[str, str]:
    """Run what is not done yet, report it as it ends, and return the states of all jobs.

    share_of: number of the cluster's workers, where they share this machine's cores; 0: each uses all it has.
    """
    states = ledger.states()
    futures: dict[str, Future] = {}
    for job in (job for job in ledger.jobs if states[job.name] != DONE):
        needs = [futures[name] for name in job.needs if name in futures]
        arguments = (with_absolute_paths(job), ledger.out, run, share_of, sys.argv, *needs)
        futures[job.name] = client.submit(perform, *arguments, key=_key(ledger, job, needs), priority=-len(futures))
    with progress("benchmark", len(states), done=len(states) - len(futures), console=console) as advance:
        for job, state in _ended(ledger, futures, client.loop):
            advance(1, note=job.name)
            if state == FAILED:
                record = ledger.record(job)
                error = f"{record.error if record else ''} (see {ledger.log_path(job)})"
                console.print(f"failed: {job.name}: {error}", highlight=False, markup=False)
            elif state == SKIPPED:
                console.print(f"skipped: {job.name}", highlight=False, markup=False)
    return ledger.states()


def _ended(ledger: Ledger, futures: dict[str, Future], loop: Any) -> Iterator[tuple[Job, str]]:
    """(job, how it ended), as they end."""
    from distributed import as_completed

    jobs = {futures[job.name].key: job for job in ledger.jobs if job.name in futures}
    for future in as_completed(futures.values(), loop=loop):
        job = jobs[future.key]
        if future.status == "finished":
            yield job, future.result()
            continue
        error = future.exception()  # Dask's own, of this job or of one that it needs: jobs return their errors
        if getattr(error, "task", future.key) != future.key:
            yield job, SKIPPED
            continue
        died = f"its process died {error.allowed_failures + 1} times (killed, or out of memory?)"
        ledger.write(job, FAILED, error=died if type(error).__name__ == "KilledWorker" else str(error))
        yield job, FAILED


def _key(ledger: Ledger, job: Job, needs: Sequence[Future]) -> str:
    """Name of the task: the same job in the same folder is the same task, whoever submits it, until it is tried anew.

    A scheduler may still know how the attempt before ended, of this job or of one that it needs.
    """
    record = ledger.record(job)
    tried = 0 if record is None else record.attempts - ledger.held(job)
    told = " ".join([str(ledger.out), job.name, job.digest, str(tried), *(need.key for need in needs)])
    return f"{job.stage}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def perform(job: Job, out: Path, run: Runner, share_of: int, command: Sequence[str], *needs: str) -> str:
    """Run a job in this process and record how it ended; what it prints goes to its log.

    needs: how the jobs ended that it needs. Returns done, failed or skipped.
    """
    if any(need != DONE for need in needs):
        return SKIPPED
    ledger = Ledger(out, [job])
    with ledger.lock(job, waiting=_let_others_work), ALONE:
        if ledger.status(job) == DONE:
            return DONE
        if share_of:
            _take_share(share_of)
        start = time.monotonic()
        ledger.write(job, "started", attempts=1)
        with captured(ledger.log_path(job)), _as_command(command):
            status, error = DONE, ""
            try:
                run(job, ledger.out)
            except Exception as failure:
                status, error = FAILED, f"{type(failure).__name__}: {failure}"
                traceback.print_exc()
        ledger.write(job, status, time.monotonic() - start, error)
    return status


def _let_others_work() -> None:
    """Give this worker's place to another job while somebody else, with another scheduler, works on this one."""
    from distributed import secede

    secede()


def _take_share(processes: int) -> None:
    """Bind this thread, and those that it starts, to this worker's share of the machine's cores."""
    from distributed import get_worker

    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(os.getpid()))
        os.sched_setaffinity(0, share(cores, int(get_worker().name), processes))


def share(cores: Sequence[int], index: int, processes: int) -> set[int]:
    """The cores of process `index` of `processes`: consecutive, at least one.

    >>> [sorted(share([0, 1, 2, 3], i, 2)) for i in range(2)]
    [[0, 1], [2, 3]]
    """
    n = len(cores)
    if processes >= n:
        return {cores[index % n]}
    return set(cores[index * n // processes : (index + 1) * n // processes])


@contextmanager
def _as_command(command: Sequence[str]) -> Iterator[None]:
    """Record in results the command that asked for them, not that of the worker."""
    before = sys.argv
    sys.argv = list(command)
    try:
        yield
    finally:
        sys.argv = before


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
