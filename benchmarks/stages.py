"""How long every stage of `score demo` took, from what it left.

    for task in screw_lightbulb place_dishrack; do score --task $task demo --out runs/demos/$task; done
    python benchmarks/stages.py --runs runs/demos --load 1 2

Reads the run.json of every stage below runs/demos/TASK; a stage that is not there is left out. Wall clock counts what
else the machine did: `--load` says how much that was. Tasks without runs keep what the result file says of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.core.records import read_json
from score_rl.sim.task import task_names

EVALUATIONS = ("uncalibrated", "twin", "proxy")
STAGES = ("demonstrations", "base", "calibration", "steering", *(f"evaluation/{name}" for name in EVALUATIONS))


@dataclass(frozen=True)
class Benchmark:
    """Wall clock of stages."""

    load: tuple[float, float]
    """Lowest and highest load average while the runs were made."""
    runs: Path = Path("runs/demos")
    """A folder per task: what `score demo` left."""
    result: Path = Path("benchmarks/results/stages.json")
    """Result file to write, or to add to."""


def main(benchmark: Benchmark) -> None:
    """Gather and write."""
    process, found = describe_process(), []
    for task in task_names():
        for stage in STAGES:
            path = benchmark.runs / task / stage / "run.json"
            if path.exists() and (run := read_json(path))["status"] == "finished":
                told = {key: run[key] for key in ("wall_s", "commit", "command")}
                found.append({"task": task, "stage": stage, "load_average": benchmark.load, **told})
    measured = {record["task"] for record in found}
    known = read_json(benchmark.result)["records"] if benchmark.result.exists() else []
    kept = [record for record in known if record["task"] not in measured]
    about = {key: process[key] for key in ("commit", "command", "machine")}
    write_json(benchmark.result, {"records": kept + found, **about})


if __name__ == "__main__":
    main(tyro.cli(Benchmark, description=__doc__))
