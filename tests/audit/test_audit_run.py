"""Running a panel in a toy world: the same seeds everywhere, resume, and files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import ToyPolicy, ToyWorld

from score_rl.core.errors import ScoreError
from score_rl.core.runs import Run, start_run
from score_rl.evaluation.audit import run as module
from score_rl.evaluation.audit.panel import JOINT, NOMINAL, mismatches
from score_rl.evaluation.audit.run import AuditConfig, check, run_panel
from score_rl.evaluation.audit.verdict import as_json, judge
from score_rl.report.audit import write_audit
from score_rl.sim.domain import Domain
from score_rl.sim.draws import Draws
from score_rl.sim.task import get_task
from score_rl.steering.heads import Decision

CONFIG = AuditConfig(sizes=(1.0, 2.0), episodes=6, joint_episodes=8, robots=2, only=("robot.delay_s", JOINT))
PARAMETERS = get_task("pinch_cube").parameters
DOMAIN = Domain("twin_calibrated")


@dataclass(frozen=True)
class Settings:
    panel: AuditConfig


class Seeker:
    """Walks to the goal that it sees; succeeds always."""

    spec = ToyPolicy().spec

    def decide(self, window: dict, noise: torch.Tensor) -> Decision:
        goal = window["state"][:, -1, 1].sign()
        return Decision(goal[:, None, None].expand_as(noise).contiguous(), torch.zeros_like(noise))


class Delayed(ToyWorld):
    """A world whose point is weaker the more delay its domain has: no success beyond 15 ms."""

    def __init__(self, domain: Domain, num_envs: int) -> None:
        super().__init__(num_envs)
        delay = float(np.ravel(Draws(domain, PARAMETERS).robot(0).get("robot.delay_s", 0.0))[0])
        self.weak = delay > 0.015

    def step(self, action: torch.Tensor):
        return super().step(action * (0.1 if self.weak else 1.0))


def run_of(tmp_path: Path) -> Run:
    return start_run(tmp_path / "run", "audit", Settings(CONFIG), {})


def test_a_panel_is_played_on_the_same_seeds_and_judged(tmp_path: Path) -> None:
    outcomes = run_panel(
        Seeker(), DOMAIN, mismatches(PARAMETERS), Delayed, Seeker.spec.horizon, CONFIG, run_of(tmp_path)
    )
    seeds = {(o.variation.mismatch, o.variation.size): [e.seed for e in o.all] for o in outcomes}
    first = CONFIG.first_seed
    assert seeds[NOMINAL, 0] == seeds[JOINT, 1] == list(range(first, first + 8))
    assert seeds["robot.delay_s", 1] == seeds["robot.delay_s", 2] == list(range(first, first + 6))
    verdict = judge(outcomes)
    assert verdict.nominal.success == 1.0
    (delay,) = verdict.curves
    assert [cell.success for cell in delay.cells] == [1.0, 0.0]
    assert delay.critical == pytest.approx(1.5)  # half way between 10 and 20 ms
    assert as_json(verdict)["expected"] == verdict.expected
    assert write_audit(tmp_path, verdict, {"task": "toy", "policy": "seeker"}) == tmp_path / "audit.html"
    assert "| robot.delay_s | +15 ms |" in (tmp_path / "audit.md").read_text()
    page = (tmp_path / "audit.html").read_text()
    assert "<svg" in page and not [link for link in ('src="http', 'href="http', "url(http") if link in page]


def test_an_interrupted_panel_goes_on_behind_its_last_robot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played, play = [], module._play

    def interrupted(world, decider, seeds, steps, meter):
        if len(played) == 3:
            raise KeyboardInterrupt
        played.append(list(seeds))
        return play(world, decider, seeds, steps, meter)

    monkeypatch.setattr(module, "_play", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_panel(Seeker(), DOMAIN, mismatches(PARAMETERS), Delayed, Seeker.spec.horizon, CONFIG, run_of(tmp_path))
    played.append(None)
    resumed = run_panel(
        Seeker(), DOMAIN, mismatches(PARAMETERS), Delayed, Seeker.spec.horizon, CONFIG, run_of(tmp_path)
    )
    monkeypatch.undo()
    whole = run_panel(
        Seeker(), DOMAIN, mismatches(PARAMETERS), Delayed, Seeker.spec.horizon, CONFIG, run_of(tmp_path / "other")
    )
    assert [o.all for o in resumed] == [o.all for o in whole]
    assert len(played) == 8  # 1 nominal, 2 sizes of the delay, 2 x 2 virtual robots together, and the mark


def test_the_proxy_is_refused() -> None:
    with pytest.raises(ScoreError, match="proxy is the robot's stand-in"):
        check(Domain("proxy"), CONFIG)
    with pytest.raises(ScoreError, match="expected increasing numbers"):
        check(DOMAIN, replace(CONFIG, sizes=(2.0, 1.0)))
    with pytest.raises(ScoreError, match="every virtual robot needs an episode"):
        check(DOMAIN, replace(CONFIG, robots=7))
