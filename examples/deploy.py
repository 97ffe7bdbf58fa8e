"""A bundle drives a robot, and every episode is recorded: here a simulated one, in a process of its own.

    python examples/deploy.py runs/bundle runs/first_drive

For hardware, take its driver in the place of `ProxyRobot`; the rest stays.
"""

import sys
import tempfile
from pathlib import Path

from score_rl.deploy.bundle.bundle import load_bundle
from score_rl.deploy.drivers.proxy import ProxyRobot, robot_for, spawn_robot
from score_rl.deploy.runtime.recorder import Recorder
from score_rl.deploy.runtime.runtime import Runtime


def main(bundle: str, out: str, speed: float = 1.0) -> None:
    """Three episodes on the nominal twin, `speed` times real time."""
    policy = load_bundle(bundle)
    with tempfile.TemporaryDirectory() as folder:
        config = robot_for(policy.spec, world="twin", address=Path(folder, "robot.sock"), speed=speed)
        process = spawn_robot(config)
        try:
            with ProxyRobot(config.address) as robot, Recorder(Path(out), robot.spec, policy.spec.task) as recorder:
                runtime = Runtime(policy, robot, robot.spec, recorder=recorder, log=print)
                for report in runtime.run(seeds=(1, 2, 3)):
                    print(report.seed, report.ended, f"{report.steps} steps", report.guard)
                runtime.close()
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main(*sys.argv[1:3])
