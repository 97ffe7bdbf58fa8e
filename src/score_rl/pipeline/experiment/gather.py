"""Results of an experiment: flat records in the schema of `score evaluate`, paired across runs, and curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from score_rl.core.errors import ScoreError
from score_rl.core.records import read_json, read_json_lines
from score_rl.core.run_record import read_run
from score_rl.evaluation.results import Episode, compare
from score_rl.evaluation.run import read_episodes, read_evaluation
from score_rl.pipeline.audit import RESULT
from score_rl.pipeline.experiment.audits import audit_results
from score_rl.pipeline.experiment.definition import REFERENCE_POLICIES, REFERENCES, Experiment, Method
from score_rl.pipeline.experiment.job import Job

CURVE_POINTS = 60
"""Points that a learning curve is thinned to."""
PRETRAINED = ("held_out_loss", "action_error", "action_error_z0")
"""What of a base policy's training its records say."""


Played = Mapping[tuple[str, str], tuple[Job, Sequence[Episode]]]
"""(Job's name, policy) -> the job and the policy's episodes."""


@dataclass(frozen=True)
class Findings:
    """What came of an experiment; enough for all tables and pictures."""

    records: list[dict[str, Any]]
    """Flat records: those of `score evaluate` with `experiment`, `variant`, `label`, `role`, `settings`,
    `evaluation`, `sweep`, `sweep_value`, and paired differences to `base`, `base_z0` and the experiment's own
    method (`vs_ours_*`)."""
    curves: list[dict[str, Any]]
    """Learning curves: task, robot_seed, variant, label, training_seed, control_steps and success (lists)."""
    audits: dict[str, dict[str, Any]]
    """Audit of the experiment -> what it found of all policies; see `audits.audit_results`."""


def gather(experiment: Experiment, jobs: Iterable[Job], runs: Path) -> Findings:
    """Read what the done jobs left. Raises ScoreError where no evaluation is done or a file is corrupt."""
    jobs = list(jobs)
    evaluations = [job for job in jobs if job.stage == "evaluate"]
    played: Played = {
        (job.name, policy): (job, episodes)
        for job in evaluations
        for policy, episodes in read_episodes(runs / job.name).items()
    }
    records = []
    for job in evaluations:
        for found in read_evaluation(runs / job.name):
            record = {name: value for name, value in found.items() if not name.startswith("vs_")}
            record |= _labels(experiment, job)
            if record["policy"] in REFERENCE_POLICIES:
                record |= _pretrained(runs / job.inputs["policy"])
            others = _references(experiment, job, played, record["policy"])
            compare(record, played[job.name, record["policy"]][1], others)
            records.append(record)
    if not records:
        raise ScoreError(f"nothing to report yet: no evaluation under {runs} is done")
    curves = [curve for job in jobs if job.stage == "steer" for curve in _curve(experiment, job, runs)]
    audits = {}
    for audit in experiment.audits:
        asked = [job for job in jobs if job.stage == "audit" and job.evaluation == audit.name]
        if asked:
            found = [(read_json(runs / job.name / RESULT), _labels(experiment, job)) for job in asked]
            audits[audit.name] = audit_results(found, records, audit.panel)
    return Findings(records, curves, audits)


def compared_with(experiment: Experiment, name: str) -> str | None:
    """The method that a method is compared with: the first of role `ours`; for a rival or control the first of them
    that learns in the same twin, where there is one."""
    ours = [method for method in experiment.methods if method.role == "ours"]
    asks = next((method for method in experiment.methods if method.name == name), None)
    alike = [method for method in ours if asks and asks.role != "ours" and method.domain == asks.domain]
    return next((method.name for method in (*alike, *ours)), None)


def _labels(experiment: Experiment, job: Job) -> dict[str, Any]:
    method = next((method for method in experiment.methods if method.name == job.method), REFERENCES)
    seed = {} if job.training_seed is None else {"training_seed": job.training_seed}
    return {
        "experiment": experiment.name,
        "recipe": job.task,
        "robot_seed": job.robot,
        **seed,
        "evaluation": job.evaluation,
        "variant": method.name,
        "label": method.label,
        "role": method.role,
        "settings": _settings_text(method),
        "sweep": method.sweep,
        "sweep_value": method.sweep_value,
    }


def _settings_text(method: Method) -> str:
    """What a method sets, for people: `ppo.learning_rate 0.002, ppo.clip 0.3`."""
    short = {path.removeprefix("steer.").removeprefix("learner."): value for path, value in method.settings.items()}
    return ", ".join(f"{path} {value}" for path, value in short.items())


def _pretrained(base: Path) -> dict[str, Any]:
    summary = read_run(base)[0].summary
    return {key: summary[key] for key in PRETRAINED if key in summary}


def _references(experiment: Experiment, job: Job, played: Played, policy: str) -> dict[str, Sequence[Episode]]:
    """Episodes to pair with: of the same task, robot and evaluation, and, if both have one, training seed."""
    ours, found = compared_with(experiment, job.method), {}
    for (_, name), (other, episodes) in played.items():
        seeds = {job.training_seed, other.training_seed} - {None}
        if (other.task, other.robot, other.evaluation) != (job.task, job.robot, job.evaluation) or len(seeds) > 1:
            continue
        if other.method == REFERENCES.name and (other.name, name) != (job.name, policy):
            found[name] = episodes
        if other.method == ours != job.method and name.endswith("_det") and "ours" not in found:
            found["ours"] = episodes
    return found


def _curve(experiment: Experiment, job: Job, runs: Path) -> list[dict[str, Any]]:
    """Success of the training episodes against control steps; nothing for a method without that log."""
    log = runs / job.name / "metrics.jsonl"
    points = [r for r in read_json_lines(log) if "success" in r and "control_steps" in r] if log.exists() else []
    points = points[:: max(1, len(points) // CURVE_POINTS)]
    if not points:
        return []
    labels = {key: _labels(experiment, job)[key] for key in ("variant", "label", "role", "robot_seed")}
    curve = {key: [round(r[key], 4) for r in points] for key in ("control_steps", "success")}
    return [{"task": job.task, **labels, "training_seed": job.training_seed, **curve}]
