"""`score report`: one HTML page from the run directories of a loop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from score_rl.cli.common import Flat
from score_rl.core.extras import require
from score_rl.core.terminal import say
from score_rl.report.page import ReportConfig, write_report


@dataclass(frozen=True)
class Report:
    """Write a self-contained HTML report: results with intervals, learning curve, forces, latents, videos.

    Without OpenGL the videos are left out, and the report says so.
    """

    settings: Flat[ReportConfig]
    """What to report on."""
    out: Path = Path("runs/report.html")
    """File to write."""
    overwrite: bool = False
    """Replace what is there."""

    def run(self) -> None:
        """Write the report."""
        require("matplotlib", "the report")
        for remark in write_report(Path(self.out), self.settings, self.overwrite):
            say(remark, style="yellow")
        say(f"report: {self.out}")
