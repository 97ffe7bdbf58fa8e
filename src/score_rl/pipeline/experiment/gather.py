"""Results of an experiment: flat records in the schema of `score evaluate`, paired across runs, and curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from score_rl.core.errors import ScoreError
from score_rl.core.files import read_json_lines
from score_rl.evaluation.results import Episode, compare
from score_rl.evaluation.run import read_episodes, read_evaluation
from score_rl.pipeline.experiment.definition import REFERENCE_POLICIES, Experiment
from score_rl.pipeline.experiment.job import REFERENCES, Job

CURVE_POINTS = 60
"""Points that a learning curve is thinned to."""
Key = tuple[str, int, str, int | None]
"""Task, robot, evaluation, training seed."""


@dataclass(frozen=True)
class Findings:
    """What came of an experiment; enough for all tables and pictures."""

    records: list[dict[str, Any]]
    """Flat records: those of `score evaluate` with `experiment`, `variant`, `label`, `role`, `evaluation`, `sweep`,
    `sweep_value`, and paired differences to `base`, `base_z0` and the experiment's own method (`vs_ours_*`)."""
    curves: list[dict[str, Any]]
    """Learning curves: task, robot_seed, variant, label, training_seed, control_steps and success (lists)."""


def gather(experiment: Experiment, jobs: Iterable[Job], runs: Path) -> Findings:
    """Read what the done jobs left. Raises ScoreError where no evaluation is done or a file is corrupt."""
    jobs = list(jobs)
    played = {
        (job, policy): episodes
        for job in jobs
        if job.stage == "evaluate"
        for policy, episodes in read_episodes(runs / job.name).items()
    }
    records = []
    for job in (job for job in jobs if job.stage == "evaluate"):
        for found in read_evaluation(runs / job.name):
            record = {name: value for name, value in found.items() if not name.startswith("vs_")}
            record |= _labels(experiment, job)
            others = _references(experiment, job, played, record["policy"])
            compare(record, played[job, record["policy"]], others)
            records.append(record)
    if not records:
        raise ScoreError(f"nothing to report yet: no evaluation under {runs} is done")
    return Findings(
        records, [curve for job in jobs if job.stage == "steer" for curve in _curve(experiment, job, runs)]
    )


def our_method(experiment: Experiment) -> str | None:
    """The method that rivals are compared with: the first of role `ours`."""
    return next((method.name for method in experiment.methods if method.role == "ours"), None)


def _labels(experiment: Experiment, job: Job) -> dict[str, Any]:
    method = next((method for method in experiment.methods if method.name == job.method), None)
    return {
        "experiment": experiment.name,
        "recipe": job.task,
        "robot_seed": job.robot,
        "evaluation": job.evaluation,
        "variant": job.method,
        "label": method.label if method else "base policy",
        "role": method.role if method else "control",
        "sweep": method.sweep if method else None,
        "sweep_value": method.sweep_value if method else None,
    }


def _references(
    experiment: Experiment, job: Job, played: dict[tuple[Job, str], list[Episode]], policy: str
) -> dict[str, Sequence[Episode]]:
    """Episodes to pair with: of the same task, robot and evaluation, and for `ours` of the same training seed."""
    ours, found = our_method(experiment), {}
    for (other, name), episodes in played.items():
        if (other.task, other.robot, other.evaluation) != (job.task, job.robot, job.evaluation):
            continue
        if other.method == REFERENCES and name in REFERENCE_POLICIES and name != policy:
            found[name] = episodes
        same_seed = job.training_seed in (None, other.training_seed)
        first = "ours" not in found
        if other.method == ours != job.method and name.endswith("_det") and same_seed and first:
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
