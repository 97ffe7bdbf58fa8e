"""Episodes whose physics diverged, written down so that `score_rl.sim.nan_replay` can run them again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from score_rl.core.errors import ScoreError
from score_rl.core.files import write_json
from score_rl.core.records import read_json
from score_rl.sim.domain import Domain

_KEYS = {"task", "domain", "robot_seed", "seed", "episode", "actions"}


def write_nan_dump(
    directory: Path, task: str, domain: Domain, robot_seed: int, seed: int, episode: int, actions: np.ndarray
) -> Path:
    """Write one diverged episode and return the file.

    `episode` counts from 0 since the world's reset with `seed`; `actions` (t, a) are those sent, the last of them
    into the divergence.
    """
    path = Path(directory) / f"nan_{task}_{domain.name}_robot{robot_seed}_seed{seed}_episode{episode}.json"
    dump = {
        "task": task,
        "domain": domain.describe(),
        "robot_seed": robot_seed,
        "seed": seed,
        "episode": episode,
        "actions": actions.tolist(),
    }
    write_json(path, dump)
    return path


def read_nan_dump(path: Path) -> dict[str, Any]:
    """A dump as plain data: task, domain (as `parse_domain` reads it), robot_seed, seed, episode, actions (t, a).

    Raises ScoreError for a file that is none.
    """
    dump = read_json(path)
    if not isinstance(dump, dict) or not dump.keys() >= _KEYS:
        raise ScoreError(f"{path} is no dump of a diverged episode: it needs {', '.join(sorted(_KEYS))}")
    return dump
