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
    """Every domain parameter, {name: (size,)}."""
    object_pose: np.ndarray
    """(7,) true start pose, robot base frame, wxyz."""
    joint_noise: np.ndarray
    """(horizon + 1, joints) added to measured joints, rad."""
    pose_noise: np.ndarray
    """(horizon + 1, 6) added to the object's pose estimate: metres, rotation vector."""


def plan_episode(
    seed: int, task: Task, domain: Domain, robot_draw: Mapping[str, np.ndarray], num_joints: int
) -> EpisodePlan:
    """Draw one episode of a task on a robot of a domain.

    Poses, noise and every parameter have streams of their own: one seed puts the object at the same place in every
    domain, and a parameter added to a domain leaves the other draws alone.
    """
    parameters = domain.draw_episode(robot_draw, seed)
    object_pose = task.spawn(rng("spawn", seed), parameters)
    object_pose[2] += parameters["table_height_m"][0]
    noise = rng("noise", seed).standard_normal((task.horizon + 1, num_joints + 6))
    position_sd, rotation_sd = parameters["object_position_jitter_m"], parameters["object_rotation_jitter_rad"]
    return EpisodePlan(
        seed=seed,
        parameters=parameters,
        object_pose=object_pose,
        joint_noise=noise[:, 6:] * parameters["joint_jitter_rad"],
        pose_noise=noise[:, :6] * np.repeat([position_sd[0], rotation_sd[0]], 3),
    )
