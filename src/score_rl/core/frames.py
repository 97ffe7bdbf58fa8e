"""Frames that are computed when they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from score_rl.contracts import Frame


class LazyFrame(Mapping[str, Tensor]):
    """One group of an observation that is computed when it is read: a critic's, which only decisions need.

    compute: index (k,) of some rows -> {key: (k, ...)} of the instant that was observed, whatever happened since.
    """

    def __init__(self, keys: tuple[str, ...], num_envs: int, compute: Callable[[Tensor], dict[str, Tensor]]) -> None:
        self._keys, self._n, self._compute = keys, num_envs, compute
        self._values: dict[str, Tensor] | None = None

    def __getitem__(self, key: str) -> Tensor:
        if key not in self._keys:
            raise KeyError(key)
        if self._values is None:
            self._values = self._compute(torch.arange(self._n))
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def only(self, rows: Tensor) -> dict[str, Tensor]:
        """{key: (n, ...)} that is right in `rows` (n,) bool and 0 elsewhere."""
        index = rows.nonzero().flatten()
        found = self._compute(index) if self._values is None else {k: v[index] for k, v in self._values.items()}
        return {
            key: value.new_zeros(self._n, *value.shape[1:]).index_copy(0, index, value)
            for key, value in found.items()
        }

    def to(self, device: str) -> LazyFrame:
        """The same frame on a torch device, computed where and when it would be."""

        def compute(index: Tensor) -> dict[str, Tensor]:
            return {key: value.to(device) for key, value in self._compute(index.cpu()).items()}

        return LazyFrame(self._keys, self._n, compute)


def only(frame: Frame, rows: Tensor) -> dict[str, Tensor]:
    """A frame of which only `rows` (n,) bool will be read; the others' values mean nothing."""
    return frame.only(rows) if isinstance(frame, LazyFrame) else dict(frame)


def to_device(frame: Frame, device: str) -> Frame:
    """A frame on a torch device."""
    if isinstance(frame, LazyFrame):
        return frame.to(device)
    return {key: value.to(device) for key, value in frame.items()}
