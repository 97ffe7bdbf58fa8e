"""Finger postures of a pinch, as a table: opening between the finger pads -> 16 hand joints.

One offline least-squares problem (`solve`) finds a hand orientation and finger joints such that, over a range of
openings, the thumb's tip opposes the index and middle fingertips symmetrically about a fixed point, with the
fingertips the lowest part of the hand, the flange near vertical and the ring finger curled out of the way. The
result is kept below as constants, so that demonstrations do not depend on the optimiser's version; print them
anew with `python -m score_rl.collection.hand_postures`.

The pinch frame: origin at the midpoint between the pads, x from the thumb towards the fingers, z up.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from score_rl.robots import FRANKA_LEAP, Robot, add_robot

Array = NDArray[np.float64]

OPENINGS_M = (0.025, 0.035, 0.045, 0.065, 0.085)
"""Free distance between the thumb's pad and the fingers' pads."""
FINGER_RADIUS_M, THUMB_RADIUS_M = 0.0105, 0.0115
SPREAD_M = 0.014
"""Index and middle fingertips stand this far to either side of the pinch axis."""
RING_CURLED = (1.6, 0.0, 1.2, 0.9)
"""An extended ring finger would meet the table first."""
_SOLVED = np.r_[0:8, 12:16]
"""Hand joints of index, middle and thumb."""


@dataclass(frozen=True)
class PinchTable:
    """The solution: where the palm is when the hand pinches, and the fingers for every opening."""

    palm_rotation: tuple[float, ...]
    """(9,) row-major rotation of the palm frame in the pinch frame."""
    palm_position_m: tuple[float, float, float]
    """Palm origin in the pinch frame."""
    joints: tuple[tuple[float, ...], ...]
    """(openings, 12): index, middle, thumb joints for `OPENINGS_M`."""
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
        hand[:, _SOLVED] = np.stack([np.interp(opening_m, OPENINGS_M, column) for column in table.T], axis=1)
        hand[:, _SOLVED] += np.multiply.outer(grip_n * np.ones(len(opening_m)), self.squeeze_rad_per_n)
        return hand


PINCH = PinchTable(
    palm_rotation=(0.3844, 0.8097, 0.4435, 0.3986, 0.2877, -0.8708, -0.8326, 0.5116, -0.2122),
    palm_position_m=(0.0114, 0.0618, 0.0809),
    joints=(
        (-0.033, 0.974, 1.795, 0.46, 1.034, -0.975, 0.078, 0.558, 0.656, 0.012, 0.967, 0.026),
        (-0.01, 0.987, 1.784, 0.341, 0.861, -0.982, 0.352, 0.412, 0.536, 0.093, 0.905, 0.094),
        (0.001, 0.98, 1.775, 0.226, 0.774, -0.962, 0.555, 0.234, 0.441, 0.154, 0.857, 0.139),
        (0.022, 0.982, 1.721, 0.066, 0.718, -0.858, 0.736, 0.066, 0.367, 0.155, 0.806, 0.116),
        (0.042, 0.954, 1.663, -0.099, 0.694, -0.725, 0.875, -0.105, 0.316, 0.122, 0.776, 0.049),
    ),
    squeeze_rad_per_n=(
        0.0022,
        0.0003,
        0.0123,
        0.0065,
        0.0041,
        -0.0115,
        -0.0031,
        -0.0018,
        0.0241,
        0.0177,
        0.0236,
        0.0122,
    ),
)
"""Thumb against index and middle finger; what `solve()` returns."""


@dataclass(frozen=True)
class SolveConfig:
    """Weights of the posture problem; every residual is about 1 where it starts to matter."""

    openings_m: tuple[float, ...] = OPENINGS_M
    tip_error_m: float = 0.005
    flange_tilt_deg: float = 20.0
    """Free tilt of the flange from the vertical."""
    palm_clearance_m: float = 0.065
    """Least height of the palm's middle above the pinch point."""
    finger_slope: float = 0.6
    """Least downward component of the last links' axes."""
    start: tuple[float, ...] = (1.9, -0.4, -0.3, -0.2, 1.8, -0.8, -0.2, -0.2, 0.6, 0.0, 0.7, 0.1)
    rest: tuple[float, ...] = (0.8, 0.0, 0.6, 0.4, 0.8, 0.0, 0.6, 0.4, 1.2, 0.6, 0.4, 0.4)
    margin_rad: float = 0.08
    """Distance kept from the joint limits."""


class _Fingers:
    """Fingertip positions and the axes of the last links, in the palm frame."""

    def __init__(self, robot: Robot) -> None:
        spec = mujoco.MjSpec()
        add_robot(spec, robot)
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        self.robot = robot
        self.tips = [robot.fingertips[i] for i in (0, 1, 3)]

    def __call__(self, joints: Array) -> tuple[Array, Array]:
        hand = np.r_[np.zeros(8), RING_CURLED, np.zeros(4)]
        hand[_SOLVED] = joints
        self.data.qpos[self.robot.arm_dof :] = hand
        mujoco.mj_kinematics(self.model, self.data)
        palm = self.data.site(self.robot.palm)
        rotation = palm.xmat.reshape(3, 3)
        tips = np.stack([rotation.T @ (self.data.site(tip).xpos - palm.xpos) for tip in self.tips])
        # A capsule's z axis points from its second end (the tip) to its first.
        axes = -np.stack([rotation.T @ self.data.geom(tip).xmat.reshape(3, 3)[:, 2] for tip in self.tips])
        return tips, axes


def wanted_tips(opening_m: float) -> Array:
    """Centres (3, 3) of the index, middle and thumb fingertips in the pinch frame."""
    finger, thumb = opening_m / 2 + FINGER_RADIUS_M, -opening_m / 2 - THUMB_RADIUS_M
    return np.array([[finger, -SPREAD_M, 0.0], [finger, SPREAD_M, 0.0], [thumb, 0.0, 0.0]])


def tips_in_pinch_frame(table: PinchTable, robot: Robot = FRANKA_LEAP) -> Array:
    """What the table's postures really do: (openings, 3, 3) fingertip centres in the pinch frame."""
    fingers = _Fingers(robot)
    tips = np.stack([fingers(np.array(joints))[0] for joints in table.joints])
    return tips @ table.rotation().T + np.array(table.palm_position_m)


def squeeze_direction(joints: Array, palm_rotation: Array, robot: Robot = FRANKA_LEAP) -> Array:
    """`PinchTable.squeeze_rad_per_n` (12,) at a posture (12,)."""
    fingers, step = _Fingers(robot), 1e-5
    centre = fingers(joints)[0]
    along = np.stack([(fingers(joints + step * unit)[0] - centre) @ palm_rotation[0] for unit in np.eye(12)])
    kp = np.array(robot.kp[robot.arm_dof :])[_SOLVED]
    return along @ (-0.5, -0.5, 1.0) / step / kp


def solve(config: SolveConfig | None = None, robot: Robot = FRANKA_LEAP) -> PinchTable:
    """Solve the posture problem; about half a minute."""
    config = config or SolveConfig()
    fingers = _Fingers(robot)
    count, rest = len(config.openings_m), np.array(config.rest)
    upright = np.cos(np.radians(config.flange_tilt_deg))

    def residual(x: Array) -> Array:
        rotation, position, joints = Rotation.from_rotvec(x[:3]).as_matrix(), x[3:6], x[6:].reshape(count, -1)
        parts = []
        for opening, q in zip(config.openings_m, joints):
            tips, axes = fingers(q)
            axes = axes @ rotation.T
            parts += [
                (tips @ rotation.T + position - wanted_tips(opening)) / config.tip_error_m,
                5.0 * np.maximum(0.0, config.finger_slope + axes[:, 2]),
                0.4 * axes[:, 1],
                0.08 * (q - rest),
            ]
        parts.append(0.3 * np.diff(joints, n=2, axis=0))
        parts.append(np.array([50.0 * max(0.0, config.palm_clearance_m - position[2])]))
        parts.append(np.array([40.0 * max(0.0, upright + rotation[2, 0])]))
        return np.concatenate([part.ravel() for part in parts])

    start_rotation = np.array([[0.12, 0.71, 0.69], [0.35, 0.62, -0.70], [-0.93, 0.33, -0.17]])
    start = np.r_[Rotation.from_matrix(start_rotation).as_rotvec(), 0.0, 0.10, 0.06, np.tile(config.start, count)]
    lower = np.array(robot.target_lower[robot.arm_dof :])[_SOLVED] + config.margin_rad
    upper = np.array(robot.target_upper[robot.arm_dof :])[_SOLVED] - config.margin_rad
    bounds = (np.r_[[-10.0] * 6, np.tile(lower, count)], np.r_[[10.0] * 6, np.tile(upper, count)])
    x = least_squares(residual, start, bounds=bounds, max_nfev=200).x
    return PinchTable(
        palm_rotation=tuple(Rotation.from_rotvec(x[:3]).as_matrix().ravel().round(4).tolist()),
        palm_position_m=tuple(x[3:6].round(4).tolist()),
        joints=tuple(tuple(row) for row in x[6:].reshape(count, -1).round(3).tolist()),
    )


if __name__ == "__main__":
    print(solve())
