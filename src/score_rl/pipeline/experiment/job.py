"""A job: one run of one stage. Its name is also its run directory, below `runs/`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

REFERENCES = "references"
"""Stands where a method's name does, for the policies that need no training."""


@dataclass(frozen=True)
class Job:
    """One run of one stage."""

    name: str
    """E.g. `pinch_cube/robot-51/score/seed-0/steering`."""
    stage: str
    """collect, pretrain, calibrate, steer or evaluate."""
    settings: Any
    """The stage's settings; a world called `twin` is the calibrated twin of the same robot."""
    needs: tuple[str, ...]
    """Jobs that must be done before."""
    digest: str
    """SHA-256 of everything above and of the digests of what it needs: the same digest, the same result."""
    task: str
    robot: int
    method: str | None = None
    """Method of the experiment, or `references`; None for the stages that all methods share."""
    training_seed: int | None = None
    evaluation: str | None = None
    """Which of `EVALUATIONS`."""
    twin_stop_n: float | None = None
    """Protective stop of the training twin, in place of the calibrated one's."""
    twin_calibration: float = 1.0
    """Share of the calibration that the training twin holds."""
    demonstrations: bool = False
    """Whether steering is given the demonstrations."""

    @property
    def robot_folder(self) -> Path:
        """Folder, below `runs/`, of all jobs of this task and robot."""
        return Path(self.task) / f"robot-{self.robot}"
