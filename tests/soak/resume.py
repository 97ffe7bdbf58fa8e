"""Interrupt every stage again and again (SIGKILL, SIGTERM, SIGINT) and compare its result with that of an
uninterrupted run.

    python tests/soak/resume.py
    python tests/soak/resume.py --stages evaluate audit   # the others' runs and records stay

For every stage: one run undisturbed, and others that are sent signals at random moments and started anew with the
same command until `--signals` of them have been survived. Results must be equal byte for byte. The sizes are those of
the debug recipe, some made long enough to be interrupted; moments are uniform over the time of a whole run. Behind a
signal a process has as long to end as its whole work would take: one that comes late finds it finishing.
"""

from __future__ import annotations

import shlex
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
from score_rl.core.records import read_json
from score_rl.core.seeding import rng
from score_rl.deploy.bundle.manifest import MANIFEST
from score_rl.evaluation.audit.run import LOG
from score_rl.evaluation.run import EPISODES
from score_rl.pipeline.inputs import DATASET, content_hash
from score_rl.real2sim.settings import DOMAIN_FILE
from score_rl.steering.loop import BUNDLE

TRAINED = ("--policy", "{runs}/pretrain/reference", "--steering", "{runs}/steer/reference")
STAGES: dict[str, tuple[tuple[str, ...], str]] = {
    "collect": (("--demonstrations.episodes", "200"), DATASET),
    "pretrain": (("--dataset", "{runs}/collect/reference", "--training.steps", "1500"), ""),
    "calibrate": (("--dataset", "{runs}/collect/reference"), DOMAIN_FILE),
    "steer": (("--policy", "{runs}/pretrain/reference", "--control-steps", "20480"), BUNDLE),
    "evaluate": ((*TRAINED, "--evaluation.episodes", "100", "--evaluation.support"), EPISODES),
    "audit": ((*TRAINED[1:], "--domain", "{runs}/calibrate/reference/domain.toml", "--panel.only", "joint"), LOG),
    "bundle": ((*TRAINED, "--overwrite"), MANIFEST),
    "demo": ((), f"evaluation/proxy/{EPISODES}"),
}
"""Stage -> (options, file or folder of its result inside the run directory)."""
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
PATIENCE = 10.0
"""Times of an undisturbed run that a process may take to end behind a signal, on a machine that is busy."""


@dataclass(frozen=True)
class Benchmark:
    """Interrupt and resume."""

    stages: tuple[str, ...] = tuple(STAGES)
    """Stages to interrupt; later ones read what the earlier ones left in `runs`."""
    signals: int = 18
    """Signals per stage."""
    seed: int = 0
    """Seed of the moments."""
    runs: Path = Path("runs/resume")
    """Folder of the run directories; those of the stages are emptied first."""
    result: Path = Path("benchmarks/results/resume.json")
    """Result file to write, or to complete with the records of the stages."""


def command(benchmark: Benchmark, stage: str, out: Path) -> list[str]:
    """The command line of a stage that writes `out`."""
    options = [option.format(runs=benchmark.runs) for option in STAGES[stage][0]]
    return [sys.executable, "-m", "score_rl.cli", "--recipe", "debug", stage, *options, "--out", str(out)]


def result_hash(stage: str, out: Path) -> str:
    """Hash of what a stage leaves."""
    return content_hash(out / STAGES[stage][1])


def survive(benchmark: Benchmark, stage: str, duration_s: float, reference: str) -> dict[str, object]:
    """Interrupt a stage `benchmark.signals` times; how many of the resumed runs ended with `reference`."""
    moments = rng("resume", benchmark.seed, stage)
    sent: list[dict[str, object]] = []
    ended = equal = 0
    while len(sent) < benchmark.signals:
        out = benchmark.runs / stage / f"interrupted-{ended}"
        finished = False
        while not finished:
            process = subprocess.Popen(command(benchmark, stage, out), stderr=subprocess.PIPE, text=True)
            patience = float(moments.uniform(0, duration_s)) if len(sent) < benchmark.signals else None
            try:
                _, said = process.communicate(timeout=patience)
                finished = process.returncode == 0
                if not finished:
                    raise SystemExit(f"{shlex.join(command(benchmark, stage, out))} failed: {said}")
            except subprocess.TimeoutExpired:
                chosen = SIGNALS[int(moments.integers(len(SIGNALS)))]
                process.send_signal(chosen)
                told = time.monotonic()
                process.communicate(timeout=PATIENCE * duration_s)
                ended_s = round(time.monotonic() - told, 2)
                sent.append({"after_s": round(patience or 0.0, 2), "signal": chosen.name, "ended_within_s": ended_s})
        ended += 1
        equal += result_hash(stage, out) == reference
    return {"signals": len(sent), "sent": sent, "runs": ended, "runs_equal": equal}


def main() -> None:
    """Run the benchmark; exit status 1 where a resumed run differs."""
    benchmark = tyro.cli(Benchmark, description=__doc__)
    process = describe_process()
    records = {record["stage"]: record for record in read_json(benchmark.result)} if benchmark.result.exists() else {}
    for stage in benchmark.stages:
        shutil.rmtree(benchmark.runs / stage, ignore_errors=True)
        out = benchmark.runs / stage / "reference"
        start = time.monotonic()
        subprocess.run(command(benchmark, stage, out), check=True, stderr=subprocess.DEVNULL)
        duration = time.monotonic() - start
        record = {"stage": stage, "uninterrupted_s": round(duration, 1), "sha256": result_hash(stage, out)}
        record |= survive(benchmark, stage, duration, str(record["sha256"]))
        print(
            f"{stage}: {record['signals']} signals, {record['runs_equal']} of {record['runs']} runs equal", flush=True
        )
        records[stage] = record | {key: process[key] for key in ("commit", "command", "machine", "torch_threads")}
        write_json(benchmark.result, [records[name] for name in STAGES if name in records])
    sys.exit(any(records[stage]["runs_equal"] != records[stage]["runs"] for stage in benchmark.stages))


if __name__ == "__main__":
    main()
