"""Kill every stage again and again (SIGKILL) and compare its result with that of an uninterrupted run.

    python tests/soak/resume.py

For collect, pretrain and steer: one run undisturbed, and others that are killed at random moments and started anew
with the same command until `--kills` kills have been survived. Results must be equal byte for byte. The sizes are
those of the debug recipe, made long enough to be interrupted; moments are uniform over the time of a whole run.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.core.seeding import rng
from score_rl.pipeline.inputs import DATASET, content_hash
from score_rl.steering.loop import BUNDLE

STAGES: dict[str, tuple[list[str], str]] = {
    "collect": (["--demonstrations.episodes", "200"], DATASET),
    "pretrain": (["--dataset", "{runs}/collect/reference", "--training.steps", "1500"], ""),
    "steer": (["--policy", "{runs}/pretrain/reference", "--control-steps", "20480"], BUNDLE),
}
"""Stage -> (options, folder of its result inside the run directory)."""


@dataclass(frozen=True)
class Benchmark:
    """Kill and resume."""

    kills: int = 10
    """Kills per stage."""
    seed: int = 0
    """Seed of the moments."""
    runs: Path = Path("runs/resume")
    """Folder of the run directories; emptied first."""
    result: Path = Path("benchmarks/results/resume.json")
    """Result file to write."""


def command(benchmark: Benchmark, stage: str, out: Path) -> list[str]:
    """The command line of a stage that writes `out`."""
    options = [option.format(runs=benchmark.runs) for option in STAGES[stage][0]]
    return [sys.executable, "-m", "score_rl.cli", "--recipe", "debug", stage, *options, "--out", str(out)]


def result_hash(stage: str, out: Path) -> str:
    """Hash of what a stage leaves."""
    return content_hash(out / STAGES[stage][1])


def survive(benchmark: Benchmark, stage: str, duration_s: float, reference: str) -> dict[str, object]:
    """Kill a stage `benchmark.kills` times at random moments; whether every resumed run ended with `reference`."""
    moments = rng("resume", benchmark.seed, stage)
    killed, ended, equal, at_s = 0, 0, 0, []
    while killed < benchmark.kills:
        out = benchmark.runs / stage / f"killed-{ended}"
        finished = False
        while not finished:
            process = subprocess.Popen(command(benchmark, stage, out), stderr=subprocess.DEVNULL)
            patience = float(moments.uniform(0, duration_s)) if killed < benchmark.kills else None
            try:
                finished = process.wait(patience) == 0
                if not finished:
                    raise SystemExit(
                        f"{stage} failed after {killed} kills: {' '.join(command(benchmark, stage, out))}"
                    )
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed += 1
                at_s.append(round(patience or 0.0, 2))
        ended += 1
        equal += result_hash(stage, out) == reference
    return {"kills": killed, "killed_after_s": at_s, "runs": ended, "runs_equal": equal}


def main() -> None:
    """Run the benchmark; exit status 1 where a resumed run differs."""
    benchmark = tyro.cli(Benchmark, description=__doc__)
    shutil.rmtree(benchmark.runs, ignore_errors=True)
    process = describe_process()
    records = []
    for stage in STAGES:
        out = benchmark.runs / stage / "reference"
        start = time.monotonic()
        subprocess.run(command(benchmark, stage, out), check=True, stderr=subprocess.DEVNULL)
        duration = time.monotonic() - start
        record = {"stage": stage, "uninterrupted_s": round(duration, 1), "sha256": result_hash(stage, out)}
        record |= survive(benchmark, stage, duration, str(record["sha256"]))
        print(f"{stage}: {record['kills']} kills, {record['runs_equal']} of {record['runs']} runs equal", flush=True)
        records.append(record | {key: process[key] for key in ("commit", "command", "machine", "torch_threads")})
    write_json(benchmark.result, records)
    sys.exit(any(record["runs_equal"] != record["runs"] for record in records))


if __name__ == "__main__":
    main()
