"""Settings to start from, read off demonstrations: which keys, how long a chunk, how many modes of it.

A proposal is a rule of thumb, not a result: it says what the recorded motion has, not what a task needs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from score_rl.contracts import COMMAND
from score_rl.core import dct
from score_rl.data.dataset import ACTION, OBSERVATION, Dataset
from score_rl.data.quality import entries

HORIZONS = (4, 8, 16, 32)
"""Chunk lengths to choose from [control steps]."""
RESEMBLANCE = 0.75
"""A chunk lasts until an action resembles the one that it began with by less than this (1: equal, 0: unrelated). Both
tuned recipes, of Pinch Cube at 10 Hz and of the Adroit door at 100 Hz, have the horizon that this gives."""
FEW_COORDINATES = 64
"""Coordinates of the latent up to which large steps of PPO are stable."""
LEARNING_RATES = (1e-3, 3e-4)
"""Of PPO for few coordinates, and for more: what the tuned recipes (6 to 46 of them) and the paper (368) have."""
ENERGY = 0.9
"""Modes hold this share of what the chunks of a dataset differ by."""


@dataclass(frozen=True)
class Proposal:
    """Where to start."""

    keys: tuple[str, ...]
    """Observed keys that are vectors of numbers, were recorded and ever change."""
    action: str
    """Coordinates of actions: from the command where it was recorded, otherwise temporal modes."""
    horizon: int
    """Control steps in a chunk."""
    modes: int
    """Slowest temporal modes of a chunk that hold `ENERGY` of what chunks differ by: what steering may choose."""
    learning_rate: float = LEARNING_RATES[0]
    """Of PPO, by how many coordinates of the latent these modes are."""

    def options(self) -> tuple[str, str]:
        """Options of `score pretrain` and of `score steer`."""
        r = "--training.policy.representation"
        pretrain = f"{r}.keys {' '.join(self.keys)} {r}.action {self.action} {r}.horizon {self.horizon}"
        kind = "leading" if self.action == "modes" else "subspace"
        latent = f"--learner.latent.kind {kind} --learner.latent.modes {self.modes}"
        return pretrain, f"{latent} --learner.ppo.learning-rate {self.learning_rate:g}"


def propose(dataset: Dataset) -> Proposal | None:
    """A proposal, or None without actions, or without a key to read."""
    if ACTION not in dataset.columns:
        return None
    keys = tuple(
        name.removeprefix(OBSERVATION)
        for name in dataset.features
        if name.startswith(OBSERVATION) and name not in dataset.derived
        if any(not one.constant for one in entries(dataset, name))
    )
    if not keys:
        return None
    horizon = _horizon(dataset)
    modes = _modes(dataset, horizon)
    rate = LEARNING_RATES[modes * dataset.features[ACTION].size > FEW_COORDINATES]
    return Proposal(keys, "relative" if COMMAND in keys else "modes", horizon, modes, rate)


def _horizon(dataset: Dataset) -> int:
    """The choice nearest to the steps after which an action is no longer what it was."""
    action = _scaled(dataset)
    apart = np.zeros(2 * HORIZONS[-1])
    pairs = np.zeros_like(apart)
    for start, end in zip(dataset.starts, dataset.ends):
        episode = action[start:end]
        for lag in range(1, min(len(apart), len(episode))):
            apart[lag] += np.square(episode[lag:] - episode[:-lag]).mean(1).sum()
            pairs[lag] += len(episode) - lag
    resemblance = 1.0 - 0.5 * apart / np.maximum(pairs, 1)
    below = np.flatnonzero((resemblance < RESEMBLANCE) & (pairs > 0))
    lasts = int(below[0]) if len(below) else HORIZONS[-1]
    fitting = [h for h in HORIZONS if h <= max(int(dataset.lengths.min()), HORIZONS[0])]
    return min(fitting, key=lambda h: abs(math.log(h / lasts)))


def _modes(dataset: Dataset, horizon: int) -> int:
    """Slowest modes that hold `ENERGY` of what whole chunks differ by, every action dimension counting alike."""
    action = _scaled(dataset)
    first = [np.arange(start, end - horizon + 1) for start, end in zip(dataset.starts, dataset.ends)]
    rows = np.concatenate(first)[:, None] + np.arange(horizon)
    if not len(rows):
        return 1
    power = dct.to_modes(torch.from_numpy(action[rows])).square().mean((0, 2)).numpy()
    return 1 + int(np.searchsorted(np.cumsum(power), ENERGY * power.sum()))


def _scaled(dataset: Dataset) -> NDArray[np.float64]:
    """Actions (frames, a) of zero mean and, where they move, unit deviation."""
    action = dataset.columns[ACTION].astype(np.float64)
    return (action - action.mean(0)) / np.maximum(action.std(0), 1e-9)
