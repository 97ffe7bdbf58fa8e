"""Batched kinematics of a serial arm: forward kinematics and damped least squares, in NumPy for n arms at once.

The chain is read from the compiled MuJoCo model, so it cannot differ from the simulated robot. Everything is
double precision; poses are a position (n, 3) [m] and a rotation matrix (n, 3, 3), in the robot base frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.robot import Robot

Array = NDArray[np.float64]


@dataclass(frozen=True)
class InverseConfig:
    """Damped least squares with a null-space posture (Nakamura and Hanafusa 1986; Liegeois 1977)."""

    iterations: int = 3
    """Newton steps per call; the caller tracks a slowly moving target, so that few are enough."""
    damping: float = 0.02
    """Lambda: larger is calmer near singular postures and slower elsewhere."""
    rotation_weight_m: float = 0.1
    """Metres that one radian of orientation error counts for: where the arm cannot do both, it leans."""
    posture_gain: float = 0.05
    """Share of the distance to the rest posture that is taken back per iteration, in the null space."""
    max_step_rad: float = 0.2
    """Largest joint motion per iteration."""


@dataclass(frozen=True)
class ArmKinematics:
    """The chain from the robot base to the tool: the palm site or a frame fixed to it."""

    positions: Array
    """(7, 3): joint frames in their parents, at zero."""
    rotations: Array
    """(7, 3, 3)."""
    tool_position: Array
    """(3,): tool in the last joint's frame."""
    tool_rotation: Array
    """(3, 3)."""
    lower: Array
    """(7,) bounds of the solution [rad]."""
    upper: Array
    rest: Array
    """(7,) posture that the null space is drawn to."""

    @staticmethod
    def of(
        robot: Robot = FRANKA_LEAP, tool_position: Array | None = None, tool_rotation: Array | None = None
    ) -> ArmKinematics:
        """Read the chain of a robot whose arm joints turn about their z axes.

        The tool is the palm site, or a frame given by its pose in the palm frame.
        """
        in_palm = np.zeros(3) if tool_position is None else tool_position
        turn = np.eye(3) if tool_rotation is None else tool_rotation
        spec = mujoco.MjSpec()
        robot.add_bodies(spec, robot)
        model = spec.compile()
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        bodies = [model.joint(name).bodyid[0] for name in robot.joint_names[: robot.arm_dof]]
        rotation = [data.xmat[i].reshape(3, 3) for i in bodies]
        position = [data.xpos[i] for i in bodies]
        parents = [(np.zeros(3), np.eye(3)), *zip(position[:-1], rotation[:-1])]
        palm = data.site(robot.palm)
        palm_rotation = palm.xmat.reshape(3, 3)
        return ArmKinematics(
            positions=np.stack([r0.T @ (p - p0) for (p0, r0), p in zip(parents, position)]),
            rotations=np.stack([r0.T @ r for (_, r0), r in zip(parents, rotation)]),
            tool_position=rotation[-1].T @ (palm.xpos + palm_rotation @ in_palm - position[-1]),
            tool_rotation=rotation[-1].T @ palm_rotation @ turn,
            lower=np.array(robot.target_lower[: robot.arm_dof]),
            upper=np.array(robot.target_upper[: robot.arm_dof]),
            rest=np.array(robot.home[: robot.arm_dof]),
        )

    def forward(self, joints: Array) -> tuple[Array, Array]:
        """Tool pose (n, 3), (n, 3, 3) of joint angles (n, 7)."""
        position, rotation, _, _ = self._chain(joints)
        return position, rotation

    def jacobian(self, joints: Array) -> tuple[Array, Array, Array]:
        """Tool pose and geometric Jacobian (n, 6, 7): translation rows, then rotation rows."""
        position, rotation, origins, axes = self._chain(joints)
        linear = np.cross(axes, position[:, None] - origins)
        return position, rotation, np.concatenate([linear, axes], axis=2).transpose(0, 2, 1)

    def inverse(
        self, position: Array, rotation: Array, start: Array, config: InverseConfig | None = None
    ) -> tuple[Array, Array]:
        """Joint angles (n, 7) near `start` that bring the tool to a pose, and the residual.

        The residual (n,) is the position error plus the weighted orientation error, in metres, of the joints
        before the last step: an upper estimate of what is left.
        """
        config = config or InverseConfig()
        weight = np.array([1.0] * 3 + [config.rotation_weight_m] * 3)
        joints = start
        for _ in range(config.iterations):
            here, turned, jacobian = self.jacobian(joints)
            error = np.concatenate([position - here, rotation_error(rotation, turned)], axis=1) * weight
            jacobian = jacobian * weight[:, None]
            transposed = jacobian.transpose(0, 2, 1)
            square = jacobian @ transposed + config.damping**2 * np.eye(6)
            homing = config.posture_gain * (self.rest - joints)
            # J# (e - J h) + h: the homing motion h moves the tool only where the task leaves room.
            task = error - np.einsum("nij,nj->ni", jacobian, homing)
            step = homing + np.einsum("nij,nj->ni", transposed, np.linalg.solve(square, task[..., None])[..., 0])
            largest = np.abs(step).max(axis=1, keepdims=True)
            step *= np.minimum(1.0, config.max_step_rad / np.maximum(largest, 1e-9))
            joints = np.clip(joints + step, self.lower, self.upper)
        return joints, np.linalg.norm(error, axis=1)

    def _chain(self, joints: Array) -> tuple[Array, Array, Array, Array]:
        """Tool pose, and the origins (n, 7, 3) and axes (n, 7, 3) of the joints."""
        n, dof = joints.shape
        cos, sin = np.cos(joints), np.sin(joints)
        position, rotation = np.zeros((n, 3)), np.broadcast_to(np.eye(3), (n, 3, 3))
        origins, axes = np.empty((n, dof, 3)), np.empty((n, dof, 3))
        for i in range(dof):
            position = position + rotation @ self.positions[i]
            frame = rotation @ self.rotations[i]
            origins[:, i], axes[:, i] = position, frame[:, :, 2]
            c, s = cos[:, i, None], sin[:, i, None]
            x, y = frame[:, :, 0], frame[:, :, 1]
            rotation = np.stack([c * x + s * y, c * y - s * x, frame[:, :, 2]], axis=2)
        return position + rotation @ self.tool_position, rotation @ self.tool_rotation, origins, axes


def rotation_error(target: Array, current: Array) -> Array:
    """Rotation vector (n, 3) that turns `current` into `target`, base frame; exact direction, sin-like length."""
    relative = target @ current.transpose(0, 2, 1)
    vector = 0.5 * np.stack(
        [
            relative[:, 2, 1] - relative[:, 1, 2],
            relative[:, 0, 2] - relative[:, 2, 0],
            relative[:, 1, 0] - relative[:, 0, 1],
        ],
        axis=1,
    )
    sine = np.linalg.norm(vector, axis=1, keepdims=True)
    cosine = 0.5 * (np.trace(relative, axis1=1, axis2=2)[:, None] - 1.0)
    return vector * np.where(sine > 1e-9, np.arctan2(sine, cosine) / np.maximum(sine, 1e-9), 1.0)


def rotate_by(vector: Array, rotation: Array) -> Array:
    """Turn rotations (n, 3, 3) by rotation vectors (n, 3) given in the base frame (Rodrigues' formula)."""
    angle = np.linalg.norm(vector, axis=1)[:, None, None]
    x, y, z = (vector / np.maximum(angle[:, 0], 1e-12)).T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    turn = np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross)
    return turn @ rotation
