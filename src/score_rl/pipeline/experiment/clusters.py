"""Where the jobs of an experiment run: processes of this machine, somebody's Dask cluster, or Slurm."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from score_rl.core import records
from score_rl.core.errors import ScoreError
from score_rl.core.ranges import Count, Natural, Positive

if TYPE_CHECKING:
    from distributed import Client

DEATHS = 3
"""Of a job's process, until the job counts as failed. On somebody else's scheduler its own limit holds."""
CONNECT_S = 10.0
"""Seconds that a scheduler has to answer."""
GRACE_S = 300
"""Seconds before a Slurm job's time limit at which its worker takes no more jobs and leaves."""


@dataclass(frozen=True)
class SlurmConfig:
    """Slurm jobs that work on the experiment together, through dask-jobqueue; this process hands out the work."""

    workers: Natural = 0
    """Slurm jobs at a time; 0: no Slurm. One that reaches its time limit is followed by another."""
    partition: str = ""
    """Partition; empty: the cluster's default."""
    account: str = ""
    """Account; empty: the user's default."""
    hours: Positive = 8.0
    """Time limit of a Slurm job. What it interrupts resumes in the next one."""
    cpus: Count = 4
    """Cores of a Slurm job, which works on one stage at a time."""
    memory_gb: Positive = 8.0
    """Memory of a Slurm job."""
    interface: str = ""
    """Network interface that the nodes reach this machine by, e.g. ib0; empty: the default one."""
    directives: tuple[str, ...] = ()
    """Further lines for sbatch, e.g. "--constraint=cpu"."""


@contextmanager
def connected(
    out: Path, processes: int, scheduler: str | None, slurm: SlurmConfig, console: Console
) -> Iterator[Client]:
    """A client of the cluster that was asked for, which ends with the body: also by SIGINT and SIGTERM.

    Raises ScoreError where it cannot be had.
    """
    check(processes, scheduler, slurm)
    distributed = _imported("distributed")
    with _terminable():
        cluster = None
        try:
            if scheduler is None:
                cluster = slurm_cluster(slurm, out) if slurm.workers else local_cluster(processes)
            client = distributed.Client(cluster or scheduler, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:  # ValueError: an address that is none
            raise ScoreError(f"no Dask scheduler answers at {scheduler}: {error}") from error
        try:
            _say(client, scheduler, console)
            if slurm.workers:
                cluster.adapt(minimum_jobs=slurm.workers, maximum_jobs=slurm.workers)
            yield client
        finally:
            client.close()
            if cluster is not None:
                cluster.close()


def check(processes: int, scheduler: str | None, slurm: SlurmConfig) -> None:
    """Raise ScoreError for what makes no sense, before any work."""
    records.check(Count, processes, "--processes")
    records.validate(slurm, "--slurm")
    if scheduler is not None and slurm.workers:
        raise ScoreError(f"--scheduler {scheduler} has workers of its own; leave out --slurm.workers")


def local_cluster(processes: int) -> Any:
    """Processes of this machine, of which each works on one job at a time; they end with this process."""
    distributed = _imported("distributed")
    return distributed.LocalCluster(
        n_workers=processes,
        threads_per_worker=1,
        processes=True,
        memory_limit=0,  # a worker is never killed for its memory by anybody but the kernel
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
        scheduler_kwargs={"allowed_failures": DEATHS - 1, "dashboard": has_dashboard()},
    )


def slurm_cluster(config: SlurmConfig, out: Path) -> Any:
    """Workers that Slurm starts, none of them yet. Raises ScoreError where dask-jobqueue is not installed."""
    minutes = max(2, round(60 * config.hours))
    given = {"queue": config.partition, "account": config.account, "interface": config.interface}
    return _imported("dask_jobqueue").SLURMCluster(
        **{key: value for key, value in given.items() if value},
        job_name="score-benchmark",
        cores=1,  # of Dask: jobs that a worker runs side by side
        processes=1,
        job_cpu=config.cpus,
        memory=f"{config.memory_gb:g}GB",
        walltime=f"{minutes // 60:02d}:{minutes % 60:02d}:00",
        # It leaves by itself, which is no death of its job.
        worker_extra_args=["--lifetime", f"{max(60, 60 * minutes - GRACE_S)}s"],
        job_extra_directives=list(config.directives),
        python=sys.executable,
        log_directory=str(Path(out) / "slurm"),
        scheduler_options={"allowed_failures": DEATHS - 1, "dashboard": has_dashboard(), "dashboard_address": ":0"},
    )


def has_dashboard() -> bool:
    """Whether Dask's dashboard can be shown."""
    return importlib.util.find_spec("bokeh") is not None


def _say(client: Client, scheduler: str | None, console: Console) -> None:
    info = client.scheduler_info()
    address = info["address"]
    link = client.dashboard_link if "dashboard" in info["services"] and has_dashboard() else None
    text = f"dashboard: {link}" if link else "no dashboard (pip install bokeh)"
    console.print(f"scheduler: {address}; {text}", highlight=False)
    if scheduler is not None and not info["workers"]:
        console.print(f"no workers yet; start some: dask worker {address} --nthreads 1", highlight=False)


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ScoreError(f"experiments run on Dask ({name} is missing): pip install 'score-rl[cluster]'") from None


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the body as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
