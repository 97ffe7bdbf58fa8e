"""How well audits in the twin predict success in the proxy, over the policies of a benchmark; and how each of its
methods bears a twin that is made worse and worse.

    score benchmark benchmarks/claim.toml
    python benchmarks/audit.py benchmarks/claim.toml --processes 2
    python benchmarks/audit.py benchmarks/claim.toml --processes 2 --tasks pinch_cube --robots 51 \\
        --variants score unconstrained --panel.only --panel.sizes 2 4 --result benchmarks/results/audit_single.json

Every trained policy and the base policies are audited in their own robot's calibrated twin, and the expected success
is compared with what `score benchmark` found in the proxy. The first call asks for all mismatches together, graded;
the second for each alone. What was audited is reused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import tyro

from score_rl.core.errors import unknown_choice
from score_rl.core.files import write_json
from score_rl.core.progress import progress
from score_rl.core.runs import describe_process
from score_rl.core.statistics import wilson
from score_rl.evaluation.audit.panel import JOINT
from score_rl.evaluation.audit.prediction import rank_correlation
from score_rl.evaluation.audit.run import AuditConfig
from score_rl.evaluation.results import read_results
from score_rl.pipeline.audit import audit
from score_rl.pipeline.experiment.definition import load_experiment
from score_rl.pipeline.experiment.job import REFERENCES
from score_rl.real2sim.calibrate import DOMAIN_FILE
from score_rl.tasks.settings import AuditSettings

OUTCOMES = {"proxy": "success under the protective stop", "proxy_raw": "success without it"}


@dataclass(frozen=True)
class Benchmark:
    """Audits against the proxy."""

    file: tyro.conf.Positional[Path]
    """Experiment file of a `score benchmark`; what it has finished is audited."""
    runs: Path | None = None
    """Its folder; by default runs/NAME."""
    tasks: tuple[str, ...] = ()
    """Only these tasks."""
    robots: tuple[int, ...] = ()
    """Only these robots."""
    variants: tuple[str, ...] = ()
    """Only these methods of the experiment (`references`: base policy and z = 0)."""
    panel: AuditConfig = field(
        default_factory=lambda: AuditConfig(
            sizes=(1.0, 2.0, 4.0), episodes=48, joint_episodes=48, only=(JOINT,), support=False
        )
    )
    """What is asked of every policy."""
    processes: int = 1
    """Policies that are audited side by side."""
    result: Path = Path("benchmarks/results/audit.json")
    """Result file to write. Its name is also that of the audits' folder, below the experiment's."""


def audited(record: Mapping[str, Any], out: Path, audits: str, panel: AuditConfig) -> dict[str, Any]:
    """One policy: success in the twin itself, and by mismatch and size."""
    folder = out / "runs" / record["recipe"] / f"robot-{record['robot_seed']}"
    trained = record["variant"] != REFERENCES
    place = folder / record["variant"] / f"seed-{record['training_seed']}" if trained else folder / REFERENCES
    settings = AuditSettings(record["task"], str(folder / "calibration" / DOMAIN_FILE), record["policy"], panel)
    target = out / "audits" / audits / place.relative_to(out / "runs") / record["policy"]
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        found = audit(settings, folder / "base", target, steering=place / "steering" if trained else None).record
    labels = {key: record[key] for key in ("task", "robot_seed", "training_seed", "variant", "label", "policy")}
    curves = [
        {
            "mismatch": f"{curve['mismatch']} {curve['direction']}".strip(),
            **{f"{cell['size']:g}": round(cell["success"], 4) for cell in curve["cells"]},
            "n": curve["cells"][0]["n"],
            "stops": [cell["faults"] for cell in curve["cells"]],
            "force_p95_n": [cell["peak_force_p95_n"] for cell in curve["cells"]],
        }
        for curve in found["curves"]
    ]
    return {**labels, "nominal": found["nominal"]["success"], "nominal_n": found["nominal"]["n"], "curves": curves}


def predictions(row: Mapping[str, Any], sizes: Sequence[float]) -> dict[str, float]:
    """What an audit foretells: success in the twin itself, and with all mismatches together, by size."""
    joint = next((curve for curve in row["curves"] if curve["mismatch"] == JOINT), None)
    graded = {f"joint_{size:g}": joint[f"{size:g}"] for size in sizes} if joint else {}
    return {"nominal": row["nominal"], **graded}


def correlations(rows: Sequence[Mapping[str, Any]], sizes: Sequence[float]) -> list[dict[str, Any]]:
    """Every prediction against every outcome, over all policies and over those of each task."""
    found = []
    for task in ("all", *dict.fromkeys(row["task"] for row in rows)):
        chosen = [row for row in rows if task in ("all", row["task"])]
        for prediction in predictions(rows[0], sizes):
            for outcome in OUTCOMES:
                known = [row for row in chosen if row.get(outcome) is not None]
                foretold = [predictions(row, sizes)[prediction] for row in known]
                clusters = [(row["task"], row["robot_seed"]) for row in known]
                if len(known) > 2 and (r := rank_correlation(foretold, [row[outcome] for row in known], clusters)):
                    found.append({"task": task, "prediction": prediction, "outcome": outcome, **vars(r)})
    return found


def grades(rows: Sequence[Mapping[str, Any]], sizes: Sequence[float]) -> list[dict[str, Any]]:
    """Success of every method by mismatch and size, episodes of all its tasks and robots together."""
    found = []
    names = list(dict.fromkeys(curve["mismatch"] for row in rows for curve in row["curves"]))
    for variant, policy in dict.fromkeys((row["variant"], row["policy"]) for row in rows):
        mine = [row for row in rows if (row["variant"], row["policy"]) == (variant, policy)]
        nominal = [round(row["nominal"] * row["nominal_n"]) for row in mine]
        labels = {"variant": variant, "policy": policy, "label": mine[0]["label"], "cells": len(mine)}
        for name in names:
            curves = [curve for row in mine for curve in row["curves"] if curve["mismatch"] == name]
            n = sum(curve["n"] for curve in curves)
            by_size = [_grade(0.0, sum(nominal), sum(row["nominal_n"] for row in mine))]
            for size in sizes:
                by_size.append(_grade(size, sum(round(c[f"{size:g}"] * c["n"]) for c in curves), n))
            found.append({**labels, "mismatch": name, "sizes": by_size})
    return found


def _grade(size: float, successes: int, n: int) -> dict[str, Any]:
    return {"size": size, "n": n, "success": round(successes / n, 4), "wilson95": wilson(successes, n)}


def main(benchmark: Benchmark) -> None:
    """Audit, compare, print and write."""
    experiment = load_experiment(benchmark.file)
    out = Path(benchmark.runs or Path("runs") / experiment.name).absolute()
    records = [r for r in read_results(out / "result.json") if not r["policy"].endswith("_stoch")]
    chosen = {"task": benchmark.tasks, "robot_seed": benchmark.robots, "variant": benchmark.variants}
    for key, allowed in chosen.items():
        known = list(dict.fromkeys(record[key] for record in records))
        for one in allowed:
            if one not in known:
                raise unknown_choice(key, str(one), [str(value) for value in known])
        records = [record for record in records if not allowed or record[key] in allowed]
    policies = [record for record in records if record["evaluation"] == "proxy"]
    name, panel = benchmark.result.stem, benchmark.panel
    with ProcessPoolExecutor(benchmark.processes, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(audited, record, out, name, panel) for record in policies]
        with progress("policies", len(futures)) as advance:
            for _ in as_completed(futures):
                advance()
    rows = []
    for record, future in zip(policies, futures):
        row = future.result()
        same = ("recipe", "robot_seed", "training_seed", "variant", "policy")
        for other in (r for r in records if all(r[key] == record[key] for key in same)):
            row[other["evaluation"]] = other["success_rate"]
        rows.append(row)
    found = correlations(rows, panel.sizes)
    process = describe_process()
    provenance = {key: process[key] for key in ("command", "commit", "machine")}
    result = {"correlations": found, "grades": grades(rows, panel.sizes), "policies": rows}
    write_json(benchmark.result, {"benchmark": "audit", **provenance, "panel": panel, **result})
    for c in found:
        print(
            f"{c['task']}, {c['prediction']} -> {c['outcome']}: rho {c['rho']:.2f} [{c['low']:.2f}, {c['high']:.2f}]"
        )


if __name__ == "__main__":
    main(tyro.cli(Benchmark, description=__doc__))
