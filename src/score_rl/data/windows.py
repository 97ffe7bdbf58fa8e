"""Training windows: the frames that a decision reads and the action chunk that was executed from there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from score_rl.core.errors import ScoreError
from score_rl.core.seeding import derive_seed
from score_rl.data.dataset import ACTION, OBSERVATION, Dataset


@dataclass(frozen=True)
class WindowBatch:
    """Windows at n frames of a dataset."""

    observation: dict[str, Tensor]
    """Actor key -> (n, history, d) float32, oldest first; the last frame is the current one."""
    action: Tensor
    """(n, horizon, a) float32: the actions of the current and the following frames."""
    is_pad: Tensor
    """(n, horizon) bool: this action lies behind the episode's end and repeats its last one."""


class Windows:
    """One window per frame of the chosen episodes.

    A history that reaches back before its episode repeats the episode's first frame, a chunk that reaches
    beyond it repeats its last action; no window ever mixes two episodes.
    """

    def __init__(
        self,
        dataset: Dataset,
        keys: Sequence[str],
        history: int,
        horizon: int,
        episodes: Sequence[int] | NDArray[np.int64] | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        """keys: actor keys K, read from the features `observation.K`; episodes: all where None.

        Raises ScoreError for keys that the dataset lacks.
        """
        if history < 1 or horizon < 1:
            raise ScoreError(f"history and horizon must be at least 1, got {history} and {horizon}")
        columns = {key: _column(dataset, OBSERVATION + key, device) for key in keys}
        self._columns = columns
        self._action = _column(dataset, ACTION, device)
        chosen = np.arange(dataset.num_episodes) if episodes is None else np.asarray(episodes, dtype=np.int64)
        if chosen.size == 0:
            raise ScoreError(f"{dataset.root}: no episodes to take windows from")
        lengths = dataset.lengths[chosen]
        first = torch.from_numpy(np.repeat(dataset.starts[chosen], lengths))
        last = torch.from_numpy(np.repeat(dataset.ends[chosen] - 1, lengths))
        current = torch.cat([torch.arange(dataset.starts[e], dataset.ends[e]) for e in chosen])
        past = current[:, None] + torch.arange(1 - history, 1)
        future = current[:, None] + torch.arange(horizon)
        self._past = torch.maximum(past, first[:, None]).to(device)
        self._future = torch.minimum(future, last[:, None]).to(device)
        self._is_pad = (future > last[:, None]).to(device)
        self.frames = current
        """(windows,) frame of the dataset that every window is taken at."""

    def __len__(self) -> int:
        """Number of windows."""
        return len(self._past)

    def batch(self, indices: Tensor) -> WindowBatch:
        """The windows with these indices (n,) int64."""
        past, future = self._past[indices], self._future[indices]
        return WindowBatch(
            observation={key: column[past] for key, column in self._columns.items()},
            action=self._action[future],
            is_pad=self._is_pad[indices],
        )

    def all(self) -> WindowBatch:
        """Every window, e.g. to fit a normalisation or to measure a held-out loss."""
        return self.batch(torch.arange(len(self), device=self._past.device))


def split_episodes(n: int, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Episodes (for training, held out), each ascending; `fraction` of the n episodes is held out.

    The split depends on the arguments alone, and neither side is empty unless the fraction is 0 or n is 1.
    """
    if not 0 <= fraction < 1 or n < 1:
        raise ScoreError(f"need at least one episode and 0 <= fraction < 1, got {n} and {fraction}")
    held_out = min(max(round(n * fraction), 1), n - 1) if fraction > 0 else 0
    order = sorted(range(n), key=lambda episode: derive_seed("split", seed, episode))
    return np.array(sorted(order[held_out:]), np.int64), np.array(sorted(order[:held_out]), np.int64)


def _column(dataset: Dataset, name: str, device: str | torch.device) -> Tensor:
    if name not in dataset.columns:
        raise ScoreError(f"{dataset.root} has no feature '{name}'; it has {', '.join(sorted(dataset.columns))}")
    return torch.from_numpy(np.ascontiguousarray(dataset.columns[name])).to(device, torch.float32)
