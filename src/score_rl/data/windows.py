"""Training windows: the frames that a decision reads and the action chunk that was executed from there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from score_rl.contracts import ArraySpec, PolicySpec
from score_rl.core.arrays import torch_dtype
from score_rl.core.errors import ScoreError
from score_rl.core.seeding import derive_seed
from score_rl.data.dataset import ACTION, OBSERVATION, Dataset


@dataclass(frozen=True)
class WindowBatch:
    """Windows at n frames of a dataset."""

    observation: Mapping[str, Tensor]
    """Key -> (n, frames, *shape) as `PolicySpec.window` says, oldest first; the last frame is the current one."""
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
        policy: PolicySpec,
        episodes: Sequence[int] | NDArray[np.int64] | None = None,
        device: str | torch.device = "cpu",
        skip: int = 0,
    ) -> None:
        """What a policy of this spec reads (key K is the feature `observation.K`); episodes: all where None.

        skip: frames at the start of every episode that are left out, as if it began behind them. Raises ScoreError
        for keys that the dataset lacks, and where no frame is left.
        """
        history, horizon = policy.history, policy.horizon
        if history < 1 or horizon < 1:
            raise ScoreError(f"history and horizon must be at least 1, got {history} and {horizon}")
        self._arrays = policy.window
        self._columns = {key: _column(dataset, key, array, device) for key, array in self._arrays.items()}
        self._action = _action(dataset, device)
        chosen = np.arange(dataset.num_episodes) if episodes is None else np.asarray(episodes, dtype=np.int64)
        if chosen.size == 0:
            raise ScoreError(f"{dataset.root}: no episodes to take windows from")
        chosen = chosen[dataset.lengths[chosen] > skip]
        if chosen.size == 0:
            raise ScoreError(f"{dataset.root}: every episode has at most {skip} frames, none of which can be used")
        starts, lengths = dataset.starts[chosen] + skip, dataset.lengths[chosen] - skip
        first = torch.from_numpy(np.repeat(starts, lengths))
        last = torch.from_numpy(np.repeat(dataset.ends[chosen] - 1, lengths))
        current = torch.cat([torch.arange(dataset.starts[e] + skip, dataset.ends[e]) for e in chosen])
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
        future = self._future[indices]
        return WindowBatch(
            observation={key: self._frames(key, indices) for key in self._columns},
            action=self._action[future],
            is_pad=self._is_pad[indices],
        )

    def all(self) -> WindowBatch:
        """Every window, e.g. to fit a normalisation; those of a key are gathered when it is asked for."""
        everything = torch.arange(len(self), device=self._past.device)
        return WindowBatch(_Gathered(self, everything), self._action[self._future], self._is_pad)

    def _frames(self, key: str, indices: Tensor) -> Tensor:
        """(n, frames, *shape) of a key; a view has its last frame alone."""
        past = self._past[indices][:, -self._arrays[key].shape[0] :]
        return self._columns[key][past].to(torch_dtype(self._arrays[key]))


class _Gathered(Mapping[str, Tensor]):
    """The keys of chosen windows, each made when it is asked for: all clouds of a dataset may be too many."""

    def __init__(self, windows: Windows, indices: Tensor) -> None:
        self._windows, self._indices = windows, indices

    def __getitem__(self, key: str) -> Tensor:
        if key not in self._windows._columns:
            raise KeyError(key)
        return self._windows._frames(key, self._indices)

    def __iter__(self) -> Iterator[str]:
        return iter(self._windows._columns)

    def __len__(self) -> int:
        return len(self._windows._columns)


def split_episodes(n: int, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Episodes (for training, held out), each ascending; `fraction` of the n episodes is held out.

    The split depends on the arguments alone, and neither side is empty unless the fraction is 0 or n is 1.
    """
    if not 0 <= fraction < 1 or n < 1:
        raise ScoreError(f"need at least one episode and 0 <= fraction < 1, got {n} and {fraction}")
    held_out = min(max(round(n * fraction), 1), n - 1) if fraction > 0 else 0
    order = sorted(range(n), key=lambda episode: derive_seed("split", seed, episode))
    return np.array(sorted(order[held_out:]), np.int64), np.array(sorted(order[:held_out]), np.int64)


def best_episodes(dataset: Dataset, share: float) -> list[int]:
    """Numbers of the shortest of the successful episodes, at least one; all count where no outcome was recorded.

    Raises ScoreError where none succeeded.
    """
    succeeded = np.asarray(dataset.extra.get("success", np.ones(dataset.num_episodes, bool)), bool)
    chosen = succeeded.nonzero()[0]
    if not chosen.size:
        raise ScoreError(f"{dataset.root} holds no successful demonstration to learn from")
    ordered = chosen[np.argsort(dataset.lengths[chosen], kind="stable")]
    return sorted(ordered[: max(1, round(share * len(ordered)))].tolist())


def _column(dataset: Dataset, key: str, array: ArraySpec, device: str | torch.device) -> Tensor:
    """(frames, *shape), still in the type it was stored in where that takes less memory."""
    name = OBSERVATION + key
    dataset.require({name: array.shape[1:]})
    column = torch.from_numpy(np.ascontiguousarray(dataset.columns[name]))
    small = column.dtype in (torch.float16, torch.uint8)
    return column.to(device) if small else column.to(device, torch_dtype(array))


def _action(dataset: Dataset, device: str | torch.device) -> Tensor:
    if ACTION not in dataset.columns:
        raise ScoreError(f"{dataset.root} has no feature '{ACTION}'; it has {', '.join(sorted(dataset.columns))}")
    return torch.from_numpy(np.ascontiguousarray(dataset.columns[ACTION])).to(device, torch.float32)
