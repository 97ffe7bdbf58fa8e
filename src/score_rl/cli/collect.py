"""`score collect`: demonstrations of a scripted person, as a LeRobot dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from score_rl.cli.common import Flat, show_result
from score_rl.core.terminal import say
from score_rl.pipeline import stages
from score_rl.tasks.settings import CollectSettings


@dataclass(frozen=True)
class Collect:
    """Record demonstrations of a hurried, imperfect person into OUT/dataset (LeRobotDataset v3.0).

    Failures are kept, as in real recordings. An interrupted collection continues behind its last episode.
    """

    settings: Flat[CollectSettings]
    """What to record."""
    out: Path = Path("runs/demonstrations")
    """Run directory to write."""
    overwrite: bool = False
    """Replace what is there."""

    def run(self) -> None:
        """Collect, and say how much."""
        show_result(stages.collect(self.settings, self.out, overwrite=self.overwrite, notify=say))
