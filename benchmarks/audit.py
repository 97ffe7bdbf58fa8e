"""How well audits in the twin predict success in the proxy, over all policies of a benchmark.

    score benchmark benchmarks/claim.toml
    python benchmarks/audit.py benchmarks/claim.toml

Every trained policy and the base policies are audited in their own calibrated twin (all mismatches together, graded),
and the expected success is compared with what `score benchmark` found in the proxy. What was audited is reused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from score_rl.audit.panel import JOINT
from score_rl.audit.prediction import rank_correlation
from score_rl.audit.run import AuditConfig
from score_rl.calibration.calibrate import DOMAIN_FILE
from score_rl.commands.audit import Audit, AuditSettings
from score_rl.evaluation.results import read_results
from score_rl.experiment.definition import load_experiment
from score_rl.experiment.job import REFERENCES
from score_rl.foundation.files import write_json
from score_rl.foundation.runs import describe_process

OUTCOMES = {"proxy": "success under the protective stop", "proxy_raw": "success without it"}


@dataclass(frozen=True)
class Benchmark:
    """Audits against the proxy."""

    file: tyro.conf.Positional[Path]
    """Experiment file of a finished `score benchmark`."""
    runs: Path | None = None
    """Its folder; by default runs/NAME."""
    panel: AuditConfig = field(
        default_factory=lambda: AuditConfig(sizes=(0.5, 1.0, 2.0, 4.0), only=(JOINT,), support=False)
    )
    """What is asked of every policy."""
    result: Path = Path("benchmarks/results/audit.json")
    """Result file to write."""


def audited(record: Mapping[str, Any], out: Path, panel: AuditConfig) -> dict[str, Any]:
    """One policy: success by size of the joint panel, and what was found in twin and proxy."""
    folder = out / "runs" / record["recipe"] / f"robot-{record['robot_seed']}"
    trained = record["variant"] != REFERENCES
    place = folder / record["variant"] / f"seed-{record['training_seed']}" if trained else folder / REFERENCES
    settings = AuditSettings(record["task"], str(folder / "calibration" / DOMAIN_FILE), record["policy"], panel)
    steering = place / "steering" if trained else None
    found = Audit(settings, folder / "base", steering, place / f"audit-{record['policy']}").run()
    joint = next(curve for curve in found["curves"] if curve["mismatch"] == JOINT)
    labels = {key: record[key] for key in ("task", "robot_seed", "training_seed", "variant", "label", "policy")}
    sizes = {f"joint_{cell['size']:g}": round(cell["success"], 4) for cell in joint["cells"]}
    return {**labels, "nominal": found["nominal"]["success"], "n": joint["cells"][0]["n"], **sizes}


def correlations(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every prediction against every outcome, over all policies and over those of each task."""
    predictions = [key for key in rows[0] if key == "nominal" or key.startswith("joint_")]
    found = []
    for task in ("all", *dict.fromkeys(row["task"] for row in rows)):
        chosen = [row for row in rows if task in ("all", row["task"])]
        for prediction in predictions:
            for outcome in OUTCOMES:
                known = [row for row in chosen if row.get(outcome) is not None]
                clusters = [(row["task"], row["robot_seed"]) for row in known]
                if len(known) > 2 and (
                    r := rank_correlation([k[prediction] for k in known], [k[outcome] for k in known], clusters)
                ):
                    found.append({"task": task, "prediction": prediction, "outcome": outcome, **vars(r)})
    return found


def main(benchmark: Benchmark) -> None:
    """Audit, compare, print and write."""
    experiment = load_experiment(benchmark.file)
    out = Path(benchmark.runs or Path("runs") / experiment.name).absolute()
    records = [r for r in read_results(out / "result.json") if not r["policy"].endswith("_stoch")]
    rows = []
    for record in (record for record in records if record["evaluation"] == "proxy"):
        row = audited(record, out, benchmark.panel)
        same = ("recipe", "robot_seed", "training_seed", "variant", "policy")
        for other in (r for r in records if all(r[key] == record[key] for key in same)):
            row[other["evaluation"]] = other["success_rate"]
        rows.append(row)
    found = correlations(rows)
    process = describe_process()
    provenance = {key: process[key] for key in ("command", "commit", "machine")}
    write_json(benchmark.result, {"benchmark": "audit", **provenance, "correlations": found, "policies": rows})
    for c in found:
        print(
            f"{c['task']}, {c['prediction']} -> {c['outcome']}: rho {c['rho']:.2f} [{c['low']:.2f}, {c['high']:.2f}]"
        )


if __name__ == "__main__":
    main(tyro.cli(Benchmark, description=__doc__))
