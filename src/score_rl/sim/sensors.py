"""What a world shows: what a robot can measure (actor) and the truth (critic); plain functions of batched state."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from mujoco.batch import Batch

from score_rl.sim import rotations_numpy as rotations
from score_rl.sim.robot import Robot
from score_rl.sim.scene import kinematic_model


class Kinematics:
    """Forward kinematics of the robot alone, for `size` postures at a time."""

    def __init__(self, robot: Robot, size: int, threads: int = 0):
        model = kinematic_model(robot)
        self._batch = Batch(model, size, threads)
        self._palm, *self._tips = [model.site(name).id for name in (robot.palm, *robot.fingertips)]
        self._palm_body = model.site_bodyid[self._palm]
        self._palm_in_body = model.site_quat[self._palm]
        self._qpos = self._batch.bind("qpos")
        self._site_pos, self._body_quat = self._batch.bind("site_xpos"), self._batch.bind("xquat")

    def __call__(self, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Palm poses (k, 7) and fingertip positions (k, 4, 3), base frame, of joint positions (k, a); k <= size."""
        k = len(joints)
        self._qpos[:k] = joints
        self._batch.forward(np.arange(k), stage=mujoco.mjtStage.mjSTAGE_POS)
        sites = self._site_pos[:k]
        quat = rotations.multiply(self._body_quat[:k, self._palm_body], self._palm_in_body[None])
        return np.concatenate([sites[:, self._palm], rotations.canonical(quat)], axis=1), sites[:, self._tips]


def estimate_pose(
    pose: np.ndarray, yaw: np.ndarray, shift: np.ndarray, noise: np.ndarray, orientation_seen: bool = True
) -> np.ndarray:
    """(n, 7) pose that a camera with errors reports for the true pose (n, 7), wxyz.

    The scene appears turned by `yaw` (n,) rad about the base's z and shifted by `shift` (n, 3) m; `noise` (n, 6) is
    this frame's jitter: metres, and a rotation vector in the base frame before the turn. Where the
    orientation cannot be seen (a ball's), it is reported as (1, 0, 0, 0).
    """
    cos, sin = np.cos(yaw), np.sin(yaw)
    x, y, z = pose[:, :3].T
    position = np.stack([cos * x - sin * y, sin * x + cos * y, z], axis=1) + shift + noise[:, :3]
    if not orientation_seen:
        return np.concatenate([position, np.tile([1.0, 0.0, 0.0, 0.0], (len(pose), 1))], axis=1)
    jittered = rotations.multiply(rotations.from_rotation_vector(noise[:, 3:]), pose[:, 3:])
    return np.concatenate(
        [position, rotations.canonical(rotations.multiply(rotations.about_z(yaw), jittered))], axis=1
    )


@dataclass(frozen=True)
class Truth:
    """The state that a privileged critic sees; n environments, base frame, SI units."""

    joints: np.ndarray
    """(n, a) true joint positions."""
    joint_velocity: np.ndarray
    """(n, a)"""
    command: np.ndarray
    """(n, a) last command."""
    object_pose: np.ndarray
    """(n, 7)"""
    object_velocity: np.ndarray
    """(n, 6) linear, then angular (the object's own frame)."""
    object_start: np.ndarray
    """(n, 3) where the object lay."""
    palm_pose: np.ndarray
    """(n, 7)"""
    fingertips: np.ndarray
    """(n, 4, 3)"""
    forces: np.ndarray
    """(n, b) filtered contact force on every link of the hand, newtons."""
    progress: np.ndarray
    """(n, p) milestones reached, share of the hold time, share of the time limit."""
    parameters: np.ndarray
    """(n, q) standard scores of the domain's parameters."""

    def features(self) -> np.ndarray:
        """(n, d) float32, all of it at about unit size."""
        n = len(self.joints)
        centre = self.object_pose[:, :3]
        points = np.concatenate([self.fingertips, self.palm_pose[:, None, :3]], axis=1) - centre[:, None]
        frames = rotations.matrix(np.concatenate([self.object_pose[:, 3:], self.palm_pose[:, 3:]]))
        parts = [
            self.joints,
            0.3 * self.joint_velocity,
            self.command - self.joints,
            3 * centre,
            5 * (centre[:, 2:] - self.object_start[:, 2:]),
            frames[:n].reshape(n, 9),
            2 * self.object_velocity[:, :3],
            0.2 * self.object_velocity[:, 3:],
            8 * points.reshape(n, -1),
            frames[n:].reshape(n, 9),
            np.tanh(self.forces / 10),
            self.progress,
            self.parameters,
        ]
        features = np.concatenate(parts, axis=1, dtype=np.float32)
        return np.clip(features, -10, 10, out=features)
