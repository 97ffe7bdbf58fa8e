"""Pinch Cube on several robots: the whole loop on each, and one result file of all of them.

    python benchmarks/pinch_cube.py --robots 101 102 103

Every robot is a draw of the proxy with its own demonstrations, base policy, calibrated twin, steering and
evaluation; finished stages are reused, interrupted ones resumed. The robots of a verdict are seeds that were not
looked at before the recipe was frozen.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from score_rl.evaluation.results import write_results
from score_rl.evaluation.run import read_evaluation
from score_rl.pipeline.loop import run_loop
from score_rl.report.tables import results_table
from score_rl.tasks.recipe import FULL, get_recipe


@dataclass(frozen=True)
class Benchmark:
    """The loop on several robots."""

    robots: tuple[int, ...]
    """Robot seeds."""
    seed: int = 0
    """Seed of demonstrations, pretraining and steering."""
    recipe: str = FULL
    """Recipe of the task to run."""
    runs: Path = Path("runs/pinch_cube")
    """Folder of the run directories, one per robot."""
    result: Path = Path("benchmarks/results/pinch_cube.json")
    """Result file to write."""


def main() -> None:
    """Run the benchmark and print the table."""
    benchmark = tyro.cli(Benchmark, description=__doc__)
    records = []
    for robot in benchmark.robots:
        out = benchmark.runs / f"robot-{robot}"
        run_loop(get_recipe("pinch_cube", benchmark.recipe), out, robot_seed=robot, seed=benchmark.seed)
        for world in ("proxy", "twin"):
            found = read_evaluation(out / "evaluation" / world)
            # In the twin every robot is its own calibration: the seed names whose.
            records += [{**record, "robot_seed": robot} for record in found]
    write_results(benchmark.result, records)
    Console().print(results_table([record for record in records if record["world"] == "proxy"]))


if __name__ == "__main__":
    main()
