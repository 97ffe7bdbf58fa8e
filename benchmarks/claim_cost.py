"""What an experiment will cost on this machine: stage times measured on one robot, times the number of jobs.

    score demo --robot-seed 101 --out runs/demo
    python benchmarks/claim_cost.py benchmarks/claim.toml --given runs/demo

Times of a stage scale with the control steps and episodes asked for. Methods are taken to cost what SCORE costs and
tasks what this one costs; `score benchmark FILE --dry-run` says better once some jobs are done.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from score_rl.experiment.definition import load_experiment
from score_rl.experiment.job import Job
from score_rl.experiment.plan import plan
from score_rl.foundation.files import write_json
from score_rl.foundation.runs import read_run


@dataclass(frozen=True)
class Benchmark:
    """Estimate of an experiment's cost."""

    file: tyro.conf.Positional[Path]
    """Experiment file."""
    given: Path
    """Folder of a finished `score demo`."""
    support_factor: float = 2.0
    """What measuring support makes of an evaluation's time."""
    result: Path = Path("benchmarks/results/claim_cost.json")
    """Result file to write."""


def measured_s(given: Path) -> dict[str, float]:
    """Seconds of the stages: whole ones, per control step of steering, per episode of an evaluation."""

    def wall_s(name: str) -> float:
        return float(read_run(given / name)[0]["wall_s"])

    def per_episode_s(name: str) -> float:
        record, config = read_run(given / "evaluation" / name)
        return record["wall_s"] / (config["settings"]["evaluation"]["episodes"] * len(record["summary"]))

    steps = read_run(given / "steering")[0]["summary"]["control_steps"]
    return {
        "collect": wall_s("demonstrations"),
        "pretrain": wall_s("base"),
        "calibrate": wall_s("calibration"),
        "steer": wall_s("steering") / steps,
        "twin": per_episode_s("twin"),
        "proxy": per_episode_s("proxy"),
    }


def job_s(job: Job, times: dict[str, float], support_factor: float) -> float:
    """Seconds of a job."""
    if job.stage == "steer":
        return times["steer"] * sum(job.settings.control_steps)
    if job.stage != "evaluate":
        return times[job.stage]
    amount = job.settings.evaluation
    one = times["twin" if job.evaluation == "twin" else "proxy"] * amount.episodes * len(job.settings.policies)
    return one * (support_factor if amount.support else 1.0)


def main(benchmark: Benchmark) -> None:
    """Measure, estimate, print and write."""
    times = measured_s(benchmark.given)
    kinds: dict[str, list[float]] = {}
    for job in plan(load_experiment(benchmark.file)):
        name = f"{job.stage}, {job.evaluation}" if job.evaluation else job.stage
        kinds.setdefault(name, []).append(job_s(job, times, benchmark.support_factor))
    stages: list[dict[str, Any]] = [
        {"stage": name, "jobs": len(s), "seconds": round(sum(s) / len(s), 1), "hours": round(sum(s) / 3600, 2)}
        for name, s in kinds.items()
    ]
    record, _ = read_run(benchmark.given / "steering")
    provenance = {key: record[key] for key in ("commit", "machine")}
    hours = round(sum(stage["hours"] for stage in stages), 1)
    write_json(benchmark.result, {"benchmark": "claim_cost", **provenance, "hours": hours, "stages": stages})
    for stage in stages:
        print(f"{stage['stage']:24} {stage['jobs']:4} x {stage['seconds']:6.1f} s = {stage['hours']:5.2f} h")
    print(f"{hours:.1f} hours")


if __name__ == "__main__":
    main(tyro.cli(Benchmark, description=__doc__))
