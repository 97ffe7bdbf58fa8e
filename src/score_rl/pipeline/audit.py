"""The stage that asks which mismatch between twin and robot a policy survives."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from score_rl.contracts import World
from score_rl.core.chunks import check_fit
from score_rl.core.extras import optional
from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.core.records import read_json, validate
from score_rl.core.run_record import verify
from score_rl.deploy.bundle.bundle import default_steps
from score_rl.evaluation.audit.panel import check_mismatches, mismatches
from score_rl.evaluation.audit.run import check, run_panel
from score_rl.evaluation.audit.verdict import Verdict, as_json, judge
from score_rl.evaluation.support.meter import SupportConfig
from score_rl.pipeline.inputs import Notify, content_hash, open_run, silent
from score_rl.pipeline.stages import chosen, open_parts, support_meter
from score_rl.sim.domain import Domain, load_domain
from score_rl.sim.task import get_task
from score_rl.steering.policy import compulsory_deciders
from score_rl.tasks.settings import AuditSettings

RESULT, SCHEMA_VERSION = "audit.json", 1


@dataclass(frozen=True)
class Audited:
    """Result of `audit`."""

    directory: Path
    """Run directory."""
    reused: bool
    """Whether the run was finished already."""
    record: Mapping[str, Any]
    """What audit.json holds."""
    verdict: Verdict


def audit(
    settings: AuditSettings, policy: str | Path, out: str | Path, *, steering: str | Path | None = None,
    overwrite: bool = False, notify: Notify = silent,
) -> Audited:  # fmt: skip
    """Ask in variations of the calibrated twin what a policy would survive on the robot; the proxy is never used."""
    validate(settings)
    with optional("a simulated task"):
        from score_rl.sim.world import make_world

    parameters = get_task(settings.task).parameters
    domain = load_domain(settings.domain, parameters)
    check(domain, settings.panel)
    base, steered, hashes = open_parts(policy, steering)
    causes = mismatches(parameters, clouds=bool(base.spec.interface.views))
    check_mismatches(settings.panel.only, causes)
    deciders = compulsory_deciders(base, steered)
    wanted = settings.deployed or ("base" if steered is None else list(deciders)[-1])
    (name, decider), *_ = chosen(deciders, (wanted,)).items()
    steps = default_steps(base.spec, steered)

    def world_of(varied: Domain, num_envs: int) -> World:
        return make_world(settings.task, varied, num_envs, views=base.spec.interface.views)

    with closing(world_of(domain, 1)) as world:
        check_fit(base.spec, world.spec, steps)
        meter = support_meter(base, steered, world, SupportConfig()) if settings.panel.support else None
    hashes["domain"] = content_hash(Path(settings.domain))
    inputs = {"policy": policy, "steering": steering, "domain": settings.domain}
    run = open_run(Path(out), "audit", settings, hashes, inputs, overwrite, notify=notify)
    reused = run.finished
    torch.set_num_threads(1)
    # Of a finished run everything is in its log, and nothing is played again.
    verdict = judge(run_panel(decider, domain, causes, world_of, steps, settings.panel, run, meter))
    if not reused:
        labels = {"task": settings.task, "policy": name, "domain": domain.name, "config": settings.panel}
        record = {"schema_version": SCHEMA_VERSION, **labels, **_provenance(), **as_json(verdict)}
        write_json(run.path(RESULT), record)
        run.finish({"nominal": verdict.nominal.success, "expected": verdict.expected})
    verify(run.directory, RESULT)
    return Audited(run.directory, reused, read_json(run.path(RESULT)), verdict)


def _provenance() -> dict[str, str]:
    process = describe_process()
    machine = process["machine"]
    return {
        "commit": process["commit"],
        "command": process["command"],
        "machine": f"{machine['gpu'] or machine['cpu']}, {machine['cores']} CPU cores",
    }
