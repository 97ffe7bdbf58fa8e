"""What a panel says: critical sizes, expected success, and a recommendation in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from score_rl.core.seeding import rng
from score_rl.core.statistics import wilson
from score_rl.evaluation.audit.panel import JOINT, NOMINAL, Mismatch
from score_rl.evaluation.audit.run import Outcome
from score_rl.evaluation.results import Episode

DRAWS = 2000
SAFE, DOUBTFUL, FEW_FAULTS, MUCH_OFF = 0.8, 0.5, 0.05, 0.03
"""Thresholds of the recommendation: expected success (twice), episodes that the protective stop ends, decisions off
support."""


@dataclass(frozen=True)
class Cell:
    """One variation, summed up."""

    size: float
    text: str
    """The size in physical words."""
    n: int
    success: float
    wilson95: tuple[float, float]
    faults: float | None
    """Share of episodes that the protective stop ended."""
    peak_force_p95_n: float | None
    off_support: float | None
    """Share of decisions off the base policy's support at the 99 % level, where it was measured."""


@dataclass(frozen=True)
class Curve:
    """One mismatch in one direction, over its sizes."""

    mismatch: str
    direction: str
    cells: tuple[Cell, ...]
    critical: float | None
    """Size at which success falls below half of the nominal twin's; None: beyond the largest size."""
    critical_95: tuple[float | None, float | None]
    """Its 95 % interval; None: beyond the largest size."""
    cause: Mismatch | None = None
    """What it is a curve of; None for all mismatches together."""

    @property
    def name(self) -> str:
        """Mismatch and direction."""
        return f"{self.mismatch} {self.direction}".strip()

    def physical(self, size: float | None) -> str:
        """A size in physical words."""
        if size is None:
            return f"beyond {self.cells[-1].text}"
        sign = -1 if self.direction == "lower" else 1
        return self.cause.text(sign * size) if self.cause is not None else f"{size:.2g}"


@dataclass(frozen=True)
class Verdict:
    """The whole audit."""

    nominal: Cell
    curves: tuple[Curve, ...]
    """One per mismatch and direction, the most critical first."""
    joint: Curve | None
    expected: float | None
    """Expected success on a robot: all mismatches together at size 1, or the smallest size above it."""
    expected_95: tuple[float, float] | None
    expected_size: float | None
    recommendation: tuple[str, ...]
    """Sentences."""


def judge(outcomes: Sequence[Outcome]) -> Verdict:
    """The verdict of a panel."""
    nominal = next(outcome for outcome in outcomes if outcome.variation.mismatch == NOMINAL)
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        if outcome is not nominal:
            groups.setdefault((outcome.variation.mismatch, outcome.variation.direction), []).append(outcome)
    curves = [_curve(name, direction, nominal, found) for (name, direction), found in groups.items()]
    joint = next((curve for curve in curves if curve.mismatch == JOINT), None)
    singles = sorted(
        (c for c in curves if c is not joint), key=lambda c: (c.critical is None, c.critical or _loss(c))
    )
    expected = expected_95 = size = None
    if joint is not None:
        at = min(groups[JOINT, ""], key=lambda outcome: abs(outcome.variation.size - 1))
        size, expected, expected_95 = at.variation.size, at.success, _cluster_interval(at)
    verdict = Verdict(_cell(nominal), tuple(singles), joint, expected, expected_95, size, ())
    return Verdict(**{**vars(verdict), "recommendation": tuple(recommend(verdict))})


def critical_size(sizes: Sequence[float], rates: np.ndarray, share: float = 0.5) -> np.ndarray:
    """Size (d,) at which rates (d, s) fall below `share` of the first; infinity where they never do.

    sizes (s,) begin with 0. Rates are made to fall first (isotonic regression), then interpolated linearly.
    """
    falling, sizes = isotonic(rates), np.asarray(sizes, float)
    level = share * rates[:, :1]
    below = falling < level
    index = np.where(below.any(1), below.argmax(1), 0)
    rows = np.arange(len(rates))
    before = np.maximum(index - 1, 0)
    high, low = falling[rows, before], falling[rows, index]
    fraction = np.divide(high - level[:, 0], high - low, out=np.zeros(len(rates)), where=high > low)
    found = sizes[before] + fraction * (sizes[index] - sizes[before])
    return np.where(below.any(1), found, np.inf)


def isotonic(rates: np.ndarray) -> np.ndarray:
    """Nearest falling sequences (d, s) to rates (d, s), equal weights: min over i <= k of max over j >= k of the
    mean of rates i..j (R. E. Barlow et al. (1972), Statistical inference under order restrictions)."""
    s = rates.shape[1]
    sums = np.concatenate([np.zeros((len(rates), 1)), np.cumsum(rates, axis=1)], axis=1)
    fitted = np.empty_like(rates, dtype=float)
    for k in range(s):
        means = [[(sums[:, j + 1] - sums[:, i]) / (j + 1 - i) for j in range(k, s)] for i in range(k + 1)]
        fitted[:, k] = np.min([np.max(of_i, axis=0) for of_i in means], axis=0)
    return fitted


def _curve(name: str, direction: str, nominal: Outcome, found: Sequence[Outcome]) -> Curve:
    """The interval draws virtual robots anew and seeds within them: the same ones in all sizes and in the twin."""
    found = sorted(found, key=lambda outcome: outcome.variation.size)
    cause = found[0].variation.cause
    key = cause.key if cause is not None else name
    wins = [np.array([e.success_end for e in outcome.all], float) for outcome in (nominal, *found)]
    n = min(len(w) for w in wins)
    table, sizes = np.stack([w[:n] for w in wins]), [0.0, *(outcome.variation.size for outcome in found)]
    clusters = [[e.seed for e in played] for played in found[0].episodes.values()]
    rows = _columns(clusters, [e.seed for e in found[0].all][:n], rng("audit bootstrap", key, direction))
    draws = table[:, rows].mean(2).T  # (draws, sizes)
    low, high = np.quantile(critical_size(sizes, draws), (0.025, 0.975), method="inverted_cdf")
    critical = float(critical_size(sizes, table.mean(1)[None])[0])
    interval = _finite(low), _finite(high)
    return Curve(name, direction, tuple(map(_cell, found)), _finite(critical), interval, cause)


def _columns(clusters: Sequence[Sequence[int]], seeds: Sequence[int], generator: np.random.Generator) -> np.ndarray:
    """Indices (DRAWS, n) into the seeds: clusters are drawn with replacement, and seeds within them."""
    place = {seed: index for index, seed in enumerate(seeds)}
    members = [[place[seed] for seed in cluster if seed in place] for cluster in clusters]
    sizes = np.array([len(cluster) for cluster in members])
    table = np.array([np.resize(cluster, sizes.max()) for cluster in members])  # padded by repetition
    chosen = generator.integers(len(members), size=(DRAWS, len(members), 1))
    within = (generator.random((DRAWS, len(members), sizes.max())) * sizes[chosen]).astype(int)
    return table[chosen, within].reshape(DRAWS, -1)


def _cell(outcome: Outcome) -> Cell:
    episodes = outcome.all
    wins, n = sum(e.success_end for e in episodes), len(episodes)
    forces = [e.peak_force_n for e in episodes if e.peak_force_n is not None]
    return Cell(
        size=outcome.variation.size,
        text=outcome.variation.text,
        n=n,
        success=wins / n,
        wilson95=wilson(wins, n),
        faults=sum(e.fault for e in episodes) / n if forces else None,
        peak_force_p95_n=round(float(np.percentile(forces, 95)), 2) if forces else None,
        off_support=_off_support(episodes),
    )


def _off_support(episodes: Sequence[Episode]) -> float | None:
    """Over all decisions of all episodes."""
    measured = [(e.support_violation_rate, e.support_decisions) for e in episodes if e.support_decisions]
    total = sum(decisions or 0 for _, decisions in measured)
    return sum((rate or 0.0) * (decisions or 0) for rate, decisions in measured) / total if total else None


def _cluster_interval(outcome: Outcome) -> tuple[float, float]:
    """95 % interval of the success rate: virtual robots are drawn anew, and episodes within them."""
    generator = rng("audit expected")
    rates = np.array([np.mean([e.success_end for e in played]) for played in outcome.episodes.values()])
    counts = np.array([len(played) for played in outcome.episodes.values()])
    chosen = generator.integers(len(rates), size=(DRAWS, len(rates)))
    draws = generator.binomial(counts[chosen], rates[chosen]).sum(1) / counts[chosen].sum(1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(low), float(high)


def recommend(verdict: Verdict) -> list[str]:
    """Sentences for the person who decides whether the policy goes on the robot."""
    lines = []
    if verdict.nominal.success < DOUBTFUL:
        lines.append(
            f"In the calibrated twin itself it succeeds in only {_percent(verdict.nominal.success)}: "
            "train it further before asking how it transfers."
        )
    elif verdict.expected is not None and verdict.expected_95 is not None:
        text = f"Expect success in {_percent(verdict.expected)} ({_range(verdict.expected_95)}) on a robot"
        text += f" whose mismatches are of size {verdict.expected_size:g}, all at once"
        advice = "Do not run it yet."
        if verdict.expected_95[0] >= SAFE:
            advice = "It may go on the robot."
        elif verdict.expected >= DOUBTFUL:
            advice = "Run it with care, and mend the first of what follows."
        lines.append(f"{text}. {advice}")
    lines += [_warning(curve) for curve in verdict.curves if curve.critical is not None][:5]
    if not any(curve.critical is not None for curve in verdict.curves) and verdict.curves:
        lines.append("No single mismatch of the panel halves its success.")
    if verdict.joint is not None:
        at = min(verdict.joint.cells, key=lambda cell: abs(cell.size - 1))
        if at.faults is not None and at.faults > max(FEW_FAULTS, 1.5 * (verdict.nominal.faults or 0.0)):
            lines.append(
                f"The protective stop ended {_percent(at.faults)} of the joint panel's episodes "
                f"({_percent(verdict.nominal.faults or 0.0)} in the twin): it presses harder where the twin is wrong."
            )
        if at.off_support is not None and at.off_support > MUCH_OFF:
            lines.append(
                f"{_percent(at.off_support)} of its decisions are off the base policy's support (1 % of the base's "
                "own are): what it does was never demonstrated, and the panel may not hold what it meets."
            )
    return lines


def _warning(curve: Curve) -> str:
    low, high = (curve.physical(bound) for bound in curve.critical_95)
    return f"{curve.name}: success halves at {curve.physical(curve.critical)} (95 %: {low} to {high})."


def _loss(curve: Curve) -> float:
    """Order of the curves that are not critical: the lower the success at the largest size, the earlier."""
    return curve.cells[-1].success


def _finite(size: float) -> float | None:
    return round(float(size), 4) if np.isfinite(size) else None


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _range(bounds: tuple[float, float]) -> str:
    return f"{100 * bounds[0]:.0f} to {100 * bounds[1]:.0f} %"


def as_json(verdict: Verdict) -> dict[str, Any]:
    """The verdict as plain data, with every curve's name and its critical size in physical words."""
    curves = [
        {
            **{key: value for key, value in vars(c).items() if key != "cause"},
            "cells": [vars(cell) for cell in c.cells],
            "critical_text": c.physical(c.critical),
        }
        for c in (*verdict.curves, *([verdict.joint] if verdict.joint else []))
    ]
    return {
        "nominal": vars(verdict.nominal),
        "expected": verdict.expected,
        "expected_95": verdict.expected_95,
        "expected_size": verdict.expected_size,
        "curves": curves,
        "recommendation": list(verdict.recommendation),
    }
