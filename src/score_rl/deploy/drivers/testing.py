"""Conformance kit of robot drivers: run it on your own before a policy drives the robot.

    from score_rl.deploy.drivers.testing import check_driver
    check_driver(MyRobot("172.16.0.2"))

The robot goes to the start of an episode, and is then told to stay where it is: on hardware, stand by the emergency
stop all the same. Raises `ContractViolation` at the first promise of `drivers.protocol` that is broken, saying what
was expected and what came.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from score_rl.contracts import COMMAND, ArraySpec, Interface
from score_rl.core.errors import ScoreError
from score_rl.core.interfaces import check_interface
from score_rl.core.testing import ContractViolation, expect
from score_rl.deploy.drivers.protocol import Reading, RobotDriver, RobotSpec

STATE = "state"
CLOCKS_S = 0.01
"""A robot's clock and this computer's agree to this."""


def check_driver(driver: RobotDriver, steps: int = 10, episodes: int = 2) -> None:
    """Check a driver: two short episodes in which the robot holds where it begins.

    The spec; measurements with every promised key, in its shape and type, of a time that has been, counted anew in
    every episode; commands (a,) that come back as what was sent; views, once per decision; and `stop`, which may come
    at any time, also twice. Raises ContractViolation, and whatever the robot itself raises.
    """
    expect(hasattr(type(driver), "__exit__"), f"{type(driver).__name__} is no driver: `with driver:` connects it")
    with driver:
        expect(
            isinstance(driver, RobotDriver), f"{type(driver).__name__} lacks a method of `RobotDriver`, or its spec"
        )
        spec = driver.spec
        _check_spec(spec)
        for seed in range(episodes):
            _check_episode(driver, spec, seed, steps)
            driver.stop()
            driver.stop()


def _check_spec(spec: RobotSpec) -> None:
    expect(isinstance(spec, RobotSpec), f"spec is a {type(spec).__name__}, expected a RobotSpec once connected")
    try:
        check_interface(spec.interface, "the robot")
    except ScoreError as error:
        raise ContractViolation(str(error)) from error
    expect(bool({COMMAND, STATE} & set(spec.interface.observation)), "the robot measures neither command nor state")
    expect(spec.speed >= 0, f"speed is {spec.speed}, expected 0 or more; hardware: 1")


def _check_episode(driver: RobotDriver, spec: RobotSpec, seed: int, steps: int) -> None:
    before = driver.begin(seed)
    _check_reading("begin", before, spec.interface)
    hold = _held(before, spec.interface)
    for step in range(steps):
        if not step % 5 and spec.interface.views:
            _check_views(driver, spec.interface)
        sent = np.asarray(driver.command(hold.copy()))
        good = sent.shape == hold.shape and bool(np.isfinite(sent).all())
        expect(good, f"command returned {sent}, expected what was sent, finite, {hold.shape}")
        expect(
            np.allclose(sent, hold, atol=1e-3), f"command sent {sent}, asked for was {hold}, where the robot stands"
        )
        now = driver.observe(2.0 / spec.interface.control_rate_hz / (spec.speed or 1.0))
        _check_reading("observe", now, spec.interface)
        expect(now.number >= before.number, f"measurement {now.number} came behind {before.number} of one episode")
        later = now.measured_at >= before.measured_at
        expect(later, f"measurement {now.number} is {before.measured_at - now.measured_at:.3g} s older than the last")
        before = now
        if now.ended:
            return
    expect(before.number > 0, f"no measurement was new in {steps} control periods")


def _check_reading(where: str, reading: Reading, interface: Interface) -> None:
    expect(isinstance(reading, Reading), f"{where} returned a {type(reading).__name__}, expected a Reading")
    _check_arrays(where, reading.frame, interface.observation, "measured")
    age = time.monotonic() - reading.measured_at
    expect(
        -CLOCKS_S <= age < 60,
        f"{where}: measured_at is {age:.3g} s ago, expected time.monotonic() of the measurement",
    )


def _check_views(driver: RobotDriver, interface: Interface) -> None:
    expect(callable(getattr(driver, "look", None)), "a robot with views needs `look`; see `RobotDriver`")
    seen = driver.look(tuple(interface.views))  # type: ignore[attr-defined]
    _check_arrays("look", seen, interface.views, "shown")


def _check_arrays(where: str, given: Mapping[str, Any], promised: Mapping[str, ArraySpec], verb: str) -> None:
    """Every promised array is there, in its shape and type."""
    for key, array in promised.items():
        expect(key in given, f"{where}: '{key}' is missing, {verb} are {sorted(given)}")
        value = np.asarray(given[key])
        good = value.shape == array.shape and value.dtype == array.dtype
        expect(good, f"{where}: '{key}' is {value.dtype} {value.shape}, the spec promises {array}")


def _held(reading: Reading, interface: Interface) -> NDArray[Any]:
    """(a,) the command that keeps the robot where it is."""
    hold = np.asarray(reading.frame[COMMAND if COMMAND in interface.observation else STATE])
    expected = (interface.action_dim,)
    expect(hold.shape == expected, f"the robot stands at {hold.shape}, its commands are {expected}")
    expect(bool(np.isfinite(hold).all()), f"begin measured {hold}, where a command that holds is needed")
    return hold
