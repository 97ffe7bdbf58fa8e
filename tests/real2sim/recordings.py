"""Recordings of smooth random motions in free space, as a stand-in for demonstrations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from score_rl.contracts import ArraySpec
from score_rl.core.seeding import rng
from score_rl.data.dataset import Dataset
from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.domain import Domain
from score_rl.sim.world import make_world


def random_commands(episodes: int, steps: int, seed: int, still: Sequence[int] = ()) -> np.ndarray:
    """(episodes, steps, 23) targets: from home to random postures and on, with random speeds and pauses.

    The joints `still` stay at home.
    """
    generator = rng("free motion", seed)
    home = np.array(FRANKA_LEAP.home)
    reach = np.concatenate([np.full(7, 0.15), np.full(16, 0.5)])
    reach[list(still)] = 0
    commands = np.empty((episodes, steps, 23))
    for row in range(episodes):
        posture, path = home, []
        while len(path) < steps:
            goal = home + generator.uniform(-1, 1, 23) * reach
            goal[1], goal[3] = min(goal[1], home[1]), min(goal[3], home[3])  # up and away from the table
            duration = int(generator.integers(6, 16))
            blend = (np.arange(1, duration + 1) / duration)[:, None]
            smooth = blend**3 * (10 - 15 * blend + 6 * blend**2)
            path += list(posture + smooth * (goal - posture))
            path += [goal] * int(generator.integers(0, 4))
            posture = goal
        commands[row] = path[:steps]
    return np.clip(commands, FRANKA_LEAP.target_lower, FRANKA_LEAP.target_upper)


def record(
    domain: Domain, robot_seed: int, episodes: int = 30, steps: int = 25, seed: int = 0, still: Sequence[int] = ()
) -> Dataset:
    """Send random commands to the robot of a domain and keep what it observes."""
    world = make_world("pinch_cube", domain, episodes, robot_seed, threads=1)
    commands = random_commands(episodes, steps, seed, still)
    frame = world.reset(list(range(seed * 1000, seed * 1000 + episodes))).actor
    frames, actions = [], []
    for k in range(steps):
        frames.append({key: value.numpy().copy() for key, value in frame.items()})
        actions.append(commands[:, k])
        frame = world.step(torch.from_numpy(commands[:, k].astype(np.float32))).final_observation.actor
    columns = {f"observation.{key}": flatten([f[key] for f in frames]) for key in frames[0]}
    columns["action"] = flatten(actions)
    starts = np.arange(episodes) * steps
    return Dataset(
        root=Path("recording"),
        fps=10.0,
        robot_type="franka_leap",
        columns=columns,
        features={name: ArraySpec(column.shape[1:]) for name, column in columns.items()},
        starts=starts,
        ends=starts + steps,
        tasks=("pinch_cube",) * episodes,
        extra={},
    )


def flatten(per_step: list[np.ndarray]) -> np.ndarray:
    """Steps of (episodes, d) -> (episodes * steps, d), one episode after the other."""
    stacked = np.stack(per_step, axis=1)
    return stacked.reshape(-1, stacked.shape[-1])
