"""A job: one run of one stage. Its name is also its run directory, below `runs/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Twin:
    """Which variation of a robot's calibrated twin a job runs in."""

    calibration: float = 1.0
    """Share of the calibration that it holds."""
    stop_n: float | None = None
    """Protective stop in place of the calibrated twin's."""
    domain: str = ""
    """Another domain in place of the calibrated twin."""


@dataclass(frozen=True)
class Job:
    """One run of one stage."""

    name: str
    """E.g. `pinch_cube/robot-51/score/seed-0/steering`."""
    stage: str
    """collect, pretrain, calibrate, steer, evaluate or audit."""
    settings: Any
    """The stage's settings; a world or domain called `twin` is the robot's calibrated twin."""
    task: str
    robot: int
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Role (dataset, policy, calibration, steering) -> the job that makes it."""
    given: Mapping[str, str] = field(default_factory=dict)
    """Role -> a path from elsewhere."""
    method: str | None = None
    """Method of the experiment; None for the stages that methods share."""
    training_seed: int | None = None
    evaluation: str | None = None
    """Which of `EVALUATIONS`; of an audit its name."""
    twin: Twin = Twin()
    digest: str = ""
    """SHA-256 of what is done and of the digests of what it needs: the same digest, the same result."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Jobs that must be done before."""
        return tuple(self.inputs.values())


def with_absolute_paths(job: Job) -> Job:
    """The job for a process that has another working directory."""
    return replace(job, given={role: str(Path(path).absolute()) for role, path in job.given.items()})
