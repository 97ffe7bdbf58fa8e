"""Several datasets of one robot as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from score_rl.core.errors import ScoreError
from score_rl.data.dataset import Dataset


def merge(datasets: Sequence[Dataset]) -> Dataset:
    """The episodes of all datasets, in their order, with the features that all of them have.

    A feature that is derived in one counts as derived. Raises ScoreError for rates, shapes, types or names that
    differ, and for no dataset at all.
    """
    if not datasets:
        raise ScoreError("no dataset is given")
    first, *others = datasets
    if not others:
        return first
    shared = [name for name in first.features if all(name in one.features for one in others)]
    for other in others:
        if other.fps != first.fps:
            raise ScoreError(f"{first.root} was recorded at {first.fps:g} Hz, {other.root} at {other.fps:g} Hz")
        for name in shared:
            one, two = (d.features[name] for d in (first, other))
            if (one.shape, one.dtype, one.unit, one.names) != (two.shape, two.dtype, two.unit, two.names):
                raise ScoreError(f"'{name}' is {one} {list(one.names)} in {first.root}, {two} {list(two.names)} in "
                                 f"{other.root}")  # fmt: skip
    offsets = np.cumsum([0, *(one.num_frames for one in datasets[:-1])])
    extra = [name for name in first.extra if all(name in one.extra for one in others)]
    robots = sorted({one.robot_type for one in datasets})
    dropped = sorted({name for one in datasets for name in one.features} - set(shared))
    notes = [note for one in datasets for note in one.notes]
    notes += [f"the datasets are of several robots: {', '.join(robots)}"] * (len(robots) > 1)
    notes += [f"not every dataset has {', '.join(dropped)}: left out"] * bool(dropped)
    return replace(
        first,
        root=Path(" + ".join(str(one.root) for one in datasets)),
        columns={name: np.concatenate([one.columns[name] for one in datasets]) for name in shared},
        features={name: first.features[name] for name in shared},
        starts=np.concatenate([one.starts + offset for one, offset in zip(datasets, offsets)]),
        ends=np.concatenate([one.ends + offset for one, offset in zip(datasets, offsets)]),
        tasks=tuple(task for one in datasets for task in one.tasks),
        extra={name: _joined([one.extra[name] for one in datasets]) for name in extra},
        skipped=tuple(sorted({name for one in datasets for name in one.skipped})),
        derived=tuple(sorted({name for one in datasets for name in one.derived} & set(shared))),
        notes=tuple(dict.fromkeys(notes)),
    )


def _joined(values: Sequence[np.ndarray]) -> np.ndarray:
    """Values per episode, one behind the other; of different shapes as objects."""
    if len({(one.ndim, one.shape[1:]) for one in values}) == 1:
        return np.concatenate(values)
    joined = np.empty(sum(len(one) for one in values), dtype=object)
    joined[:] = [value for one in values for value in one.tolist()]
    return joined
