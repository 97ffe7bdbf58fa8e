"""Robots as plugins: an entry point of the group `score_rl.robots` names a function from options to a driver.

[project.entry-points."score_rl.robots"]
my_robot = "my_package.my_robot:make_robot"
"""

from __future__ import annotations

from collections.abc import Mapping

from score_rl.core import plugins
from score_rl.deploy.drivers.protocol import RobotDriver

GROUP = "score_rl.robots"


def robot_names() -> tuple[str, ...]:
    """Names of the drivers that are installed."""
    return plugins.names(GROUP)


def load_driver(name: str, options: Mapping[str, str]) -> RobotDriver:
    """The driver of a name, not connected yet; `options` are its own, from the command line.

    Raises ScoreError for an unknown name, a plugin that cannot be imported, and options that it does not take.
    """
    return plugins.call(plugins.load(GROUP, name, "robot"), f"robot '{name}'", options, {})
