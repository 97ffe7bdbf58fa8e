"""Everything random about one episode, drawn at its start from its seed alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from score_rl.foundation.seeding import rng
from score_rl.tasks import Task
from score_rl.worlds.domain import Domain


@dataclass(frozen=True)
class EpisodePlan:
    """One episode's draws. Sensor noise is drawn ahead for every frame, so that the actions sent and the other
    environments cannot shift it."""

    seed: int
    parameters: Mapping[str, np.ndarray]
    """Domain parameters, {name: (size,)}."""
    object_pose: np.ndarray
    """(7,) true start pose, robot base frame, wxyz."""
    joint_bias: np.ndarray
    """(23,) true minus measured joint position, rad."""
    joint_backlash: np.ndarray
    """(23,) play, rad."""
    joint_noise: np.ndarray
    """(horizon + 1, 23) added to measured joints, rad."""
    pose_noise: np.ndarray
    """(horizon + 1, 6) added to the object's pose estimate: metres, rotation vector."""


def plan_episode(
    seed: int, task: Task, domain: Domain, robot_draw: Mapping[str, np.ndarray], num_joints: int
) -> EpisodePlan:
    """Draw one episode of a task on a robot of a domain."""
    generator = rng("episode", seed)
    parameters = domain.draw_episode(robot_draw, generator)
    object_pose = task.spawn(generator, parameters)
    object_pose[2] += parameters["table_height_m"][0]
    frames = task.horizon + 1
    pose_noise = generator.standard_normal((frames, 6))
    pose_noise[:, :3] *= parameters["object_position_jitter_m"][0]
    pose_noise[:, 3:] *= parameters["object_rotation_jitter_rad"][0]
    arm_backlash = parameters["arm_backlash_rad"]
    hand_backlash = parameters["hand_backlash_rad"]
    return EpisodePlan(
        seed=seed,
        parameters=parameters,
        object_pose=object_pose,
        joint_bias=np.concatenate([parameters["arm_joint_bias_rad"], parameters["hand_joint_bias_rad"]]),
        joint_backlash=np.concatenate([arm_backlash, hand_backlash]),
        joint_noise=generator.standard_normal((frames, num_joints)) * parameters["joint_jitter_rad"][0],
        pose_noise=pose_noise,
    )
