"""What is assumed about an uncalibrated robot before its demonstrations are seen.

Each prior is what the owner of such a robot would assume from data sheets and experience; none comes from a
measurement of the robot. A prior holds the estimate where the demonstrations say little, and where they say
nothing its width becomes the twin's randomisation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Prior:
    """A normal belief about every element of one domain parameter (see `score_rl.sim.domain.PARAMETERS`)."""

    mean: float
    sd: float
    reason: str
    """Where the figures come from."""


PRIORS: Mapping[str, Prior] = {
    "arm_joint_bias_rad": Prior(0.0, 0.005, "industrial arms are calibrated to 0.1-0.3 degrees"),
    "hand_joint_bias_rad": Prior(0.0, 0.06, "hand-assembled servo hands are zeroed by eye: a few degrees"),
    "hand_backlash_rad": Prior(0.03, 0.02, "play of small gear trains, 1-3 degrees with wear"),
    "arm_gain_scale": Prior(
        1.0, 0.1, "impedance controllers reproduce their gains; the model's inertia is less sure"
    ),
    "hand_gain_scale": Prior(1.0, 0.15, "servo gains drift with temperature, voltage and firmware"),
    "delay_s": Prior(0.02, 0.02, "one to three cycles of a 50-100 Hz bus and driver"),
    "lag_s": Prior(0.02, 0.02, "target filters and trajectory smoothing of servo firmware"),
    "hand_torque_limit_nm": Prior(0.5, 0.1, "small servos give 50-100 % of the stall torque of their data sheet"),
    "hand_dry_friction_nm": Prior(0.01, 0.01, "a few percent of a small servo's torque"),
    "table_height_m": Prior(0.0, 0.003, "a table set up with a ruler"),
    "camera_position_bias_m": Prior(0.0, 0.005, "hand-eye calibration: millimetres"),
    "camera_yaw_bias_rad": Prior(0.0, 0.015, "hand-eye calibration: under a degree"),
}

PINCH_CENTRE_SD_M = 0.002
"""How far a pinched object's centre may be from the middle of the fingertip frames along the pinch axis."""

FLOORS: Mapping[str, float] = {
    "arm_joint_bias_rad": 0.001,
    "hand_joint_bias_rad": 0.004,
    "hand_backlash_rad": 0.004,
    "arm_gain_scale": 0.05,
    "hand_gain_scale": 0.08,
    "delay_s": 0.004,
    "lag_s": 0.006,
    "hand_dry_friction_nm": 0.002,
    "table_height_m": 0.001,
    "camera_position_bias_m": 0.0015,
    "camera_yaw_bias_rad": 0.003,
}
"""Standard deviations of what a fit cannot see, however many demonstrations there are: elasticity under load and
temperature (offsets, play), physics steps as long as the time constants, which trade lag against gain (a third of
a 16.7 ms step; a tenth of a gain), the spread of object sizes (table, camera). Added in quadrature."""
