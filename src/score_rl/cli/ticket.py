"""`score ticket`: search for the best constant latent of a base policy, in the twin."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from score_rl.cli.common import Flat, show_result
from score_rl.core.terminal import say
from score_rl.pipeline import stages
from score_rl.tasks.settings import TicketSettings


@dataclass(frozen=True)
class Ticket:
    """Find the one constant latent with which the base policy succeeds most, by roll-outs in the twin.

    OUT/steering is a policy like any other: `score evaluate --ticket OUT`, `score bundle --steering OUT`, and the
    start of steering by `score steer --start OUT`. An interrupted search resumes. See docs/methods/base_ticket.md.
    """

    settings: Flat[TicketSettings]
    """Where and how long to search."""
    policy: str = "runs/base"
    """Base policy: a folder of `score pretrain`, an installed name, or package.module:factory."""
    out: Path = Path("runs/ticket")
    """Run directory to write."""
    overwrite: bool = False
    """Replace what is there."""

    def run(self) -> None:
        """Search, and say what was found."""
        settings = self.settings.steer_settings()
        show_result(stages.steer(settings, self.policy, self.out, overwrite=self.overwrite, notify=say))
