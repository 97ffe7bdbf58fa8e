"""Robots as plugins: an entry point of the group `score_rl.robots` names a function from options to a driver.

[project.entry-points."score_rl.robots"]
my_robot = "my_package.my_robot:make_robot"
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.deploy.drivers.protocol import RobotDriver

GROUP = "score_rl.robots"


def robot_names() -> list[str]:
    """Names of the drivers that are installed."""
    return sorted(_installed())


def load_driver(name: str, options: Mapping[str, str]) -> RobotDriver:
    """The driver of a name, not connected yet; `options` are its own, from the command line.

    Raises ScoreError for an unknown name, a plugin that cannot be imported, and options that it does not take.
    """
    installed = _installed()
    if name not in installed:
        raise unknown_choice("robot", name, installed)
    try:
        make = installed[name].load()
    except (ImportError, AttributeError) as error:
        raise ScoreError(
            f"the driver of robot '{name}' ({installed[name].value}) cannot be loaded: {error}"
        ) from error
    try:
        return make(**options)
    except TypeError as error:
        raise ScoreError(f"robot '{name}' does not take the options {dict(options)}: {error}") from error


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
