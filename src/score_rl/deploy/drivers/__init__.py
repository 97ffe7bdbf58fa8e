"""Robots as plugins: an entry point of the group `score_rl.robots` names a function from options to a driver.

[project.entry-points."score_rl.robots"]
my_robot = "my_package.my_robot:make_robot"
"""

from __future__ import annotations

from collections.abc import Mapping

from score_rl.core import plugins
from score_rl.core.errors import ScoreError
from score_rl.deploy.drivers.protocol import RobotDriver

GROUP = "score_rl.robots"
PARTS = ("connect", "begin", "observe", "command", "stop", "__enter__", "__exit__")
"""What a driver can do from the first; its `spec` is there once it is connected."""


def robot_names() -> tuple[str, ...]:
    """Names of the drivers that are installed."""
    return plugins.names(GROUP)


def load_driver(name: str, options: Mapping[str, str]) -> RobotDriver:
    """The driver of a name, not connected yet; `options` are its own, from the command line.

    Raises ScoreError for an unknown name, a plugin that cannot be imported or gives something that is no driver, and
    options that it does not take.
    """
    driver = plugins.call(plugins.load(GROUP, name, "robot"), f"robot '{name}'", options, {})
    if lacks := [part for part in PARTS if not callable(getattr(driver, part, None))]:
        raise ScoreError(f"robot '{name}' is no RobotDriver: {type(driver).__name__} has no {', '.join(lacks)}")
    return driver
