"""`score calibrate`: the twin of the robot that recorded the demonstrations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from score_rl.cli.common import Flat, show_result
from score_rl.core.terminal import say
from score_rl.pipeline import stages
from score_rl.tasks.settings import CalibrateSettings


@dataclass(frozen=True)
class Calibrate:
    """Fit the simulated twin to the robot that recorded the demonstrations; no extra robot time is needed.

    OUT/domain.toml is the calibrated twin, a world for `score steer` and `score evaluate`. What the
    demonstrations leave open becomes the width of its randomisation.
    """

    settings: Flat[CalibrateSettings]
    """What to fit."""
    dataset: tuple[Path, ...] = (Path("runs/demonstrations"),)
    """Demonstrations: LeRobot datasets of one robot, or run directories of `score collect`."""
    out: Path = Path("runs/calibration")
    """Run directory to write."""
    overwrite: bool = False
    """Replace what is there."""

    def run(self) -> None:
        """Calibrate, and say how well the twin replays the robot."""
        show_result(stages.calibrate(self.settings, self.dataset, self.out, overwrite=self.overwrite, notify=say))
