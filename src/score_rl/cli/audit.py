"""`score audit`: which mismatch between twin and robot a policy survives."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.console import Console
from rich.table import Table

from score_rl.cli.common import Flat, console, open_run
from score_rl.cli.evaluate import chosen, steering_bundle
from score_rl.contracts import FlowPolicy, World
from score_rl.core.chunks import check_fit
from score_rl.core.files import read_json
from score_rl.core.runs import describe_process
from score_rl.evaluation.audit.panel import mismatches
from score_rl.evaluation.audit.run import AuditConfig, check, run_panel
from score_rl.evaluation.audit.verdict import Verdict, judge
from score_rl.evaluation.support.meter import SupportConfig, SupportMeter
from score_rl.policies.flow.policy import load_policy
from score_rl.report.audit import HEADER, PAGE, RESULT, rows, write_audit
from score_rl.sim.domain import Domain, load_domain
from score_rl.sim.task import get_task
from score_rl.sim.world import make_world
from score_rl.steering.method import Trained
from score_rl.steering.methods import load_trained
from score_rl.steering.policy import compulsory_deciders


@dataclass(frozen=True)
class AuditSettings:
    """What an audit asks."""

    task: str = "pinch_cube"
    """Task; `score tasks` lists the names."""
    domain: str = "runs/calibration/domain.toml"
    """The calibrated twin."""
    deployed: str = ""
    """Which of the policies, by name or by how it ends (stoch); by default the mean of the steering policy."""
    panel: AuditConfig = field(default_factory=AuditConfig)
    """Mismatches, sizes and episodes."""


@dataclass(frozen=True)
class Audit:
    """Ask in variations of the calibrated twin what a policy would survive on the robot; the proxy is never used.

    One mismatch at a time and all together, in graded sizes. OUT/audit.json, audit.md and audit.html say which
    mismatch halves success at what size, what success to expect, how hard the hand presses, and what to do.
    """

    settings: Flat[AuditSettings]
    """What is asked."""
    policy: tyro.conf.Positional[Path] = Path("runs/base")
    """Bundle of the base policy."""
    steering: Path | None = None
    """Run directory of `score steer`, or its bundle; without it the base policy itself is audited."""
    out: Path = Path("runs/audit")
    """Run directory to write."""
    overwrite: bool = False
    """Replace what is there."""

    def run(self) -> dict[str, Any]:
        """The record of audit.json."""
        parameters = get_task(self.settings.task).parameters
        domain = load_domain(self.settings.domain, parameters)
        check(domain, self.settings.panel)
        base = load_policy(self.policy)
        bundle = steering_bundle(self.steering) if self.steering is not None else None
        steered = load_trained(bundle, base) if bundle is not None else None
        deciders = compulsory_deciders(base, steered)
        wanted = self.settings.deployed or ("base" if steered is None else list(deciders)[-1])
        (name, decider), *_ = chosen(deciders, (wanted,)).items()
        steps = steered.spec.execute_steps if steered is not None else max(1, base.spec.horizon // 2)
        check_fit(base.spec, make_world(self.settings.task, domain, 1).spec, steps)
        inputs = {"policy": Path(self.policy), "domain": Path(self.settings.domain)}
        inputs |= {"steering": bundle} if bundle is not None else {}
        run = open_run(self.out, "audit", self.settings, inputs, self.overwrite)
        if run.finished:
            return read_json(run.path(RESULT))
        torch.set_num_threads(1)

        def world_of(varied: Domain, num_envs: int) -> World:
            return make_world(self.settings.task, varied, num_envs)

        meter = support_meter(base, steered, world_of(domain, 1)) if self.settings.panel.support else None
        verdict = judge(
            run_panel(decider, domain, mismatches(parameters), world_of, steps, self.settings.panel, run, meter)
        )
        labels = {"task": self.settings.task, "policy": name, "domain": domain.name, "config": self.settings.panel}
        record = write_audit(run.directory, verdict, labels | _provenance())
        run.finish({"nominal": verdict.nominal.success, "expected": verdict.expected})
        show(verdict)
        console.print(f"audit: {run.path(PAGE)}", highlight=False)
        return record


def support_meter(base: FlowPolicy, steered: Trained | None, world: World) -> SupportMeter:
    """Measures support as `score evaluate` does."""
    latent = steered.spec.latent if steered is not None else None
    return SupportMeter(base, world.spec.action_low, world.spec.action_high, SupportConfig(), latent)


def show(verdict: Verdict) -> None:
    """Print the table and the recommendation."""
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for column in HEADER[:2]:
        table.add_column(column, no_wrap=True)
    table.add_column(HEADER[3])
    for row in rows(verdict):
        table.add_row(*row[:2], row[3])
    terminal = Console()
    terminal.print(table)
    for line in verdict.recommendation:
        terminal.print(f"- {line}", highlight=False)


def _provenance() -> dict[str, str]:
    process = describe_process()
    machine = process["machine"]
    return {
        "commit": process["commit"],
        "command": process["command"],
        "machine": f"{machine['gpu'] or machine['cpu']}, {machine['cores']} CPU cores",
    }
