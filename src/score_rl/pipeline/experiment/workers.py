"""Processes that work on an experiment: here, or as the tasks of a Slurm array."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from rich.console import Console

from score_rl.core.errors import ScoreError
from score_rl.core.progress import progress
from score_rl.pipeline.experiment.board import DONE, ENDED, FAILED, POLL_S, RUNNING, SKIPPED, Board, work
from score_rl.pipeline.experiment.job import Job

Runner = Callable[[Job, Path], None]
"""Runs one job given OUT; a function of a module, so that other processes find it."""


@dataclass(frozen=True)
class SlurmConfig:
    """A Slurm array whose tasks work on the experiment together; needs `pip install score-rl[slurm]`."""

    workers: int = 0
    """Tasks of the array; 0: no Slurm."""
    partition: str = ""
    """Partition; empty: the cluster's default."""
    account: str = ""
    """Account; empty: the user's default."""
    hours: float = 8.0
    """Time limit of a task. What it interrupts goes on with the next submission."""
    cpus: int = 4
    """Cores of a task."""
    memory_gb: float = 8.0
    """Memory of a task."""


def new_invocation() -> str:
    """Name of one call of the command."""
    return uuid.uuid4().hex[:12]


def run_here(
    out: Path, jobs: Sequence[Job], run: Runner, processes: int, console: Console, invocation: str | None = None
) -> dict[str, str]:
    """Work on the jobs with some processes of this machine until all have ended; their states.

    Others may work on the same folder at the same time. A process that dies is replaced. Interrupting stops the
    processes; what they worked on resumes with the next call.
    """
    if processes < 1:
        raise ScoreError(f"--processes is {processes}, expected at least 1")
    invocation = invocation or new_invocation()
    workers: list[BaseProcess] = []

    def start(index: int) -> BaseProcess:
        context = multiprocessing.get_context("spawn")  # no state of this process, no locks of its threads
        work_on = (out, tuple(jobs), run, invocation)
        worker = context.Process(target=_work_here, args=(index, processes, os.getpid(), *work_on))
        worker.start()
        return worker

    board = Board(out, jobs, invocation)
    try:
        if any(state not in ENDED for state in board.states().values()):
            workers += [start(index) for index in range(processes)]
        return _watch(board, workers, start, console)
    finally:
        for worker in workers:
            worker.terminate()  # as good as any other end: what was begun resumes
        for worker in workers:
            worker.join()


def _watch(
    board: Board, workers: list[BaseProcess], start: Callable[[int], BaseProcess], console: Console
) -> dict[str, str]:
    """Replace processes that die, and show the jobs' progress, until all jobs have ended."""
    told = {name for name, state in board.states().items() if state in ENDED}
    with progress("benchmark", len(board.jobs), done=len(told), console=console) as advance:
        while True:
            states = board.states()
            ended = [job for job in board.jobs if states[job.name] in ENDED and job.name not in told]
            for job in ended:
                _tell(board, job, states[job.name], console)
            told |= {job.name for job in ended}
            running = [name for name, state in states.items() if state == RUNNING]
            advance(len(ended), note=", ".join(running[:2]) + ", ..." * (len(running) > 2))
            if len(told) == len(states):
                return states
            for index, worker in enumerate(workers):
                if worker.exitcode is not None and worker.exitcode > 0:
                    raise ScoreError(f"a worker could not start (exit status {worker.exitcode}); see above")
                if worker.exitcode is not None:
                    workers[index] = start(index)
            time.sleep(POLL_S)


def _tell(board: Board, job: Job, state: str, console: Console) -> None:
    if state == FAILED:
        error = board.record(job).get("error", "")
        console.print(f"failed: {job.name}: {error} (see {board.log_path(job)})", highlight=False, markup=False)
    elif state == SKIPPED:
        console.print(f"skipped: {job.name}", highlight=False, markup=False)


def _work_here(
    index: int, processes: int, parent: int, out: Path, jobs: tuple[Job, ...], run: Runner, invocation: str
) -> None:
    """A worker process: its share of the cores, job after job."""
    if hasattr(os, "sched_setaffinity") and processes > 1:
        os.sched_setaffinity(0, share(sorted(os.sched_getaffinity(0)), index, processes))
    with suppress(KeyboardInterrupt):
        work(Board(out, jobs, invocation), run, parent)


def share(cores: Sequence[int], index: int, processes: int) -> set[int]:
    """The cores of process `index` of `processes`: consecutive, at least one.

    >>> [sorted(share([0, 1, 2, 3], i, 2)) for i in range(2)]
    [[0, 1], [2, 3]]
    """
    n = len(cores)
    if processes >= n:
        return {cores[index % n]}
    return set(cores[index * n // processes : (index + 1) * n // processes])


def submit(out: Path, jobs: Sequence[Job], run: Runner, config: SlurmConfig) -> list[str]:
    """Submit a Slurm array whose tasks work on the jobs together; numbers of the tasks.

    Raises ScoreError where submitit is not installed or the submission fails.
    """
    try:
        submitit: Any = importlib.import_module("submitit")
    except ImportError:
        raise ScoreError("a Slurm array needs submitit: pip install 'score-rl[slurm]'") from None
    parameters = {
        "name": "score-benchmark",
        "timeout_min": max(1, round(60 * config.hours)),
        "cpus_per_task": config.cpus,
        "mem_gb": config.memory_gb,
        "slurm_array_parallelism": config.workers,
    }
    parameters |= {f"slurm_{key}": value for key in ("partition", "account") if (value := getattr(config, key))}
    invocation = new_invocation()
    try:
        executor = submitit.AutoExecutor(folder=str(Path(out) / "slurm"))
        executor.update_parameters(**parameters)
        with executor.batch():
            tasks = [
                executor.submit(work_on_cluster, str(out), tuple(jobs), run, invocation)
                for _ in range(min(config.workers, len(jobs)))
            ]
        return [str(task.job_id) for task in tasks]
    except Exception as error:
        raise ScoreError(f"submission to Slurm failed: {error}") from error


def work_on_cluster(out: str, jobs: tuple[Job, ...], run: Runner, invocation: str) -> dict[str, int]:
    """A task of the array: job after job; how many ended how."""
    board = Board(Path(out), jobs, invocation)
    work(board, run)
    states = list(board.states().values())
    return {state: states.count(state) for state in (DONE, FAILED, SKIPPED)}
