"""Steer the tests' toy for one iteration with whatever is installed; see `coinstall.py`, which runs this."""

from __future__ import annotations

import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from toys import ToyPolicy, ToyWorld

from score_rl.core.runs import start_run
from score_rl.steering.config import Stage, SteerConfig
from score_rl.steering.loop import steer


def main() -> str:
    """What was done, with the versions that did it."""
    config = SteerConfig(execute_steps=2, decisions=8)
    with tempfile.TemporaryDirectory() as folder:
        run = start_run(folder, "steer", config, seeds={"training": config.seed})
        steer(ToyPolicy(), [Stage(ToyWorld(num_envs=8), control_steps=100)], config, run)
        done = run.summary
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy"))
    return f"steered {done['control_steps']} control steps with {versions}"


if __name__ == "__main__":
    print(main())
