"""How well calibration finds a robot: the estimates of finished runs against the proxy's true draws.

    score benchmark experiments/pinch_cube.toml
    python benchmarks/calibration.py --robots 44 45 46

Reads the calibrations that the experiment left. Only this script looks at the proxy's true parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.core.records import read_json
from score_rl.real2sim.settings import ESTIMATES_FILE
from score_rl.sim.domain import load_domain
from score_rl.sim.draws import Draws
from score_rl.sim.task import get_task

SEEN = (
    "hand.joint_bias_rad",
    "arm.joint_bias_rad",
    "hand.backlash_rad",
    "hand.gain_scale",
    "arm.gain_scale",
    "robot.lag_s",
    "robot.delay_s",
    "camera.position_bias_m",
    "camera.yaw_bias_rad",
    "table.height_m",
    "hand.torque_limit_nm",
)
"""Parameters of the proxy's robots that calibration estimates."""


@dataclass(frozen=True)
class Benchmark:
    """Calibration of several robots."""

    robots: tuple[int, ...]
    """Robot seeds."""
    runs: Path = Path("runs/pinch_cube/runs/pinch_cube")
    """Folder of the experiment's robots, of one task."""
    result: Path = Path("benchmarks/results/calibration.json")
    """Result file to write."""


def main() -> None:
    """Compare and write one record per robot and parameter."""
    benchmark = tyro.cli(Benchmark, description=__doc__)
    process, parameters = describe_process(), get_task("pinch_cube").parameters
    proxy = Draws(load_domain("proxy"), parameters)
    records = []
    for robot in benchmark.robots:
        true = proxy.robot(robot)
        found = read_json(benchmark.runs / f"robot-{robot}" / "calibration" / ESTIMATES_FILE)
        for name in SEEN:
            estimate = np.array(found["estimates"][name]["value"])
            records.append(
                {
                    "robot_seed": robot,
                    "parameter": name,
                    "rms_error_before": _rms(parameters[name].nominal - true[name]),
                    "rms_error_after": _rms(estimate - true[name]),
                    "sd": _rms(np.array(found["estimates"][name]["sd"])),
                    "identified": found["estimates"][name]["identified"],
                    **{key: process[key] for key in ("commit", "command", "machine")},
                }
            )
    write_json(benchmark.result, records)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


if __name__ == "__main__":
    main()
