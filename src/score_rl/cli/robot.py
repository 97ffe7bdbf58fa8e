"""`score robot`: a simulated robot as a process of its own, to rehearse with."""

from __future__ import annotations

from dataclasses import dataclass, field

from score_rl.cli.common import Flat
from score_rl.core.extras import optional
from score_rl.core.terminal import say
from score_rl.deploy.drivers.proxy import RobotProcessConfig, check_config
from score_rl.pipeline.rehearsal import check_simulated


@dataclass(frozen=True)
class Robot:
    """Be a simulated robot at a socket, in real time and with the faults asked for, until interrupted.

    `score run BUNDLE --robot proxy --options address=ADDRESS` drives it. docs/deploy.md explains.
    """

    settings: Flat[RobotProcessConfig] = field(default_factory=RobotProcessConfig)
    """Which robot, where, and how fast it lives."""

    def run(self) -> None:
        """Live until SIGINT or SIGTERM."""
        check_simulated(self.settings.task, self.settings.world)
        check_config(self.settings)
        with optional("a simulated robot"):
            from score_rl.deploy.drivers.proxy_process import run_robot

        say(f"robot: {self.settings.world} at {self.settings.address}")
        run_robot(self.settings)
