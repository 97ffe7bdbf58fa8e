"""The same tuning effort for every method: a few settings each, in the calibrated twin of a development robot.

    score demo --robot-seed 101 --out runs/tuning/robot-101
    python benchmarks/tuning.py --given runs/tuning/robot-101

Nothing here sees the proxy. What was finished is reused, what was interrupted resumes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tyro

from score_rl.evaluation.results import write_results
from score_rl.evaluation.run import REFERENCES, EvaluateConfig
from score_rl.pipeline.experiment.definition import changed
from score_rl.pipeline.stages import evaluate, steer
from score_rl.real2sim.calibrate import DOMAIN_FILE
from score_rl.tasks.recipe import get_recipe

PER_STEP = {"learner.execute_steps": 1, "learner.decisions": 128}
FAST = {"learner.ppo.learning_rate": 2e-3, "learner.ppo.final_learning_rate": 0.1, "learner.ppo.clip": 0.3}
SETTINGS: dict[str, tuple[Mapping[str, Any], ...]] = {
    "score": (
        {},
        FAST,
        {"learner.latent.modes": 2},
        {"learner.latent.kind": "full", "learner.ppo.learning_rate": 3e-4},
    ),
    "residual": (
        {},
        FAST,
        {"residual.scale": 0.03, "residual.bound": 1.0, **FAST},
        PER_STEP,
    ),
    "unconstrained": (
        {},
        FAST,
        {"unconstrained.std": 0.3, **FAST},
        {"unconstrained.form": "per_step", "unconstrained.std": 0.3, **PER_STEP},
    ),
    "bc_regularized": (
        {},
        {"bc_regularized.coefficient": 10.0, "bc_regularized.shift.std": 0.3, **FAST},
        {"bc_regularized.coefficient": 100.0, "bc_regularized.shift.std": 0.3, **FAST},
        {"bc_regularized.coefficient": 1000.0, "bc_regularized.shift.std": 0.3, **FAST},
    ),
    "best_of_n": ({},),  # a control, and ahead of every rival with its defaults
}
"""Method -> the settings that are tried, as dotted paths into those of `score steer`; the first are the defaults.
What helped one method (FAST, a smaller shift) was tried with those that follow."""


@dataclass(frozen=True)
class Benchmark:
    """Train every method with each of its settings, and evaluate it in the twin."""

    given: Path
    """Folder of `score demo` for a development robot, of which demonstrations, base and calibration are used."""
    runs: Path = Path("runs/tuning")
    """Folder of the run directories."""
    task: str = "pinch_cube"
    """Where all other settings come from."""
    methods: tuple[str, ...] = tuple(SETTINGS)
    """Methods to tune; a part of them leaves a result file of that part."""
    control_steps: int = 400_000
    """Budget of every setting."""
    evaluation: EvaluateConfig = field(default_factory=lambda: EvaluateConfig(episodes=100, traced=0))
    """Episodes in the twin."""
    result: Path = Path("benchmarks/results/tuning.json")
    """Result file to write."""


def records_of(benchmark: Benchmark, method: str, number: int) -> list[dict[str, Any]]:
    """Records of one method with the settings of that number."""
    recipe, settings = get_recipe(benchmark.task), SETTINGS[method][number]
    twin, base = benchmark.given / "calibration" / DOMAIN_FILE, benchmark.given / "base"
    learn = replace(recipe.steer, method=method, worlds=(str(twin),), control_steps=(benchmark.control_steps,))
    for path, value in settings.items():
        learn = changed(learn, path, value, f"{method}, setting {number}")
    out = benchmark.runs / method / f"setting-{number}"
    steer(learn, base, out / "steering", dataset=benchmark.given / "demonstrations")
    where = replace(recipe.evaluate, world=str(twin), robot_seed=0, evaluation=benchmark.evaluation)
    records = evaluate(where, base, out / "twin", steering=out / "steering").records
    written = ", ".join(f"{path.removeprefix('learner.')} {value}" for path, value in settings.items())
    return [{**record, "settings": written} for record in records if record["policy"] not in REFERENCES]


def main() -> None:
    """Try every setting of every method and write one record per policy."""
    benchmark = tyro.cli(Benchmark, description=__doc__)
    records = [
        record
        for method in benchmark.methods
        for number in range(len(SETTINGS[method]))
        for record in records_of(benchmark, method, number)
    ]
    write_results(benchmark.result, records)


if __name__ == "__main__":
    main()
