"""Jobs without a simulator: each writes a file, or fails, or kills its own process."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from score_rl.pipeline.experiment.job import Job


def toy(name: str, *needs: str, digest: str = "1") -> Job:
    """A job that needs others."""
    return Job(name, "toy", None, needs, digest, "task", 0)


def run_toy(job: Job, out: Path) -> None:
    """Append a line to OUT/ran/NAME; what the name says happens in between."""
    out.joinpath("ran").mkdir(exist_ok=True)
    if "slow" in job.name:
        time.sleep(0.2)
    if "broken" in job.name:
        raise ValueError("it is broken")
    if "deadly" in job.name:
        os.kill(os.getpid(), signal.SIGKILL)
    with (out / "ran" / job.name).open("a") as stream:
        stream.write(f"{os.getpid()}\n")


def times_run(out: Path, name: str) -> int:
    """How often a job came to its end."""
    path = out / "ran" / name
    return len(path.read_text().splitlines()) if path.exists() else 0
