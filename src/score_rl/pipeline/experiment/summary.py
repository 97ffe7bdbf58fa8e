"""Means over tasks and robots, with intervals that know that episodes of one robot belong together.

The interval is a hierarchical percentile bootstrap (A. C. Davison, D. V. Hinkley (1997), section 3.8): robots are
drawn anew within every task, training seeds within a robot, and episodes within a training. Tasks are fixed: the
mean is that of these tasks. Episodes are drawn from counts, which is the same as drawing them one by one.
With few robots such intervals are somewhat too narrow; every robot's figures are in the result file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from score_rl.core.seeding import rng
from score_rl.core.statistics import mcnemar_exact

DRAWS = 4000
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Mean:
    """A mean over tasks and its 95 % interval."""

    value: float
    low: float
    high: float
    cells: int
    """Tasks x robots x training seeds that it is made of."""


@dataclass(frozen=True)
class Difference(Mean):
    """A mean difference of two policies on the same episodes."""

    wins: int
    """Episodes that only the first policy wins."""
    losses: int
    """Episodes that only the second wins."""
    p_value: float
    """Two-sided exact McNemar p over all episodes together."""
    cells_above: int
    """Cells in which the first policy wins more episodes than the second."""


def pooled(records: Sequence[Record]) -> tuple[int, int]:
    """Successes and episodes of all records together."""
    return sum(r["successes_end"] for r in records), sum(r["n"] for r in records)


def mean_rate(records: Sequence[Record], count: str = "successes_end") -> Mean:
    """Mean of count / n over training seeds, robots and tasks. Raises ValueError without records."""
    return _bootstrap(records, lambda r: (r[count] / r["n"], 0.0))


def mean_difference(records: Sequence[Record], reference: str, flipped: bool = False) -> Difference | None:
    """Mean paired difference to `vs_REFERENCE_*`; None where a record has no such fields.

    flipped: the reference minus the records' policy.
    """
    keys = [f"vs_{reference}_wins", f"vs_{reference}_losses"]
    if not records or any(keys[0] not in record for record in records):
        return None
    won, lost = reversed(keys) if flipped else keys
    mean = _bootstrap(records, lambda r: (r[won] / r["n"], r[lost] / r["n"]))
    wins, losses = (sum(record[key] for record in records) for key in (won, lost))
    above = sum(record[won] > record[lost] for record in records)
    return Difference(**vars(mean), wins=wins, losses=losses, p_value=mcnemar_exact(wins, losses), cells_above=above)


def mean_field(records: Sequence[Record], field: str) -> float | None:
    """Mean over robots and tasks of a field; None where a record lacks it."""
    values: dict[str, list[float]] = {}
    for record in records:
        if record.get(field) is None:
            return None
        values.setdefault(record["task"], []).append(float(record[field]))
    return float(np.mean([np.mean(of_task) for of_task in values.values()])) if values else None


def _bootstrap(records: Sequence[Record], shares: Any) -> Mean:
    """Mean over tasks of (share of wins - share of losses), `shares(record)` giving both."""
    if not records:
        raise ValueError("a mean needs records")
    generator = rng("hierarchical bootstrap")
    tasks = list(dict.fromkeys(record["task"] for record in records))
    values, draws = [], np.zeros(DRAWS)
    for task in tasks:
        robots: dict[Any, list[tuple[float, float, int]]] = {}
        for record in (record for record in records if record["task"] == task):
            robots.setdefault(record["robot_seed"], []).append((*shares(record), record["n"]))
        values.append(np.mean([np.mean([win - loss for win, loss, _ in cells]) for cells in robots.values()]))
        draws += _draws_of_task(list(robots.values()), generator) / len(tasks)
    low, high = np.quantile(draws, (0.025, 0.975))
    return Mean(float(np.mean(values)), float(low), float(high), len(records))


def _draws_of_task(robots: list[list[tuple[float, float, int]]], generator: np.random.Generator) -> np.ndarray:
    """(DRAWS,) means of one task over robots, seeds and episodes drawn with replacement."""
    seeds = max(len(cells) for cells in robots)
    # Robots with fewer seeds repeat them, so that the table is rectangular: each robot weighs the same.
    table = np.array([[cells[k % len(cells)] for k in range(seeds)] for cells in robots])  # (robots, seeds, 3)
    robot = generator.integers(len(robots), size=(DRAWS, len(robots), 1))
    seed = generator.integers(seeds, size=(DRAWS, len(robots), seeds))
    win, loss, n = np.moveaxis(table[robot, seed], -1, 0)
    wins = generator.binomial(n.astype(int), win)
    rest = np.divide(loss, 1 - win, out=np.zeros_like(loss), where=win < 1)
    losses = generator.binomial(n.astype(int) - wins, np.clip(rest, 0, 1))
    return ((wins - losses) / n).mean((1, 2))
