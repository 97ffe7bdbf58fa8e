"""What a robot can measure: joints and forward kinematics, and poses of objects from a camera with errors."""

from __future__ import annotations

import mujoco
import numpy as np
from mujoco.batch import Batch

from score_rl.sim import rotations_numpy as rotations
from score_rl.sim.episode import EpisodePlans
from score_rl.sim.robot import Robot
from score_rl.sim.scene import kinematic_model
from score_rl.sim.state import Configuration, Posture
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


def encoder_error(joints: np.ndarray, amplitude: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """(k, a) rad by which encoders whose magnets sit off their axes read too much at true positions (k, a) rad.

    One cycle a turn: an axis that is off by a share e of the radius at which the field is read errs by e sin(angle).
    """
    return amplitude * np.sin(joints + phase)


class Sensors:
    """What the robots of n environments measure, with the errors and the noise of their episodes."""

    def __init__(self, task: Task, num_envs: int, threads: int) -> None:
        n, joints, frames = num_envs, len(task.robot.joint_names), task.horizon + 1
        self._task = task
        self._kinematics = Kinematics(task.robot, n, threads)
        self._bias = np.zeros((n, joints))
        self._encoder, self._encoder_phase = np.zeros((n, joints)), np.zeros((n, joints))
        self._camera_yaw, self._camera_shift = np.zeros(n), np.zeros((n, 3))
        self._joint_noise = np.zeros((n, frames, joints))
        self._pose_noise = {key: np.zeros((n, frames, 6)) for key in task.observed}

    def begin(self, rows: np.ndarray, plans: EpisodePlans) -> None:
        """Episodes start in k environments `rows` (k,)."""
        value = plans.parameters
        self._bias[rows] = self._task.robot.per_joint(value, "joint_bias_rad", 0.0)
        self._encoder[rows] = self._task.robot.per_joint(value, "encoder_error_rad", 0.0)
        self._encoder_phase[rows] = self._task.robot.per_joint(value, "encoder_phase_rad", 0.0)
        self._camera_yaw[rows] = value["camera.yaw_bias_rad"][:, 0]
        self._camera_shift[rows] = value["camera.position_bias_m"]
        self._joint_noise[rows] = plans.joint_noise
        for key, noise in self._pose_noise.items():
            noise[rows] = plans.pose_noise[key]

    def measured(self, rows: Rows, time: np.ndarray, joints: np.ndarray) -> Posture:
        """What the robot takes its posture for, of true joints (k, a) at frames `time` (k,) of k environments."""
        each = np.arange(len(self._bias))[rows]
        read = joints - self._bias[rows] + self._joint_noise[each, time]
        if self._encoder.any():
            read += encoder_error(joints, self._encoder[rows], self._encoder_phase[rows])
        return self.posture(read)

    def posture(self, joints: np.ndarray) -> Posture:
        """Of joints (k, a), at most as many as environments."""
        palm, tips = self._kinematics(joints)
        return Posture(joints, palm, tips)

    def poses(self, rows: Rows, time: np.ndarray, scene: Configuration) -> dict[str, np.ndarray]:
        """{observation key: (k, 7)} of the objects that the camera reports."""
        each, seen = np.arange(len(self._bias))[rows], {}
        for key, item in self._task.observed.items():
            body = scene.bodies[item.name]
            seen[key] = estimate_pose(
                np.concatenate([body.position[rows], body.quaternion[rows]], axis=1),
                self._camera_yaw[rows],
                self._camera_shift[rows],
                self._pose_noise[key][each, time],
                item.seen == "pose",
            )
        return seen
