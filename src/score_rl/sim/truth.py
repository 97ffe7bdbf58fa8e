"""The truth that a privileged critic sees, of one instant; computed for the rows that are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from score_rl.sim import rotations_numpy as rotations
from score_rl.sim.state import BodyState, Configuration, Posture
from score_rl.sim.task import Task


@dataclass(frozen=True)
class Instant:
    """All that the critic's frame of n environments is made of, as it was at one instant."""

    scene: Configuration
    start: Configuration
    """Where everything was when the episodes began."""
    robot: tuple[slice, slice]
    """The robot's joints in `qpos` and `qvel`."""
    command: np.ndarray
    forces: np.ndarray
    contacts: np.ndarray
    progress: np.ndarray
    parameters: np.ndarray
    """See `Truth`."""

    def joints(self, rows: np.ndarray) -> np.ndarray:
        """(k, a) true joint positions."""
        return self.scene.qpos[rows, self.robot[0]]

    def truth(self, rows: np.ndarray, task: Task, posture: Posture) -> Truth:
        """Of k environments `rows` (k,), whose true posture is given."""
        scene, names = self.scene, [item.name for item in task.objects]
        joints = [scene.joints[name] for name in scene.joints if name not in task.robot.joint_names]
        moving = [joint.position for joint in joints] + [joint.velocity for joint in joints]
        return Truth(
            joints=posture.joints,
            joint_velocity=scene.qvel[rows, self.robot[1]],
            command=self.command[rows],
            objects=[scene.bodies[name].at(rows) for name in names],
            starts=[self.start.bodies[name].position[rows] for name in names],
            palm_pose=posture.palm,
            fingertips=posture.fingertips,
            forces=self.forces[rows],
            progress=self.progress[rows],
            parameters=self.parameters[rows],
            scene_joints=np.stack(moving, axis=1)[rows] if moving else np.zeros((len(rows), 0)),
            contacts=self.contacts[rows],
        )


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
