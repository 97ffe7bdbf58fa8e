"""Everything random about an episode, drawn at its start from its seed alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from score_rl.core.errors import ScoreError
from score_rl.core.seeding import rng
from score_rl.sim.draws import Draws
from score_rl.sim.task import Task


@dataclass(frozen=True)
class EpisodePlans:
    """The draws of k episodes. Sensor noise is drawn ahead for every frame, so that the actions sent and the other
    environments cannot shift it."""

    parameters: Mapping[str, np.ndarray]
    """Domain parameters, {name: (k, size)}."""
    spawned: Mapping[str, np.ndarray]
    """Start of everything that can move and that the task's `spawn` tells: free bodies (k, 7), true poses in the
    robot base frame, wxyz; joints (k, 1)."""
    placed: Mapping[str, np.ndarray]
    """Where the task's `spawn` puts objects that are fixed in the world or jointed to it, (k, 3) in the base
    frame."""
    joint_noise: np.ndarray
    """(k, horizon + 1, joints) added to measured joints, rad."""
    pose_noise: Mapping[str, np.ndarray]
    """By observation key, (k, horizon + 1, 6) added to an object's pose estimate: metres, rotation vector."""
    late_s: np.ndarray
    """(k, horizon) by which every command comes later than the robot's delay."""


def plan_episodes(
    seeds: Sequence[int], task: Task, draws: Draws, robot_draw: Mapping[str, np.ndarray], num_joints: int
) -> EpisodePlans:
    """Draw one episode per seed, of a task on a robot of a domain.

    Poses, noise and parameters have streams of their own: one seed puts objects at the same place in every domain.
    """
    parameters = draws.episodes(robot_draw, seeds)
    noise = np.empty((len(seeds), task.horizon + 1, num_joints + 6))
    spawned = []
    for k, seed in enumerate(seeds):
        rng("noise", seed).standard_normal(out=noise[k])
        spawned.append(task.spawn(rng("spawn", seed), {name: value[k] for name, value in parameters.items()}))
    starts = {name: _stacked(task, name, spawned) for name in spawned[0]}
    for start in starts.values():
        if start.shape[1] > 1:
            start[:, 2] += parameters["table.height_m"][:, 0]
    jitter = ("camera.position_jitter_m", "camera.rotation_jitter_rad")
    pose_sd = np.repeat(np.concatenate([parameters[name] for name in jitter], axis=1), 3, axis=1)[:, None]
    first, *others = task.observed or [""]
    pose_noise = {first: noise[..., :6] * pose_sd}
    for key in others:
        drawn = [rng("noise", seed, key).standard_normal((task.horizon + 1, 6)) for seed in seeds]
        pose_noise[key] = np.stack(drawn) * pose_sd
    return EpisodePlans(
        parameters=parameters,
        spawned={name: start for name, start in starts.items() if start.shape[1] != 3},
        placed={name: start for name, start in starts.items() if start.shape[1] == 3},
        joint_noise=noise[..., 6:] * parameters["robot.joint_jitter_rad"][:, None],
        pose_noise=pose_noise,
        late_s=_lateness(seeds, task, parameters.get("robot.delay_jitter_s", np.zeros((len(seeds), 1)))),
    )


def _lateness(seeds: Sequence[int], task: Task, jitter_s: np.ndarray) -> np.ndarray:
    """(k, horizon) uniform up to jitter_s (k, 1), each command's own."""
    if not jitter_s.any():
        return np.zeros((len(seeds), task.horizon))
    return jitter_s * np.stack([rng("late", seed).random(task.horizon) for seed in seeds])


def _stacked(task: Task, name: str, spawned: Sequence[Mapping[str, np.ndarray | float]]) -> np.ndarray:
    """(k, 7), (k, 1) or (k, 3) of one thing."""
    values = np.array([np.atleast_1d(episode[name]) for episode in spawned], dtype=float)
    if values.shape[1:] not in ((1,), (3,), (7,)):
        raise ScoreError(
            f"task '{task.name}': spawn of '{name}' must be a pose (7,), a joint's position or a place (3,)"
        )
    return values
