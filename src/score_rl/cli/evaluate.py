"""`score evaluate`: the base policy, z = 0 and the policies of one method on the same episodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from score_rl.cli.common import Flat, show_result
from score_rl.core.terminal import say
from score_rl.pipeline import stages
from score_rl.tasks.settings import EvaluateSettings


@dataclass(frozen=True)
class Evaluate:
    """Compare the base policy, the base policy at z = 0 and the steered policies, on the same seeds.

    Leaves OUT/result.json (one flat record per policy), OUT/episodes.jsonl (one line per episode) and traces.
    """

    settings: Flat[EvaluateSettings]
    """Where and how much."""
    policy: str = "runs/base"
    """Base policy: a folder of `score pretrain`, an installed name, or package.module:factory."""
    steering: Path | None = None
    """Run directory of `score steer`; without it the base policy is evaluated alone."""
    ticket: Path | None = None
    """Run directory of `score ticket`: the best constant latent, which is then always compared with."""
    ranker: Path | None = None
    """Run directory of `score steer --method best_of_n`: its value function also picks the best of n draws of the
    steering policy."""
    out: Path = Path("runs/evaluation")
    """Run directory to write."""
    guard: bool = False
    """Send every command through the guard of deployment, with the robot's limits. Traces hold what was asked for."""
    overwrite: bool = False
    """Replace what is there."""

    def run(self) -> None:
        """Evaluate, and show the table."""
        given = {"steering": self.steering, "ticket": self.ticket, "ranker": self.ranker}
        how = {**given, "guard": self.guard, "overwrite": self.overwrite, "notify": say}
        show_result(stages.evaluate(self.settings, self.policy, self.out, **how))
