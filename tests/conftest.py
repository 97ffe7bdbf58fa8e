"""Puts this folder on the import path, so that tests share `toys`; and lets the whole suite run on another clock.

    pytest --clock-shift 1e9        as on a machine that has been up for thirty years

`time.monotonic` counts from a moment that nobody chose, often the last boot. Nothing may depend on its value.
"""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("fixed", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fixed")  # property tests depend on no clock and no chance


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--clock-shift", type=float, default=0.0, metavar="S", help="add S seconds to time.monotonic")


def pytest_configure(config: pytest.Config) -> None:
    if shift_s := config.getoption("--clock-shift"):
        seconds, nanoseconds = time.monotonic, time.monotonic_ns
        time.monotonic = lambda: seconds() + shift_s
        time.monotonic_ns = lambda: nanoseconds() + round(1e9 * shift_s)
