"""How far the twins of a benchmark are from their robots, in the units of the audit's panel.

    score benchmark experiments/claim.toml
    python benchmarks/mismatch.py experiments/claim.toml

For every robot: the proxy's parameters against those of its calibrated twin, and of the twin that calibration started
from. It reads the proxy, so it explains results; nothing in training or selection knows it. Lag, delay and play of a
calibrated twin are effective values that also make up for its coarse steps and for dry friction, so for them the
figure says more than there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.core.run_record import read_run
from score_rl.evaluation.audit.panel import PHYSICS_STEP, Mismatch, mismatches
from score_rl.pipeline.experiment.definition import REFERENCES
from score_rl.pipeline.experiment.file import load_experiment
from score_rl.real2sim.settings import DOMAIN_FILE
from score_rl.sim.domain import Domain, load_domain
from score_rl.sim.draws import Draws
from score_rl.sim.parameters import Parameters
from score_rl.sim.task import get_task

EPISODES = range(400)
"""Episodes whose mean stands for what a world is like."""


@dataclass(frozen=True)
class Benchmark:
    """Twins against robots."""

    file: tyro.conf.Positional[Path]
    """Experiment file of a `score benchmark` whose calibrations are done."""
    runs: Path | None = None
    """Its folder; by default runs/NAME."""
    result: Path = Path("benchmarks/results/mismatch.json")
    """Result file to write."""


def values(domain: Domain, parameters: Parameters, robot_seed: int) -> dict[str, np.ndarray]:
    """{general name: (p,)}: means over episodes of one robot; the physics step in seconds."""
    draws = Draws(domain, parameters)
    drawn = draws.episodes(draws.robot(robot_seed), list(EPISODES))
    means = {parameters.general_name(name): drawn[name].mean(axis=0) for name in parameters}
    return means | {PHYSICS_STEP: np.array([domain.physics.timestep_s])}


def size(mismatch: Mismatch, robot: np.ndarray, twin: np.ndarray) -> float:
    """Root mean square, over joints or axes, of how many units apart robot and twin are."""
    if mismatch.kind == "factor":
        units = np.log(robot / twin) / np.log(1 + mismatch.unit)
    elif mismatch.kind == "finer":
        units = (twin / robot - 1) / mismatch.unit
    else:
        units = (robot - twin) / mismatch.unit
    return float(np.sqrt(np.mean(units**2)))


def distances(
    panel: Sequence[Mismatch], robot: Mapping[str, np.ndarray], twin: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """{mismatch: size} for every mismatch of the panel."""
    return {m.parameter: round(size(m, robot[m.parameter], twin[m.parameter]), 3) for m in panel}


def main(benchmark: Benchmark) -> None:
    """Compare, print and write."""
    experiment = load_experiment(benchmark.file)
    out = Path(benchmark.runs or Path("runs") / experiment.name)
    rows: list[dict[str, Any]] = []
    for task, robot_seed in experiment.cells(REFERENCES):
        folder = out / "runs" / task / f"robot-{robot_seed}" / "calibration"
        parameters = get_task(task).parameters
        panel = mismatches(parameters)
        robot = values(load_domain(experiment.recipe_of(task).evaluate.world), parameters, robot_seed)
        _, config = read_run(folder)
        start, calibrated = load_domain(config["settings"]["world"]), load_domain(folder / DOMAIN_FILE)
        for twin, domain in (("uncalibrated", start), ("calibrated", calibrated)):
            found = distances(panel, robot, values(domain, parameters, 0))
            rows.append({"task": task, "robot_seed": robot_seed, "twin": twin, **found})
    process = describe_process()
    provenance = {key: process[key] for key in ("command", "commit", "machine")}
    write_json(benchmark.result, {"benchmark": "mismatch", **provenance, "distances": rows})
    for mismatch in panel:
        means = {
            twin: np.mean([row[mismatch.parameter] for row in rows if row["twin"] == twin])
            for twin in ("uncalibrated", "calibrated")
        }
        print(f"{mismatch.parameter}: {means['uncalibrated']:.2f} -> {means['calibrated']:.2f}")


if __name__ == "__main__":
    main(tyro.cli(Benchmark, description=__doc__))
