"""Finger postures of a wrap: palm and fingers on one side of an upright cylinder, the thumb on the other.

The wrap frame: its z is the cylinder's axis, upwards, with the thumb above the fingers; x points from the palm to the
axis; the origin lies level with the middle finger. The hand takes cylinders of 35 to 40 mm radius.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

OPEN = np.r_[[-0.06, 0.0, 0.38, 0.2] * 3, [0.86, 0.98, 0.2, 0.2]]
"""Hand joints (16,) with which a cylinder is approached: 15 mm off the palm, room on both sides."""
CLOSED = np.r_[[0.61, 0.0, 0.95, 0.37] * 3, [1.56, 0.98, 0.69, 0.74]]
"""(16,) where fingers and thumb lie on the cylinder. Found, with the frame, by a search at random over the posture,
scored by cups that were lifted in the twin and by the force that it took."""
FLEXING = np.r_[[1.0, 0.0, 1.0, 1.0] * 3, [1.0, 0.0, 1.0, 1.0]]
"""(16,) joints that press on the cylinder."""

IN_PALM_M = np.array([0.024, 0.010, 0.064])
"""(3,) origin of the wrap frame in the palm frame."""
IN_PALM = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
"""(3, 3) its rotation."""


def wrapped(closing: float, squeeze_rad: float) -> Array:
    """Hand joint targets (16,) for how far the hand is closed: 0 open, 1 on the cylinder, 2 pressing.

    squeeze_rad: how far past touching the joints are told to go; the servos' stiffness makes a force of it.
    """
    closed = OPEN + min(closing, 1.0) * (CLOSED - OPEN)
    return closed + max(closing - 1.0, 0.0) * squeeze_rad * FLEXING
