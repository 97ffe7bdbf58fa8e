"""What deployment costs: the same episodes over the wire in real time and in-process, in the proxy.

    python benchmarks/rehearsal.py --bundle runs/bundle --robot-seed 44

`score rehearse` does the work: a robot process behind a socket, with its timing and jitter, driven by the runtime
with guard, watchdog and recorder; then the same seeds as `score evaluate` runs them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from score_rl.cli.common import Flat
from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.pipeline.rehearsal import RehearseSettings, rehearse


@dataclass(frozen=True)
class Benchmark:
    """A rehearsal, as a result file."""

    bundle: Path = Path("runs/bundle")
    """Folder of `score bundle`."""
    settings: Flat[RehearseSettings] = field(default_factory=lambda: RehearseSettings(episodes=200))
    """Which robot, and how often."""
    out: Path = Path("runs/rehearsal")
    """Run directory."""
    result: Path = Path("benchmarks/results/rehearsal.json")
    """Result file to write."""


def main(benchmark: Benchmark) -> None:
    """Rehearse and write the result file."""
    source = describe_process()
    write_json(benchmark.result, {**rehearse(benchmark.bundle, benchmark.settings, benchmark.out).summary, **source})


if __name__ == "__main__":
    main(tyro.cli(Benchmark, description=__doc__))
