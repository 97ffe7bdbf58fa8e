"""Runs what a newcomer would write, in empty folders, and notes what came of it.

    python benchmarks/newcomer/measure.py gymnasium_env rsl_rl_vecenv openpi_policy
    LEROBOT=ENV/bin python benchmarks/newcomer/measure.py lerobot_policy      # ENV: lerobot 0.4.4 and ./client
    ENV/bin/python benchmarks/newcomer/measure.py gymnasium_robotics_fetch    # ENV: score-rl[adroit], mujoco 3.3.7

Writes benchmarks/results/newcomer.json; what is not named keeps its record there.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.core.records import read_json
from score_rl.evaluation.run import read_evaluation

HERE = Path(__file__).parent
RESULT = HERE.parent / "results" / "newcomer.json"
OTHERS = ("lerobot", "gymnasium-robotics")
"""Other people's packages whose versions go into the record."""
ASK = f"""
import importlib.metadata, json
here = {{found.name for found in importlib.metadata.distributions()}}
print(json.dumps({{name: importlib.metadata.version(name) for name in {OTHERS} if name in here}}))
"""


@dataclass(frozen=True)
class Measure:
    """Time the scripts."""

    scripts: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Names, without .py."""

    def run(self) -> None:
        """One record per script."""
        for name in self.scripts:
            record = measure(name)
            print(name, record, flush=True)
            known = read_json(RESULT)["scripts"] if RESULT.exists() else {}
            scripts = dict(sorted((known | {name: record}).items()))
            write_json(RESULT, {"benchmark": "newcomer", "scripts": scripts})


def measure(name: str) -> dict[str, Any]:
    """Run a script and read its evaluation."""
    script = HERE / f"{name}.py"
    with tempfile.TemporaryDirectory() as folder:
        path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        began, spent = time.monotonic(), processor_s()
        subprocess.run([sys.executable, str(script)], cwd=folder, env=os.environ | {"PYTHONPATH": path}, check=True)
        wall_s, cpu_s = time.monotonic() - began, processor_s() - spent
        records = read_evaluation(Path(folder) / "evaluation")
    fields = ("success_rate", "wilson95", "n", "first_seed", "control_steps_trained")
    success = {record["policy"]: {field: record[field] for field in fields} for record in records}
    gain = 100 * (success["score_det"]["success_rate"] - success["base"]["success_rate"])
    return {
        "lines": len(script.read_text().splitlines()), "gain_points": gain, "wall_s": round(wall_s, 1),
        "processor_s": round(cpu_s, 1), "load_average": os.getloadavg()[1], "policies": success,
        "beside": others(name), **describe_process(),
    }  # fmt: skip


def others(name: str) -> dict[str, str]:
    """Versions of other people's packages that a script runs with."""
    python = f"{os.environ['LEROBOT']}/python" if name == "lerobot_policy" else sys.executable
    return json.loads(subprocess.check_output([python, "-c", ASK]))


def processor_s() -> float:
    """Of all ended children."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    tyro.cli(Measure, description=__doc__).run()
