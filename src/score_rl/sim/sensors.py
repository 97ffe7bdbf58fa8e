"""What a world shows: what a robot can measure (actor) and the truth (critic); plain functions of batched state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from mujoco.batch import Batch

from score_rl.sim import rotations_numpy as rotations
from score_rl.sim.episode import EpisodePlans
from score_rl.sim.robot import Robot
from score_rl.sim.scene import kinematic_model
from score_rl.sim.state import BodyState, SceneState
from score_rl.sim.task import Task

Rows = np.ndarray | slice
"""Some environments: their indices (k,), or all of them as `slice(None)`."""


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
class Posture:
    """Joints (k, a) and their forward kinematics: palm pose (k, 7) and fingertips (k, 4, 3)."""

    joints: np.ndarray
    palm: np.ndarray
    fingertips: np.ndarray


@dataclass(frozen=True)
class Postures:
    """Of the same instants, what the robot measures and what is true."""

    measured: Posture
    true: Posture


class Sensors:
    """What the robots of n environments measure, with the errors and the noise of their episodes."""

    def __init__(self, task: Task, num_envs: int, threads: int) -> None:
        n, joints, frames = num_envs, len(task.robot.joint_names), task.horizon + 1
        self._task = task
        # Twice as many postures as environments: the measured and the true joints of each.
        self._kinematics = Kinematics(task.robot, 2 * n, threads)
        self._bias = np.zeros((n, joints))
        self._camera_yaw, self._camera_shift = np.zeros(n), np.zeros((n, 3))
        self._joint_noise = np.zeros((n, frames, joints))
        self._pose_noise = {key: np.zeros((n, frames, 6)) for key in task.observed}

    def begin(self, rows: np.ndarray, plans: EpisodePlans) -> None:
        """Episodes start in k environments `rows` (k,)."""
        value = plans.parameters
        self._bias[rows] = self._task.robot.per_joint(value, "joint_bias_rad", 0.0)
        self._camera_yaw[rows] = value["camera.yaw_bias_rad"][:, 0]
        self._camera_shift[rows] = value["camera.position_bias_m"]
        self._joint_noise[rows] = plans.joint_noise
        for key, noise in self._pose_noise.items():
            noise[rows] = plans.pose_noise[key]

    def postures(self, rows: Rows, time: np.ndarray, joints: np.ndarray) -> Postures:
        """Of true joints (k, a) at frames `time` (k,) of the episodes of k environments."""
        each = np.arange(len(self._bias))[rows]
        measured = joints - self._bias[rows] + self._joint_noise[each, time]
        palm, tips = self._kinematics(np.concatenate([measured, joints]))
        k = len(joints)
        return Postures(Posture(measured, palm[:k], tips[:k]), Posture(joints, palm[k:], tips[k:]))

    def poses(self, rows: Rows, time: np.ndarray, state: SceneState) -> dict[str, np.ndarray]:
        """{observation key: (k, 7)} of the objects that the camera reports."""
        each, seen = np.arange(len(self._bias))[rows], {}
        for key, item in self._task.observed.items():
            body = state.body(item.name)
            seen[key] = estimate_pose(
                np.concatenate([body.position[rows], body.quaternion[rows]], axis=1),
                self._camera_yaw[rows],
                self._camera_shift[rows],
                self._pose_noise[key][each, time],
                item.seen == "pose",
            )
        return seen


@dataclass(frozen=True)
class Truth:
    """The state that a privileged critic sees; k environments, base frame, SI units."""

    joints: np.ndarray
    """(k, a) true joint positions."""
    joint_velocity: np.ndarray
    """(k, a)"""
    command: np.ndarray
    """(k, a) last command."""
    objects: Sequence[BodyState]
    """Every object of the task."""
    starts: Sequence[np.ndarray]
    """(k, 3) where each of them was when the episode began."""
    palm_pose: np.ndarray
    """(k, 7)"""
    fingertips: np.ndarray
    """(k, 4, 3)"""
    forces: np.ndarray
    """(k, b) filtered contact force on every link of the hand, newtons."""
    progress: np.ndarray
    """(k, p) milestones reached, share of the hold time, share of the time limit."""
    parameters: np.ndarray
    """(k, q) standard scores of the domain's parameters."""
    scene_joints: np.ndarray
    """(k, j) positions, then velocities of the scene's own hinges and slides."""
    contacts: np.ndarray
    """(k, c) forces of the task's contacts, newtons."""

    def features(self) -> np.ndarray:
        """(k, d) float32, all of it at about unit size."""
        k = len(self.joints)
        frames = rotations.matrix(np.concatenate([*(o.quaternion for o in self.objects), self.palm_pose[:, 3:]]))
        frames = frames.reshape(-1, k, 9)
        points = np.concatenate([self.fingertips, self.palm_pose[:, None, :3]], axis=1)
        parts = [self.joints, 0.3 * self.joint_velocity, self.command - self.joints]
        for item, start, frame in zip(self.objects, self.starts, frames):
            centre = item.position
            parts += [3 * centre, 5 * (centre[:, 2:] - start[:, 2:]), frame]
            parts += [2 * item.linear_velocity, 0.2 * item.angular_velocity]
            parts += [8 * (points - centre[:, None]).reshape(k, -1)]
        parts += [frames[-1], np.tanh(self.forces / 10), self.progress, self.parameters]
        parts += [self.scene_joints, np.tanh(self.contacts / 10)]
        features = np.concatenate(parts, axis=1, dtype=np.float32)
        return np.clip(features, -10, 10, out=features)
