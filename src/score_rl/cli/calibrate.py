"""`score calibrate`: the twin of the robot that recorded the demonstrations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from score_rl.cli.common import Flat, console, dataset_root, open_run, world_files
from score_rl.data.dataset import load_dataset
from score_rl.real2sim.calibrate import DOMAIN_FILE, calibrate
from score_rl.real2sim.replay import require_features
from score_rl.sim.domain import load_domain
from score_rl.sim.task import get_task
from score_rl.tasks.settings import CalibrateSettings


@dataclass(frozen=True)
class Calibrate:
    """Fit the simulated twin to the robot that recorded the demonstrations; no extra robot time is needed.

    OUT/domain.toml is the calibrated twin, a world for `score steer` and `score evaluate`. What the
    demonstrations leave open becomes the width of its randomisation.
    """

    settings: Flat[CalibrateSettings]
    """What to fit."""
    dataset: Path = Path("runs/demonstrations")
    """Demonstrations: a LeRobot dataset, or the run directory of `score collect`."""
    out: Path = Path("runs/calibration")
    """Run directory to write."""
    overwrite: bool = False
    """Replace what is there."""

    def run(self) -> Path:
        """The calibrated twin's file."""
        task, root = get_task(self.settings.task), dataset_root(self.dataset)
        twin = load_domain(self.settings.world, task.parameters)
        demonstrations = load_dataset(root)
        require_features(demonstrations, task.robot)
        inputs = {"dataset": root} | world_files(self.settings.world)
        run = open_run(self.out, "calibrate", self.settings, inputs, self.overwrite)
        if not run.finished:
            found = calibrate(demonstrations, task, twin, self.settings.fit, run)
            replay = found.comparison
            for part in ("hand", "arm"):
                before, after = (1000 * getattr(replay, f"{part}_{when}_rms_rad") for when in ("before", "after"))
                console.print(f"  {part}: replay error {before:.1f} -> {after:.1f} mrad RMS", highlight=False)
        return run.path(DOMAIN_FILE)
