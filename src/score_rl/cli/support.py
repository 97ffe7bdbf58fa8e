"""`score support`: is what a policy executes something that its base policy could have done?"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import tyro

from score_rl.cli.common import Flat, show_result
from score_rl.core.terminal import say
from score_rl.pipeline import stages
from score_rl.tasks.settings import EvaluateSettings


@dataclass(frozen=True)
class Support:
    """Measure how far what is executed stays within the base policy's support, against its own false alarms.

    Plays the base policy, z = 0 and the policies of --steering, of whatever method, in --world, and compares every
    executed chunk with chunks that the base policy draws in the same state. It is `score evaluate` with support, on
    fewer episodes: OUT/result.json has its fields, success and forces as well.
    """

    policy: tyro.conf.Positional[str]
    """Base policy: a folder of `score pretrain`, an installed name, or package.module:factory."""
    settings: Flat[EvaluateSettings] = field(default_factory=EvaluateSettings)
    """Where and how much."""
    steering: Path | None = None
    """Run directory of `score steer`; without it the base policy is measured alone."""
    out: Path = Path("runs/support")
    """Run directory to write."""
    overwrite: bool = False
    """Replace what is there."""

    def run(self) -> None:
        """Measure, and show the tables."""
        how = {"steering": self.steering, "overwrite": self.overwrite, "notify": say}
        show_result(stages.support(self.settings, self.policy, self.out, **how))


def fewer(settings: EvaluateSettings, episodes: int = 50) -> EvaluateSettings:
    """Settings for support alone: every episode has several decisions, so fewer of them do."""
    amount = settings.evaluation
    return replace(settings, evaluation=replace(amount, episodes=min(amount.episodes, episodes)))
