"""`score robot`: a simulated robot as a process of its own, to rehearse with."""

from __future__ import annotations

from dataclasses import dataclass, field

from score_rl.commands.common import Flat, check_world_exists, console
from score_rl.deployment.drivers.proxy import RobotProcessConfig
from score_rl.deployment.drivers.proxy_process import run_robot
from score_rl.foundation.errors import unknown_choice
from score_rl.tasks import TASKS


@dataclass(frozen=True)
class Robot:
    """Be a simulated robot at a socket, in real time and with the faults asked for, until interrupted.

    `score run BUNDLE --robot proxy --options address=ADDRESS` drives it. docs/deploy.md explains.
    """

    settings: Flat[RobotProcessConfig] = field(default_factory=RobotProcessConfig)
    """Which robot, where, and how fast it lives."""

    def run(self) -> None:
        """Live until SIGINT or SIGTERM."""
        if self.settings.task not in TASKS:
            raise unknown_choice("task with a simulated robot", self.settings.task, TASKS)
        check_world_exists(self.settings.task, self.settings.world)
        console.print(f"[bold]robot[/bold]: {self.settings.world} at {self.settings.address}", highlight=False)
        run_robot(self.settings)
