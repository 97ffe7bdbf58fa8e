"""Drivers and robots that are not what they say: one error that names it, or a robot that is lost."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from score_rl.core import plugins
from score_rl.core.errors import ScoreError
from score_rl.core.files import to_plain
from score_rl.deploy import drivers
from score_rl.deploy.drivers import load_driver
from score_rl.deploy.drivers.protocol import RobotLost
from score_rl.deploy.drivers.proxy import ProxyRobot
from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.robot import robot_interface


class Half:
    """Some of what a driver is."""

    def connect(self) -> None: ...


def lies(**options: Any) -> object:
    """A factory that gives something else."""
    return [1, 2]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("test_drivers_that_lie:lies", "robot 'liar' is no RobotDriver: list has no connect, begin, observe"),
        ("test_drivers_that_lie:Half", "robot 'liar' is no RobotDriver: Half has no begin, observe"),
        ("math:pi", "robot 'liar' is no factory, but 3.14"),
        ("sys:exit", "cannot be made: SystemExit"),
    ],
)
def test_a_plugin_that_is_no_driver(target: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "entry_points", lambda group: [EntryPoint("liar", target, drivers.GROUP)])
    with pytest.raises(ScoreError) as error:
        load_driver("liar", {})
    assert message in str(error.value)


HELLO = {"name": "toy", "clock": 1.0, "speed": 1.0, "interface": to_plain(robot_interface(FRANKA_LEAP))}


@pytest.mark.parametrize(
    ("hello", "message"),
    [
        ({}, "lacks name, clock, speed, interface"),
        ({**HELLO, "clock": "noon"}, "clock is 'noon', expected a finite number"),
        ({**HELLO, "speed": -1}, "speed is -1, expected >= 0"),
        ({**HELLO, "interface": {}}, "lacks observation"),
        ({**HELLO, "interface": {**HELLO["interface"], "control_rate_hz": 0}}, "control_rate_hz must be positive"),
    ],
)
def test_a_robot_that_introduces_itself_wrongly(hello: dict[str, Any], message: str, tmp_path: Path) -> None:
    with answering(tmp_path / "s", lambda asked: hello) as robot, pytest.raises(ScoreError, match=message):
        robot.connect()


@pytest.mark.parametrize("sent", [None, "x", [0.0] * 22, [0.0] * 22 + ["x"], [[1], 2]])
def test_a_robot_that_confirms_nonsense_is_lost(sent: Any, tmp_path: Path) -> None:
    with answering(
        tmp_path / "s", lambda asked: HELLO if asked == "hello" else {"sent": sent, "views": sent}
    ) as robot:
        robot.connect()
        with pytest.raises(RobotLost, match=r"what the robot was sent|inhomogeneous|could not convert"):
            robot.command(np.zeros(23))


@contextmanager
def answering(address: Path, answer: Callable[[str], dict[str, Any]]) -> Iterator[ProxyRobot]:
    """A client of a robot process that gives these answers."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rwb") as lines:
            for line in lines:
                asked = json.loads(line)
                lines.write(json.dumps({"id": asked["id"], **answer(asked["do"])}).encode() + b"\n")
                lines.flush()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    robot = ProxyRobot(address, connect_s=5.0)
    try:
        yield robot
    finally:
        if robot._socket is not None:
            robot._socket.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        listener.close()
