"""`score repair`: the whole part of an interrupted recording."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from score_rl.cli.common import show_result
from score_rl.pipeline import datasets


@dataclass(frozen=True)
class Repair:
    """Keep the whole episodes before the first fault of an interrupted recording, in a new folder.

    The recording stays as it is. Understands LeRobot datasets of v3.0 and v2.1 that are cut off, torn or lack tables,
    and collections of `score collect` and `score run` that were never finished.
    """

    dataset: tyro.conf.Positional[Path]
    """The recording."""
    out: Path
    """Folder of the new dataset (LeRobotDataset v3.0)."""

    def run(self) -> None:
        """Repair, and say what was kept."""
        show_result(datasets.repair(self.dataset, self.out))
