"""Run a dumped episode again, alone, to see where its physics diverges."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from score_rl.sim.domain import parse_domain
from score_rl.sim.nan_dump import read_nan_dump
from score_rl.sim.world import make_world


@dataclass(frozen=True)
class NanReplay:
    """What a replay of a dump gave."""

    diverged: bool
    """The physics diverged in the last of the dumped steps, as it did in the recorded episode."""
    qpos: np.ndarray
    """(t, nq) configurations before every step, for pictures; the layout is the world's `model`."""


def replay_nan_dump(path: Path) -> NanReplay:
    """Replay the episode that a world wrote into its `nan_dump_dir`.

    Raises ScoreError for a file that is no dump.
    """
    dump = read_nan_dump(path)
    domain = parse_domain(dump["domain"], source=str(path))
    world = make_world(dump["task"], domain, num_envs=1, robot_seed=dump["robot_seed"], threads=1)
    world.reset([dump["seed"]], episodes=[dump["episode"]])
    path_of_states = []
    diverged = False
    for action in dump["actions"]:
        path_of_states.append(world.qpos()[0])
        diverged = bool(world.step(torch.tensor([action], dtype=torch.float64)).info["nan"])
        if diverged:
            break
    return NanReplay(diverged and len(path_of_states) == len(dump["actions"]), np.stack(path_of_states))
