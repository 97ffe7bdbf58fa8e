"""What the numbers of demonstrations are like: what no robot measures is refused, what is suspicious is said.

Everything is per entry of a feature (of clouds, images and other arrays of several axes nothing is said) and pure:
dataset in, findings out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from score_rl.core.clouds import CLOUD_SEEN
from score_rl.core.errors import ScoreError
from score_rl.data.dataset import OBSERVATION, Dataset

SENTINEL = 1e9
"""A number this large stands for "no measurement": no quantity of a robot in SI units comes near."""
SPIKE = 20.0
"""A value this many spans away from the median is a spike, where the frames around it are not there too."""
SAME_ORDER = 10.0
"""A number is of the order of others up to so many times their size."""
SPIKE_FRAMES = 2
"""Consecutive frames that a spike has at most."""
BEGINNING = 3
"""Frames in which most episodes may begin with the same numbers: a posture that all start from."""
SPAN_QUANTILES = (0.05, 0.95)
"""Between them lies an entry's span: what one frame in twenty does has no say in it."""


@dataclass(frozen=True)
class Entry:
    """One entry of a feature over all frames."""

    feature: str
    index: int
    """Place along the feature's axis."""
    name: str
    """Its name, "" where nobody said."""
    low: float
    high: float
    mean: float
    std: float
    """Of the population."""
    span_low: float
    span_high: float
    """The quantiles `SPAN_QUANTILES`."""
    largest_step: float
    """Largest change from one frame of an episode to the next; 0 where no episode has two frames."""

    @property
    def constant(self) -> bool:
        """Whether it never changes."""
        return self.low == self.high


@dataclass(frozen=True)
class Place:
    """One number of a dataset."""

    feature: str
    index: int
    """Entry along the feature's axis, flat."""
    episode: int
    frame: int
    """Within the episode."""
    value: float

    def __str__(self) -> str:
        return (
            f"{self.value:.4g} in '{self.feature}' (entry {self.index}, episode {self.episode}, frame {self.frame})"
        )


def entries(dataset: Dataset, feature: str) -> list[Entry]:
    """What every entry of a feature (frames, d) does; nothing of other shapes and types."""
    values = _numbers(dataset, feature)
    if values is None:
        return []
    low_q, high_q = np.quantile(values, SPAN_QUANTILES, axis=0)
    steps = np.abs(np.diff(values, axis=0))
    steps[dataset.ends[:-1] - 1] = 0.0  # from one episode to the next
    largest = steps.max(axis=0) if len(steps) else np.zeros(values.shape[1])
    names = dataset.features[feature].names or ("",) * values.shape[1]
    # The mean of a constant is not the constant to the last bit, so its deviation comes from the range.
    std = np.where(values.min(0) == values.max(0), 0.0, values.std(0))
    rows = zip(names, values.min(0), values.max(0), values.mean(0), std, low_q, high_q, largest, strict=True)
    return [Entry(feature, i, name, *map(float, numbers)) for i, (name, *numbers) in enumerate(rows)]


def refuse_sentinels(dataset: Dataset, features: Iterable[str]) -> None:
    """Raise ScoreError for a number that no robot measures, e.g. 3.4e38 where a sensor had no reading."""
    for feature in features:
        column = dataset.columns[feature]
        if column.dtype.kind not in "fi" or not column.size:
            continue
        flat = column.reshape(len(column), -1)
        bad = np.flatnonzero(np.maximum(flat.max(axis=1), -flat.min(axis=1).astype(np.float64)) >= SENTINEL)
        if len(bad):
            row = flat[bad[0]].astype(np.float64)
            index = int(np.abs(row).argmax())
            place = locate(dataset, feature, int(bad[0]), index, float(row[index]))
            raise ScoreError(
                f"{dataset.root}: {place} is no measurement; {len(bad)} frames have numbers of {SENTINEL:g} and "
                "more. Record the episode again, or leave the feature out."
            )


def spikes(dataset: Dataset, feature: str) -> list[Place]:
    """Single frames far away from all others, the farthest of every entry and episode."""
    values = _numbers(dataset, feature)
    if values is None:
        return []
    found, far = [], _far(dataset, values)
    for frame, index in np.argwhere(far):
        first = max(frame - SPIKE_FRAMES, _start(dataset, frame))
        last = min(frame + SPIKE_FRAMES + 1, int(dataset.ends[_episode(dataset, frame)]))
        if far[first:last, index].sum() <= SPIKE_FRAMES:
            found.append(locate(dataset, feature, int(frame), int(index), float(values[frame, index])))
    return found


def placeholders(dataset: Dataset, feature: str) -> list[tuple[Place, int]]:
    """Numbers far away from all others that stand in several frames, every time the same: what a writer puts where
    there was no reading, e.g. -999. The first place of each, and in how many frames it stands."""
    values = _numbers(dataset, feature)
    if values is None:
        return []
    found, far = [], _far(dataset, values)
    for index in np.flatnonzero(far.any(axis=0)):
        column = values[:, index]
        for value, count in zip(*np.unique(column[far[:, index]], return_counts=True)):
            if count > SPIKE_FRAMES:
                first = int(np.flatnonzero(column == value)[0])
                found.append((locate(dataset, feature, first, int(index), float(value)), int(count)))
    return found


def _far(dataset: Dataset, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(frames, d) which numbers are `SPIKE` spans and more away from their entry's median, but where episodes begin:
    most with the same number, of the others' order."""
    low, median, high = np.nanquantile(_of_one_order(values), (SPAN_QUANTILES[0], 0.5, SPAN_QUANTILES[1]), axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        # An entry that stands still in nine of ten frames (a contact, a button) has no span to compare with.
        far = np.where(high > low, np.abs(values - median) / (high - low), 0.0) > SPIKE
    largest = SAME_ORDER * np.maximum(np.abs(low), np.abs(high))
    for offset in range(BEGINNING):
        rows = (dataset.starts + offset)[dataset.ends - dataset.starts > offset]
        usual = np.median(values[rows], axis=0)
        same = (values[rows] == usual) & (np.abs(usual) <= largest)
        far[rows] &= ~(same & (same.mean(axis=0) > 0.5))
    return far


def _of_one_order(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(frames, d) the numbers, NaN for the one size of an entry that is of another order than all smaller ones, and
    so on: -999 is no part of the span, in however many frames it stands. Nothing is of another order than 0."""
    usual = values.copy()
    for column in usual.T:
        sizes = np.abs(column)
        while True:
            largest = sizes.max(initial=0.0)
            smaller = sizes[sizes < largest]
            if largest <= SAME_ORDER * smaller.max(initial=0.0) or not smaller.any():
                break
            column[np.abs(column) == largest] = np.nan
            sizes = smaller
    return usual


def suspicions(dataset: Dataset, floors: dict[str, float], horizon: int) -> Iterator[str]:
    """What is legal but suspicious, one line each.

    floors: feature that is read -> the smallest scale that its normaliser knows, in the feature's unit.
    horizon: actions in one chunk.
    """
    yield from dataset.notes
    for feature, floor in floors.items():
        if feature == OBSERVATION + CLOUD_SEEN:
            yield from _never_seen(dataset, feature)
            continue
        if found := spikes(dataset, feature):
            yield f"a spike: {found[0]}" + (f", and {len(found) - 1} more" if len(found) > 1 else "")
        for place, count in placeholders(dataset, feature):
            yield f"no reading? {place}; the same number stands in {count} frames, far from all others"
        every = entries(dataset, feature)
        constant = [one for one in every if one.constant]
        if constant:
            yield f"'{feature}' never changes in {_listed(constant)}"
        still = [one for one in every if not one.constant and one.std < floor]
        if still:
            largest = max(one.std for one in still)
            yield (
                f"'{feature}' hardly moves in {_listed(still)}: standard deviation {largest:.2g} at most, below the "
                f"floor {floor:g} of its normaliser, so that little of it is seen"
            )
    short = int((dataset.lengths < horizon).sum())
    if short:
        longest = int(dataset.lengths.max())
        yield f"{short} of {dataset.num_episodes} episodes are shorter than a chunk of {horizon} actions" + (
            f"; the longest has {longest} frames, so that later actions are never trained" * (longest < horizon)
        )
    texts = sorted(set(dataset.tasks))
    if len(texts) > 1:
        yield f"{len(texts)} tasks ({', '.join(map(repr, texts[:3]))}, ...), which the policy cannot tell apart"


def _never_seen(dataset: Dataset, feature: str) -> Iterator[str]:
    """Segments of clouds that no frame shows; flags that come and go, or are always up, are as they should be."""
    column = dataset.columns[feature]
    if unseen := np.flatnonzero(~(column.reshape(len(column), -1) > 0).any(0)).tolist():
        listed = ", ".join(map(str, unseen))
        yield f"'{feature}': segment{'s' * (len(unseen) > 1)} {listed} out of sight in all frames"


def locate(dataset: Dataset, feature: str, row: int, index: int, value: float) -> Place:
    """The place of a number in a row of a column."""
    return Place(feature, index, _episode(dataset, row), row - _start(dataset, row), value)


def _episode(dataset: Dataset, row: int) -> int:
    return int(np.searchsorted(dataset.starts, row, side="right")) - 1


def _start(dataset: Dataset, row: int) -> int:
    return int(dataset.starts[_episode(dataset, row)])


def _numbers(dataset: Dataset, feature: str) -> NDArray[Any] | None:
    """Column (frames, d) as float64; None for other shapes and for truth values."""
    column = dataset.columns[feature]
    return column.astype(np.float64) if column.ndim == 2 and column.dtype.kind in "fiu" else None


def _listed(some: list[Entry]) -> str:
    """Entries by name, or by place where they have none."""
    labels = [one.name or str(one.index) for one in some]
    return f"entr{'ies' if len(labels) > 1 else 'y'} {', '.join(labels[:8])}" + ", ..." * (len(labels) > 8)
