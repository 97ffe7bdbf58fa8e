"""The kit for drivers: what keeps the protocol passes, and each broken promise is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fakes import ToyRobot

from score_rl.contracts import ArraySpec
from score_rl.core.testing import ContractViolation
from score_rl.deploy.drivers.protocol import Reading
from score_rl.deploy.drivers.testing import check_driver


class Seeing(ToyRobot):
    """Shows a depth image of 2 x 3 pixels."""

    def __init__(self) -> None:
        super().__init__()
        interface = replace(self.spec.interface, views={"depth": ArraySpec((2, 3))})
        self.spec, self.asked = replace(self.spec, interface=interface), 0

    def look(self, keys: tuple[str, ...]) -> dict[str, Any]:
        self.asked += 1
        return {key: np.zeros((2, 3), np.float32) for key in keys}


def test_a_good_driver_passes_and_moves_nothing() -> None:
    robot = ToyRobot()
    check_driver(robot, steps=7)
    assert len(robot.sent) == 7 and not np.any(robot.sent)  # of the second episode: it stays where it began
    assert robot.stops == 2 * 2 + 1  # twice an episode, and at the end
    seeing = Seeing()
    check_driver(seeing, steps=10, episodes=1)
    assert seeing.asked == 2  # once per five commands


def without_command(robot: ToyRobot) -> None:
    robot.disturb = lambda step, frame: {"state": frame["state"]}


def with_another_shape(robot: ToyRobot) -> None:
    robot.disturb = lambda step, frame: frame | {"state": np.zeros(3)}


def with_another_dtype(robot: ToyRobot) -> None:
    measure = robot._measure
    robot._measure = lambda frame=None: replace(measure(frame), frame={k: np.zeros(2) for k in ("state", "command")})


def from_the_future(robot: ToyRobot) -> None:
    measure = robot._measure
    robot._measure = lambda frame=None: replace(measure(frame), measured_at=robot.clock.now() + 5.0)


def of_the_wall_clock(robot: ToyRobot) -> None:
    measure = robot._measure
    robot._measure = lambda frame=None: replace(measure(frame), measured_at=measure(frame).measured_at - 1e9)


def counting_backwards(robot: ToyRobot) -> None:
    observe = robot.observe
    robot.observe = lambda timeout_s: replace(observe(timeout_s), number=5 - robot.step)


def frozen(robot: ToyRobot) -> None:
    robot.observe = lambda timeout_s: robot.last


def that_tells_nothing_of_what_it_sent(robot: ToyRobot) -> None:
    robot.command = lambda command: None


def that_sends_something_else(robot: ToyRobot) -> None:
    robot.command = lambda command: command + 0.1


def that_returns_no_reading(robot: ToyRobot) -> None:
    robot.observe = lambda timeout_s: {"state": np.zeros(2)}


def with_an_odd_rate(robot: ToyRobot) -> None:
    robot.spec = replace(robot.spec, interface=replace(robot.spec.interface, control_rate_hz=0.0))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (without_command, "begin: 'command' is missing, measured are \\['state'\\]"),
        (with_another_shape, r"'state' is float32 \(3,\), the spec promises \(2,\) float32"),
        (with_another_dtype, r"'state' is float64 \(2,\), the spec promises \(2,\) float32"),
        (from_the_future, "measured_at is -5 s ago"),
        (of_the_wall_clock, r"measured_at is 1e\+09 s ago, expected time.monotonic"),
        (counting_backwards, "measurement 3 came behind 4 of one episode"),
        (frozen, "no measurement was new in 10 control periods"),
        (that_tells_nothing_of_what_it_sent, "command returned None, expected what was sent"),
        (that_sends_something_else, "asked for was .*, where the robot stands"),
        (that_returns_no_reading, "observe returned a dict, expected a Reading"),
        (with_an_odd_rate, "control_rate_hz"),
    ],
)
def test_a_broken_promise_is_named(broken: Any, message: str) -> None:
    robot = ToyRobot()
    broken(robot)
    with pytest.raises(ContractViolation, match=message):
        check_driver(robot)


def test_what_is_no_driver_or_cannot_look() -> None:
    with pytest.raises(ContractViolation, match="object is no driver"):
        check_driver(object())  # type: ignore[arg-type]
    deaf = ToyRobot()
    del deaf.spec
    with pytest.raises(ContractViolation, match="ToyRobot lacks a method of `RobotDriver`, or its spec"):
        check_driver(deaf)
    blind = Seeing()
    blind.look = None  # type: ignore[assignment]
    with pytest.raises(ContractViolation, match="a robot with views needs `look`"):
        check_driver(blind)
    narrow = Seeing()
    narrow.look = lambda keys: {"depth": np.zeros(6, np.float32)}  # type: ignore[assignment]
    with pytest.raises(ContractViolation, match=r"look: 'depth' is float32 \(6,\), the spec promises \(2, 3\)"):
        check_driver(narrow)


def test_an_episode_may_end_by_itself() -> None:
    robot = ToyRobot(length=3)
    check_driver(robot, steps=100, episodes=1)
    assert len(robot.sent) == 3
    assert isinstance(robot.last, Reading) and robot.last.ended == "success"
