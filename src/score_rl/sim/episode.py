"""Everything random about an episode, drawn at its start from its seed alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from score_rl.core.seeding import rng
from score_rl.sim.domain import Domain
from score_rl.sim.task import Task


@dataclass(frozen=True)
class EpisodePlans:
    """The draws of k episodes. Sensor noise is drawn ahead for every frame, so that the actions sent and the other
    environments cannot shift it."""

    parameters: Mapping[str, np.ndarray]
    """Domain parameters, {name: (k, size)}."""
    object_pose: np.ndarray
    """(k, 7) true start poses, robot base frame, wxyz."""
    joint_noise: np.ndarray
    """(k, horizon + 1, joints) added to measured joints, rad."""
    pose_noise: np.ndarray
    """(k, horizon + 1, 6) added to the object's pose estimate: metres, rotation vector."""


def plan_episodes(
    seeds: Sequence[int], task: Task, domain: Domain, robot_draw: Mapping[str, np.ndarray], num_joints: int
) -> EpisodePlans:
    """Draw one episode per seed, of a task on a robot of a domain.

    Poses, noise and parameters have streams of their own: one seed puts the object at the same place in every domain.
    """
    parameters = domain.draw_episodes(robot_draw, seeds)
    noise = np.empty((len(seeds), task.horizon + 1, num_joints + 6))
    poses = np.empty((len(seeds), 7))
    for k, seed in enumerate(seeds):
        rng("noise", seed).standard_normal(out=noise[k])
        poses[k] = task.spawn(rng("spawn", seed), {name: value[k] for name, value in parameters.items()})
    poses[:, 2] += parameters["table_height_m"][:, 0]
    jitter = ("object_position_jitter_m", "object_rotation_jitter_rad")
    pose_sd = np.repeat(np.concatenate([parameters[name] for name in jitter], axis=1), 3, axis=1)
    return EpisodePlans(
        parameters=parameters,
        object_pose=poses,
        joint_noise=noise[..., 6:] * parameters["joint_jitter_rad"][:, None],
        pose_noise=noise[..., :6] * pose_sd[:, None],
    )
