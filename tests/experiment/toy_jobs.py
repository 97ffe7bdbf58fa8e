"""Jobs without a simulator: each writes a file, or fails, or kills its own process; one steers a toy, slowly."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from score_rl.pipeline.experiment.job import Job

ENVS, ITERATIONS, STEP_S = 8, 12, 0.01


def toy(name: str, *needs: str, digest: str = "1") -> Job:
    """A job that needs others."""
    return Job(name, "toy", None, "task", 0, inputs={need: need for need in needs}, digest=digest)


def run_toy(job: Job, out: Path) -> None:
    """Append a line to OUT/ran/NAME; what the name says happens in between."""
    out.joinpath("ran").mkdir(exist_ok=True)
    with (out / "pids").open("a") as stream:
        stream.write(f"{os.getpid()} {job.name}\n")
    if "slow" in job.name:
        time.sleep(0.5)
    while "endless" in job.name:
        time.sleep(0.1)
    if "broken" in job.name:
        raise ValueError("it is broken")
    if "deadly" in job.name:
        os.kill(os.getpid(), signal.SIGKILL)
    if "steering" in job.name:
        _steer(out / "runs" / job.name)
    print(f"hello from {job.name}")
    with (out / "ran" / job.name).open("a") as stream:
        stream.write(f"{os.getpid()}\n")


def _steer(directory: Path) -> None:
    """Steer a toy, in a world that takes its time, so that it can be interrupted."""
    # Imported here: the processes of the other jobs start in no time.
    from toys import ToyPolicy, ToyWorld

    from score_rl.core.runs import start_run
    from score_rl.steering.loop import Stage, SteerConfig, steer
    from score_rl.steering.ppo import PPOConfig

    class SlowWorld(ToyWorld):
        def step(self, action):
            time.sleep(STEP_S)
            return super().step(action)

    config = SteerConfig(execute_steps=4, decisions=4, ppo=PPOConfig(hidden=(8,), epochs=1, minibatches=1))
    steps = ITERATIONS * ENVS * config.decisions * config.execute_steps
    run = start_run(directory, "steer", config, {"training": config.seed})
    steer(ToyPolicy(), [Stage(SlowWorld(ENVS), steps)], config, run)


def times_run(out: Path, name: str) -> int:
    """How often a job came to its end."""
    path = out / "ran" / name
    return len(path.read_text().splitlines()) if path.exists() else 0


def processes(out: Path, name: str = "") -> list[int]:
    """The processes that worked on jobs with such a name, in the order in which they began."""
    path = out / "pids"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [int(pid) for pid, job in lines if job.startswith(name)]
