"""`score rehearse`: the whole deployment against a simulated robot, compared with the evaluation in-process."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from score_rl.cli.common import Flat, show_result
from score_rl.cli.signals import run_interruptibly
from score_rl.core.terminal import say
from score_rl.pipeline.rehearsal import RehearseSettings, rehearse


@dataclass(frozen=True)
class Rehearse:
    """Run a bundle as it would be deployed, against a robot process over a socket, and compare with the evaluation.

    Both see the same episodes: the same seeds, objects and noise. Without faults and with decisions in time they
    send the same commands, to the bit; what remains is what timing, faults and the guard cost. Leaves
    OUT/rehearsal.json, OUT/recording/dataset and OUT/events.jsonl.
    """

    bundle: tyro.conf.Positional[Path] = Path("runs/bundle")
    """Folder of `score bundle`."""
    settings: Flat[RehearseSettings] = field(default_factory=RehearseSettings)
    """Which robot, and how often."""
    out: Path = Path("runs/rehearsal")
    """Run directory to write."""
    overwrite: bool = False
    """Replace what is there."""

    def run(self) -> None:
        """Rehearse, and say what deployment cost."""
        how = {"overwrite": self.overwrite, "notify": say, "run_episodes": run_interruptibly}
        show_result(rehearse(self.bundle, self.settings, self.out, **how))
