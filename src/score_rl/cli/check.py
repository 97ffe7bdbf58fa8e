"""`score check`: what demonstrations are like, before anything is trained on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from score_rl.cli.common import show_result
from score_rl.core.terminal import say
from score_rl.pipeline import datasets
from score_rl.report.datasets import write_check
from score_rl.report.page import check_page


@dataclass(frozen=True)
class Check:
    """Say what demonstrations are like: rate, lengths, success, ranges, jumps, spikes, what never changes.

    What cannot be learned from is refused with its place; what is suspicious is listed; options to start from are
    suggested. Writes nothing but the page of --out.
    """

    dataset: tyro.conf.Positional[tuple[Path, ...]]
    """LeRobot datasets (v3.0 or v2.1) of one robot, or run directories of `score collect`."""
    out: Path | None = None
    """HTML page with the ranges of every feature as a picture."""
    overwrite: bool = False
    """Replace a page that is there."""

    def run(self) -> None:
        """Check, and say what was found."""
        if self.out is not None:
            inputs = {f"dataset {number}": root for number, root in enumerate(self.dataset, start=1)}
            check_page(self.out, inputs, self.overwrite)
        checked = datasets.check(self.dataset)
        show_result(checked)
        if self.out is not None:
            write_check(self.out, checked)
            say(f"  {self.out}")
