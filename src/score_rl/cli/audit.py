"""`score audit`: which mismatch between twin and robot a policy survives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from score_rl.cli.common import Flat, show_result
from score_rl.core.extras import require
from score_rl.core.terminal import say
from score_rl.pipeline.audit import audit
from score_rl.report.audit import write_audit
from score_rl.tasks.settings import AuditSettings


@dataclass(frozen=True)
class Audit:
    """Ask in variations of the calibrated twin what a policy would survive on the robot; the proxy is never used.

    One mismatch at a time and all together, in graded sizes. OUT/audit.json, audit.md and audit.html say which
    mismatch halves success at what size, what success to expect, how hard the hand presses, and what to do.
    """

    settings: Flat[AuditSettings]
    """What is asked."""
    policy: tyro.conf.Positional[str] = "runs/base"
    """Base policy: a folder of `score pretrain`, an installed name, or package.module:factory."""
    steering: Path | None = None
    """Run directory of `score steer`; without it the base policy itself is audited."""
    out: Path = Path("runs/audit")
    """Run directory to write."""
    overwrite: bool = False
    """Replace what is there."""

    def run(self) -> None:
        """Audit, write the pages and show the table."""
        require("matplotlib", "the audit's page")
        how = {"steering": self.steering, "overwrite": self.overwrite, "notify": say}
        found = audit(self.settings, self.policy, self.out, **how)
        page = write_audit(found.directory, found.verdict, found.record)
        show_result(found)
        say(f"audit: {page}")
