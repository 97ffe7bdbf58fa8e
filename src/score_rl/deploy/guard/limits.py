"""What a robot may be commanded, as the guard knows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from score_rl.contracts import Interface


@dataclass(frozen=True)
class GuardLimits:
    """What a robot may be commanded; one value per action dimension, in action units (rad, rad/s, rad/s^2)."""

    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    velocity: tuple[float, ...]
    acceleration: tuple[float, ...]
    control_rate_hz: float


class RobotBounds(Protocol):
    """What a bundle's specification, or a robot's, says of the actions; None where nothing is known."""

    @property
    def interface(self) -> Interface: ...

    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    action_velocity_limit: tuple[float, ...] | None
    action_acceleration_limit: tuple[float, ...] | None


def guard_limits(bounds: RobotBounds) -> GuardLimits:
    """The limits of a robot; one that is not known leaves every command within the bounds legal."""
    names, control_rate_hz = bounds.interface.action_names, bounds.interface.control_rate_hz
    span = np.subtract(bounds.action_high, bounds.action_low)
    velocity = bounds.action_velocity_limit or tuple(1.01 * span * control_rate_hz)
    acceleration = bounds.action_acceleration_limit or tuple(3 * np.multiply(velocity, control_rate_hz))
    return GuardLimits(names, bounds.action_low, bounds.action_high, velocity, acceleration, control_rate_hz)
