"""Environments whose physics diverged, written down so that they can be replayed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from score_rl.foundation.files import read_json, write_json
from score_rl.worlds.domain import Domain


def write_nan_dump(
    directory: Path, task: str, domain: Domain, robot_seed: int, episode_seed: int, actions: np.ndarray
) -> Path:
    """Write one diverged episode: its seed and the (t, a) actions sent; returns the file."""
    path = Path(directory) / f"nan_{task}_{robot_seed}_{episode_seed}.json"
    write_json(
        path,
        {
            "task": task,
            "domain": domain.describe(),
            "robot_seed": robot_seed,
            "episode_seed": episode_seed,
            "actions": actions.tolist(),
        },
    )
    return path


def read_nan_dump(path: Path) -> dict:
    """A dump as plain data: task, domain (as `parse_domain` reads it), robot_seed, episode_seed, actions (t, a)."""
    return read_json(path)
