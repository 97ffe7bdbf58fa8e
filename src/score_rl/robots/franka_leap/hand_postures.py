"""Finger postures of a pinch, as a table: opening between the finger pads -> 16 hand joints.

The thumb's tip opposes the index and middle fingertips symmetrically about a fixed point, whatever the opening;
the ring finger is curled out of the way. `hand_solver` finds the postures offline; the result is kept here as
constants, so that demonstrations do not depend on the optimiser's version.

The pinch frame: origin at the midpoint between the pads, x from the thumb towards the fingers, z up.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.robot import Robot

Array = NDArray[np.float64]

FINGER_RADIUS_M, THUMB_RADIUS_M = 0.0105, 0.0115
RING_CURLED = (1.6, 0.0, 1.2, 0.9)
"""An extended ring finger would meet the table first."""
SOLVED_JOINTS = np.r_[0:8, 12:16]
"""Hand joints of index, middle and thumb."""


@dataclass(frozen=True)
class PinchTable:
    """The solution: where the palm is when the hand pinches, and the fingers for every opening."""

    openings_m: tuple[float, ...]
    """Free distances between the thumb's pad and the fingers' pads."""
    palm_rotation: tuple[float, ...]
    """(9,) row-major rotation of the palm frame in the pinch frame."""
    palm_position_m: tuple[float, float, float]
    """Palm origin in the pinch frame."""
    joints: tuple[tuple[float, ...], ...]
    """(openings, 12): index, middle, thumb joints."""
    squeeze_rad_per_n: tuple[float, ...]
    """(12,) change of the joint targets per newton of grip: the servos then push thumb against fingers along the
    pinch axis (J' f / kp at the cube's width), the thumb with the whole force, each finger with half of it."""

    def in_palm(self) -> tuple[Array, Array]:
        """Position (3,) and rotation (3, 3) of the pinch frame in the palm frame."""
        rotation = self.rotation()
        return -rotation.T @ np.array(self.palm_position_m), rotation.T

    def rotation(self) -> Array:
        """Rotation (3, 3) of the palm frame in the pinch frame."""
        return np.array(self.palm_rotation).reshape(3, 3)

    def hand(self, opening_m: Array, grip_n: Array | float = 0.0) -> Array:
        """Hand joint targets (n, 16) for openings (n,) and grip forces (n,).

        Linear between the table's openings and held beyond its ends.
        """
        table = np.array(self.joints)
        hand = np.tile(np.r_[np.zeros(8), RING_CURLED, np.zeros(4)], (len(opening_m), 1))
        hand[:, SOLVED_JOINTS] = np.stack(
            [np.interp(opening_m, self.openings_m, column) for column in table.T], axis=1
        )
        hand[:, SOLVED_JOINTS] += np.multiply.outer(grip_n * np.ones(len(opening_m)), self.squeeze_rad_per_n)
        return hand


PINCH = PinchTable(
    openings_m=(0.025, 0.035, 0.045, 0.065, 0.085),
    palm_rotation=(0.3758, 0.7959, 0.4746, 0.4051, 0.3195, -0.8566, -0.8335, 0.5142, -0.2023),
    palm_position_m=(0.0107, 0.0606, 0.081),
    joints=(
        (-0.044, 0.987, 1.825, 0.444, 1.128, -0.987, -0.142, 0.714, 0.593, 0.037, 0.984, 0.027),
        (-0.028, 0.987, 1.799, 0.36, 0.984, -0.963, 0.064, 0.654, 0.495, 0.094, 0.915, 0.104),
        (-0.015, 0.987, 1.776, 0.271, 0.875, -0.941, 0.251, 0.559, 0.413, 0.139, 0.86, 0.158),
        (0.005, 0.987, 1.709, 0.134, 0.785, -0.851, 0.434, 0.458, 0.339, 0.135, 0.805, 0.143),
        (0.022, 0.975, 1.644, -0.015, 0.727, -0.74, 0.591, 0.329, 0.286, 0.102, 0.775, 0.081),
    ),
    squeeze_rad_per_n=(
        0.0018,
        0.0003,
        0.0122,
        0.0065,
        0.0037,
        -0.0122,
        -0.002,
        -0.0015,
        0.0239,
        0.0183,
        0.0231,
        0.0119,
    ),
)
"""Thumb against index and middle finger, for small objects; what `hand_solver.solve()` returns."""

WIDE_PINCH = PinchTable(
    openings_m=(0.054, 0.064, 0.08, 0.095, 0.11),
    palm_rotation=(0.8621, 0.3849, -0.3297, 0.1813, -0.8417, -0.5085, -0.4733, 0.3786, -0.7954),
    palm_position_m=(0.0037, -0.0011, 0.1057),
    joints=(
        (0.091, -0.291, 0.698, 1.246, 0.428, -0.636, 0.255, 1.183, 1.151, 0.09, 0.581, 0.327),
        (0.047, -0.188, 0.709, 1.199, 0.388, -0.587, 0.261, 1.18, 1.098, 0.167, 0.297, 0.704),
        (-0.006, -0.1, 0.7, 1.129, 0.331, -0.522, 0.253, 1.164, 1.088, 0.171, 0.266, 0.658),
        (-0.045, -0.008, 0.686, 1.048, 0.289, -0.445, 0.245, 1.135, 1.084, 0.177, 0.238, 0.594),
        (-0.07, 0.071, 0.663, 0.953, 0.255, -0.372, 0.228, 1.09, 1.078, 0.192, 0.165, 0.584),
    ),
    squeeze_rad_per_n=(
        0.0127,
        -0.0025,
        0.0085,
        0.0038,
        0.0143,
        -0.0062,
        0.0069,
        0.0027,
        0.008,
        0.0009,
        0.0297,
        0.0145,
    ),
)
"""The same from below the middle of a lying cylinder of 64 mm, with the palm 23 mm above it; what
`hand_solver.solve(WIDE)` returns."""

BULB_PINCH = PinchTable(
    openings_m=(0.05, 0.06, 0.075, 0.09, 0.105),
    palm_rotation=(0.4522, 0.7294, 0.5133, 0.3264, 0.4002, -0.8563, -0.83, 0.5548, -0.0571),
    palm_position_m=(0.0098, 0.0572, 0.0803),
    joints=(
        (-0.197, 0.987, 1.58, 0.83, 1.06, -0.987, -0.359, 0.907, 0.126, 0.208, 0.84, 0.3),
        (-0.185, 0.987, 1.553, 0.746, 0.843, -0.967, -0.027, 0.785, 0.06, 0.248, 0.77, 0.366),
        (-0.168, 0.987, 1.537, 0.581, 0.677, -0.933, 0.285, 0.591, 0.038, 0.238, 0.728, 0.328),
        (-0.156, 0.987, 1.562, 0.341, 0.583, -0.879, 0.531, 0.364, 0.021, 0.214, 0.693, 0.27),
        (-0.139, 0.945, 1.608, 0.054, 0.538, -0.797, 0.734, 0.108, 0.01, 0.17, 0.674, 0.186),
    ),
    squeeze_rad_per_n=(
        0.0007,
        0.0003,
        0.0113,
        0.0065,
        0.0031,
        -0.0129,
        -0.001,
        -0.001,
        0.0202,
        0.0113,
        0.0286,
        0.0146,
    ),
)
"""From above about the middle of a ball of 60 mm, from which all but the fingertips keep a centimetre away; what
`hand_solver.solve(BULB)` returns."""

PLATE_PINCH = PinchTable(
    openings_m=(0.01, 0.02, 0.035, 0.05, 0.065),
    palm_rotation=(0.4518, 0.8724, 0.1865, 0.3398, 0.025, -0.9402, -0.8248, 0.4882, -0.2852),
    palm_position_m=(0.0264, 0.0585, 0.0806),
    joints=(
        (0.03, 0.987, 1.825, 0.537, 0.999, -0.987, 0.178, 0.587, 0.768, 0.106, 0.895, 0.102),
        (0.039, 0.987, 1.71, 0.623, 0.865, -0.987, 0.388, 0.482, 0.765, 0.074, 0.88, 0.054),
        (0.059, 0.987, 1.551, 0.713, 0.715, -0.987, 0.613, 0.38, 0.735, 0.047, 0.839, 0.023),
        (0.073, 0.987, 1.384, 0.817, 0.588, -0.986, 0.812, 0.273, 0.696, 0.023, 0.799, 0.002),
        (0.082, 0.987, 1.211, 0.931, 0.489, -0.964, 0.992, 0.151, 0.653, -0.001, 0.761, -0.018),
    ),
    squeeze_rad_per_n=(
        0.0041,
        0.0004,
        0.0112,
        0.0052,
        0.0062,
        -0.0107,
        0.0,
        -0.0011,
        0.0228,
        0.0182,
        0.023,
        0.0118,
    ),
)
"""From above about the rim of an upright plate of 10 mm, 18 mm below its highest point; what
`hand_solver.solve(PLATE)` returns."""

THIN_PINCH = PinchTable(
    openings_m=(0.002, 0.012, 0.025, 0.045, 0.07),
    palm_rotation=(0.3404, 0.8986, 0.2768, 0.4634, 0.0958, -0.8809, -0.8181, 0.4282, -0.3838),
    palm_position_m=(0.0285, 0.102, 0.0645),
    joints=(
        (1.651, -0.269, 0.192, 0.086, 1.63, -0.828, 0.126, 0.002, 0.958, 0.319, 0.228, 0.534),
        (1.649, -0.216, 0.168, 0.094, 1.463, -0.802, 0.331, 0.009, 0.925, 0.321, 0.214, 0.512),
        (1.65, -0.148, 0.136, 0.09, 1.319, -0.772, 0.515, 0.001, 0.884, 0.317, 0.203, 0.472),
        (1.652, -0.045, 0.092, 0.064, 1.188, -0.701, 0.692, -0.014, 0.827, 0.292, 0.214, 0.356),
        (1.651, 0.083, 0.037, 0.027, 1.048, -0.599, 0.877, -0.028, 0.755, 0.242, 0.266, 0.158),
    ),
    squeeze_rad_per_n=(
        0.0082,
        -0.0137,
        0.0044,
        0.0023,
        0.0064,
        -0.012,
        0.0036,
        0.0018,
        0.0349,
        0.0115,
        0.0208,
        0.0107,
    ),
)
"""Straight fingers against the thumb, for a card between them; what `hand_solver.solve(THIN)` returns."""


class Fingers:
    """Fingertip positions and the axes of the last links, in the palm frame."""

    def __init__(self, robot: Robot) -> None:
        spec = mujoco.MjSpec()
        robot.add_bodies(spec, robot)
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        self.robot = robot
        self.tips = [robot.fingertips[i] for i in (0, 1, 3)]

    def __call__(self, joints: Array) -> tuple[Array, Array]:
        hand = np.r_[np.zeros(8), RING_CURLED, np.zeros(4)]
        hand[SOLVED_JOINTS] = joints
        self.data.qpos[self.robot.arm_dof :] = hand
        mujoco.mj_kinematics(self.model, self.data)
        palm = self.data.site(self.robot.palm)
        rotation = palm.xmat.reshape(3, 3)
        tips = np.stack([rotation.T @ (self.data.site(tip).xpos - palm.xpos) for tip in self.tips])
        # A capsule's z axis points from its second end (the tip) to its first.
        axes = -np.stack([rotation.T @ self.data.geom(tip).xmat.reshape(3, 3)[:, 2] for tip in self.tips])
        return tips, axes


def tips_in_pinch_frame(table: PinchTable, robot: Robot = FRANKA_LEAP) -> Array:
    """What the table's postures really do: (openings, 3, 3) fingertip centres in the pinch frame."""
    fingers = Fingers(robot)
    tips = np.stack([fingers(np.array(joints))[0] for joints in table.joints])
    return tips @ table.rotation().T + np.array(table.palm_position_m)


def squeeze_direction(joints: Array, palm_rotation: Array, robot: Robot = FRANKA_LEAP) -> Array:
    """`PinchTable.squeeze_rad_per_n` (12,) at a posture (12,)."""
    fingers, step = Fingers(robot), 1e-5
    centre = fingers(joints)[0]
    along = np.stack([(fingers(joints + step * unit)[0] - centre) @ palm_rotation[0] for unit in np.eye(12)])
    kp = np.array(robot.kp[robot.arm_dof :])[SOLVED_JOINTS]
    return along @ (-0.5, -0.5, 1.0) / step / kp
