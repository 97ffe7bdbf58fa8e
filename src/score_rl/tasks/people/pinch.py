"""Thumb against fingers: how the hand closes around things, and how it is turned where the arm is at ease."""

from __future__ import annotations

import numpy as np

from score_rl.robots.franka_leap.hand_postures import PinchTable
from score_rl.tasks.people.person import Array, Hand

YAW_NEAR, YAW_FAR = np.radians(-150.0), np.radians(-90.0)
NEAR_M, FAR_M = 0.5, 0.7
"""Yaw of `PINCH`'s frame, relative to the direction from the base, around which the arm reaches every place:
`YAW_NEAR` up to the first distance, `YAW_FAR` from the second on, linear in between."""


def pinch(table: PinchTable, open_m: float, width_m: float, grip_n: float) -> Hand:
    """The hand that closes around a thing of `width_m` from `open_m`, and then grips it with `grip_n`.

    That is the force with which thumb and fingers are told to press on each other; torque limits bound it as well.
    """

    def joints(closing: float) -> Array:
        opening = open_m + min(closing, 1.0) * (width_m - open_m)
        return table.hand(np.array([opening]), max(closing - 1.0, 0.0) * grip_n)[0]

    return joints


def easy_yaw(place: Array) -> float:
    """Yaw of `PINCH`'s frame at which the arm is at ease at a place (x, y, ...), rad."""
    towards = np.arctan2(place[1], place[0])
    return float(towards + np.interp(np.hypot(place[0], place[1]), (NEAR_M, FAR_M), (YAW_NEAR, YAW_FAR)))
