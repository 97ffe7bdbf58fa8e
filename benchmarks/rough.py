"""How well calibration knows a rough robot: finished calibrations against the hardware's draws.

    score benchmark experiments/hardware.toml
    python benchmarks/rough.py experiments/hardware.toml

A rough robot has errors that calibration has no name for. What it can find of them at best is their effect on what
it fits, so estimates are compared with effective values: an eccentric encoder shifts a joint's offset by its error in
the start posture, a delay that jitters is later by the mean, a joint that yields behind its servo is a softer servo,
and hysteresis of that is play. Only this script looks at the truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from calibration import SEEN
from camera import place_error_mm

from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.pipeline.experiment.definition import REFERENCES
from score_rl.pipeline.experiment.file import load_experiment
from score_rl.real2sim.estimates import Estimates, read_estimates
from score_rl.sim.domain import Domain, load_domain
from score_rl.sim.draws import Draws
from score_rl.sim.parameters import Parameters
from score_rl.sim.robot import Robot
from score_rl.sim.sensors import encoder_error
from score_rl.sim.task import get_task

FOUND = tuple(name for name in SEEN if not name.startswith("camera.") and name != "hand.torque_limit_nm")
"""Parameters whose estimates are compared; the camera's are told as errors of place."""
EPISODES = range(400)
"""Episodes whose mean stands for what a robot is like."""
Values = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Benchmark:
    """Calibrated twins of rough robots."""

    file: tyro.conf.Positional[Path]
    """Experiment file of a `score benchmark` whose calibrations are done."""
    runs: Path | None = None
    """Its folder; by default runs/NAME."""
    result: Path = Path("benchmarks/results/hardware_calibration.json")
    """Result file to write."""


def main(benchmark: Benchmark) -> None:
    """Compare and write one record per task and robot whose calibration is done."""
    experiment = load_experiment(benchmark.file)
    out = Path(benchmark.runs or Path("runs") / experiment.name)
    process, records = describe_process(), []
    for name, robot_seed in experiment.cells(REFERENCES):
        folder = out / "runs" / name / f"robot-{robot_seed}" / "calibration"
        if not folder.exists():
            continue
        task, hardware = get_task(name), load_domain(experiment.recipe_of(name).evaluate.world)
        true = truth(hardware, task.parameters, robot_seed)
        found = errors(read_estimates(folder), hardware, true, task.parameters, task.robot)
        about = {key: process[key] for key in ("commit", "command", "machine")}
        records.append({"task": name, "robot_seed": robot_seed, "hardware": hardware.name, **found, **about})
    write_json(benchmark.result, records)


def truth(hardware: Domain, parameters: Parameters, robot_seed: int) -> Values:
    """{parameter: (size,)} of one robot: means over episodes."""
    draws = Draws(hardware, parameters)
    return {name: value.mean(axis=0) for name, value in draws.episodes(draws.robot(robot_seed), EPISODES).items()}


def effective(true: Values, robot: Robot) -> Values:
    """The truth as calibration could know it at best."""
    arm, home, values = robot.arm_dof, np.array(robot.home), dict(true)
    for part, joints in (("arm", slice(0, arm)), ("hand", slice(arm, None))):
        too_much = encoder_error(home[joints], true[f"{part}.encoder_error_rad"], true[f"{part}.encoder_phase_rad"])
        values[f"{part}.joint_bias_rad"] = true[f"{part}.joint_bias_rad"] - too_much
    yields = true["hand.compliance_rad_nm"]
    gain = true["hand.gain_scale"]
    values["hand.gain_scale"] = gain / (1 + yields * gain * np.mean(robot.kp[arm:]))
    values["hand.backlash_rad"] = true["hand.backlash_rad"] + 2 * yields * true["hand.hysteresis_nm"]
    values["robot.delay_s"] = true["robot.delay_s"] + true["robot.delay_jitter_s"] / 2
    return values


def errors(
    found: Estimates, hardware: Domain, true: Values, parameters: Parameters, robot: Robot
) -> dict[str, object]:
    """Replay of held-out motion, estimates and camera."""
    best, nominal = effective(true, robot), parameters.nominal()
    estimated = {name: np.array(estimate.value) for name, estimate in found.estimates.items()}
    table = {
        name: {
            "rms_before": _rms(nominal[name] - best[name]),
            "rms_after": _rms(estimated[name] - best[name]),
            "rms_after_of_draw": _rms(estimated[name] - true[name]),
            "sd": _rms(np.array(found.estimates[name].sd)),
        }
        for name in FOUND
    }
    place = {"before": place_error_mm(hardware, true, {}), "after": place_error_mm(hardware, true, estimated)}
    return {"replay": vars(found.replay), "parameters": table, "camera_place_error_mm": place}


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


if __name__ == "__main__":
    main(tyro.cli(Benchmark, description=__doc__))
