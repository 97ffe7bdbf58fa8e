"""Two versions of the learner side by side: the same bases, twins, seeds and budgets; success, area, time.

    git worktree add ../before COMMIT                      # the version to compare with, and an environment for it
    python benchmarks/ppo.py --before ../before --before-python ../before/.venv/bin/python

Bases come from few demonstrations of one development robot, twins from its calibration, all made by the present
version. Then every (task, seed) is steered by both versions, one after the other, the order changing from pair to
pair. A run that is there already is not made again, so that an interrupted benchmark goes on where it stopped.
Times of runs are wall seconds and CPU seconds of the whole process; the latter bear a machine that is shared with
others. What the learner alone costs is measured in CPU seconds on rollouts of random numbers, in turns: of versions
whose learners are called alike.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
import tyro
from safetensors.torch import load_file

from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.core.records import read_json, read_json_lines

COST = """
import json, time, torch
from score_rl.contracts import PlainContext
from score_rl.core.chunks import ChunkResult
from score_rl.steering.learning import Sizes
from score_rl.steering.ppo import Learner, PPOConfig
torch.set_num_threads(1)
torch.manual_seed(0)
sizes = Sizes(context=152, critic=80, action=23, envs=128, decisions=16)
learner, rows, no = Learner(sizes, PPOConfig(), 8), sizes.envs, torch.zeros(sizes.envs, dtype=torch.bool)
seen = torch.randn(sizes.decisions, rows, sizes.context), torch.randn(sizes.decisions, rows, sizes.critic)
times = []
for _ in range(15):
    start = time.process_time()
    for context, critic in zip(*seen):
        learner.act(PlainContext(context), critic)
        learner.record(ChunkResult(critic[:, 0], torch.full((rows,), 8), no, no, no, *[None] * 3), critic)
    middle = time.process_time()
    learner.update(critic)
    times.append((1e3 * (middle - start), 1e3 * (time.process_time() - middle)))
print(json.dumps([sorted(values)[7] for values in zip(*times)]))
"""
"""Prints the CPU milliseconds of a rollout's decisions and of an update: Pinch Cube's sizes, medians of 15."""

TIMES = ("environment_s", "policy_s", "learner_s", "steps_per_second")
LAST = 5
"""Iterations whose mean is the final success."""


@dataclass(frozen=True)
class Benchmark:
    """The learner of the present version against that of another."""

    before: Path
    """Source tree of the other version."""
    before_python: Path = Path(sys.executable)
    """Interpreter of an environment that has what the other version imports; its own score-rl is not used."""
    tasks: tuple[str, ...] = ("pinch_cube", "grasp_bottle", "push_ball")
    """Tasks, with the settings of their recipes."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds."""
    robot_seed: int = 105
    """Robot of the demonstrations."""
    episodes: int = 120
    """Demonstrations."""
    pretrain_steps: int = 4000
    """Gradient steps of a base."""
    num_envs: int = 64
    """Environments."""
    control_steps: int = 300_000
    """Budget of every run."""
    runs: Path = Path("runs/ppo")
    """Folder of the run directories."""
    result: Path = Path("benchmarks/results/ppo.json")
    """Result file to write."""


def score(python: Path, source: Path, *arguments: object) -> float:
    """Run a command of the version in `source`; its CPU seconds."""
    environment = {**os.environ, "PYTHONPATH": str(source / "src")}
    command = [str(python), "-m", "score_rl.cli", *(str(argument) for argument in arguments)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return usage.ru_utime + usage.ru_stime


def learner_cost(benchmark: Benchmark, repeats: int = 5) -> dict[str, dict[str, float]]:
    """CPU milliseconds of the learner in both versions: medians over processes, which take turns."""
    sources = {"before": (benchmark.before_python, benchmark.before), "now": present()}
    times: dict[str, list[list[float]]] = {version: [] for version in sources}
    for _ in range(repeats):
        for version, (python, source) in sources.items():
            environment = {**os.environ, "PYTHONPATH": str(source / "src"), "OMP_NUM_THREADS": "1"}
            command = [str(python), "-c", COST]
            done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
            times[version].append(json.loads(done.stdout))
    names = ("act_and_record_cpu_ms", "update_cpu_ms")
    return {
        version: {name: round(statistics.median(column), 1) for name, column in zip(names, zip(*rows))}
        for version, rows in times.items()
    }


def present() -> tuple[Path, Path]:
    """Interpreter and source tree of this version."""
    return Path(sys.executable), Path(__file__).resolve().parents[1]


def make_base(benchmark: Benchmark, task: str) -> tuple[Path, Path]:
    """Base policy and calibrated twin of a task."""
    out, here = benchmark.runs / task, present()
    collect = ("--robot-seed", benchmark.robot_seed, "--demonstrations.episodes", benchmark.episodes)
    data = ("--dataset", out / "collect")
    steps = ("--training.steps", benchmark.pretrain_steps)
    score(*here, "--task", task, "collect", *collect, "--out", out / "collect")
    score(*here, "--task", task, "pretrain", *data, *steps, "--out", out / "base")
    score(*here, "--task", task, "calibrate", *data, "--out", out / "calibration")
    return out / "base", out / "calibration" / "domain.toml"


def steered(benchmark: Benchmark, task: str, seed: int, version: str) -> Path:
    """Run directory of one steering run, made unless it is there; CPU seconds are kept beside it."""
    out = benchmark.runs / task / f"{version}-{seed}"
    note = out.with_suffix(".json")
    if not note.exists():
        base, twin = make_base(benchmark, task)
        python, source = (benchmark.before_python, benchmark.before) if version == "before" else present()
        budget = ("--num-envs", benchmark.num_envs, "--control-steps", benchmark.control_steps)
        inputs = ("--policy", base, "--worlds", twin, "--learner.seed", seed)
        options = ("--task", task, "steer", *inputs, *budget, "--overwrite", "--out", out)
        write_json(note, {"cpu_s": score(python, source, *options)})
    return out


def figures(run: Path) -> dict[str, Any]:
    """What a run achieved and cost."""
    records, record = read_json_lines(run / "metrics.jsonl"), read_json(run / "run.json")
    success, steps = [entry["success"] for entry in records], records[-1]["control_steps"]
    wall_s, cpu_s = sum(steps_s(entry) for entry in records), read_json(run.with_suffix(".json"))["cpu_s"]
    return {
        "success": success,
        "final_success": statistics.fmean(success[-LAST:]),
        "area": statistics.fmean(success),
        "control_steps": steps,
        "steps_per_second": round(steps / wall_s, 1),
        "steps_per_cpu_second": round(steps / cpu_s, 1),
        "commit": record["commit"],
    }


def steps_s(entry: dict[str, Any]) -> float:
    """Seconds of one iteration."""
    return entry["environment_s"] + entry["policy_s"] + entry["learner_s"]


def same_to_the_bit(one: Path, other: Path) -> bool:
    """Whether two runs logged the same numbers (but times) and end with the same weights, whatever their names."""
    logs = [read_json_lines(run / "metrics.jsonl") for run in (one, other)]
    logs = [[{key: value for key, value in entry.items() if key not in TIMES} for entry in log] for log in logs]
    files = [load_file(run / "steering" / "steering.safetensors") for run in (one, other)]
    weights = [sorted(files[i].values(), key=lambda tensor: (tensor.numel(), tensor.ndim)) for i in range(2)]
    equal = len(weights[0]) == len(weights[1]) and all(torch.equal(a, b) for a, b in zip(*weights))
    return equal and json.dumps(logs[0]) == json.dumps(logs[1])


def table(pairs: Sequence[dict[str, Any]]) -> str:
    """Markdown table of all pairs."""
    lines = ["| task | seed | final success | area | control steps / CPU s | same bits |", "|" + "---|" * 6]
    for pair in pairs:
        names = ("final_success", "area", "steps_per_cpu_second")
        cells = [f"{pair['before'][name]:.4g} → {pair['now'][name]:.4g}" for name in names]
        cells = [pair["task"], str(pair["seed"]), *cells, "yes" if pair["equal"] else "no"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(benchmark: Benchmark) -> None:
    """Make what is missing, compare, print and write."""
    cost, pairs = learner_cost(benchmark), []
    print(json.dumps(cost), flush=True)
    for index, (seed, task) in enumerate(product(benchmark.seeds, benchmark.tasks)):
        order = ("before", "now") if index % 2 == 0 else ("now", "before")
        runs = {version: steered(benchmark, task, seed, version) for version in order}
        pair = {"task": task, "seed": seed, **{version: figures(runs[version]) for version in ("before", "now")}}
        pairs.append(pair | {"equal": same_to_the_bit(runs["before"], runs["now"])})
        print(table(pairs[-1:]).splitlines()[-1], flush=True)
        write_json(benchmark.result, {"benchmark": "ppo", **describe_process(), "learner": cost, "pairs": pairs})
    print(table(pairs))


if __name__ == "__main__":
    main(tyro.cli(Benchmark, description=__doc__))
