"""Intervals and tests for success rates.

Equations: E. B. Wilson (1927), JASA 22; R. G. Newcombe (1998), Statistics in Medicine 17, 2635-2650, method
10 (paired differences); Q. McNemar (1947), Psychometrika 12, with the exact binomial tail; J. N. K. Rao and
A. J. Scott (1992), Biometrics 48 (rates of clustered events, through an effective number of events).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom, norm, t


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval (low, high) of a success rate.

    >>> "%.3f %.3f" % wilson(8, 10)
    '0.490 0.943'
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"need 0 <= successes <= n and n >= 1, got {successes} of {n}")
    low, high = _wilson(successes / n, n, confidence)
    # At 0 of n and n of n the bounds are exactly 0 and 1; rounding must not push them outside.
    return 0.0 if successes == 0 else low, 1.0 if successes == n else high


def clustered_wilson(hits: ArrayLike, sizes: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson interval (low, high) of sum(hits) / sum(sizes), where the events of one cluster are correlated.

    hits, sizes (g,): hits and events of every cluster, e.g. off-support decisions and decisions of every episode.
    The number of events is divided by the design effect, the variance of the rate between clusters (linearised
    ratio) over that of independent events, where it exceeds 1; a single cluster counts as one event. Without any
    hit, or with hits only, no variance is to be seen, and the interval is that of independent events.
    Raises ValueError for other shapes, no events, or more hits than events.
    """
    hits, sizes = np.asarray(hits, float), np.asarray(sizes, float)
    if hits.shape != sizes.shape or hits.ndim != 1 or not sizes.sum() > 0 or ((hits < 0) | (hits > sizes)).any():
        raise ValueError("need the hits and the sizes of every cluster, with 0 <= hits <= sizes and some events")
    n, rate = sizes.sum(), hits.sum() / sizes.sum()
    if rate in (0.0, 1.0):
        return wilson(int(hits.sum()), int(n), confidence)
    effect = _cluster_variance(hits, sizes) / (rate * (1 - rate) / n)
    return _wilson(rate, max(1.0, n / max(1.0, effect)), confidence)


def clustered_mean(totals: ArrayLike, sizes: ArrayLike, confidence: float = 0.95) -> tuple[float, float, float]:
    """(mean, low, high) of sum(totals) / sum(sizes) over clusters (g,): Student's interval of the linearised ratio.

    With a single cluster nothing is known of the spread, and the bounds are infinite.
    """
    totals, sizes = np.asarray(totals, float), np.asarray(sizes, float)
    if totals.shape != sizes.shape or totals.ndim != 1 or not sizes.sum() > 0:
        raise ValueError("need the total and the size of every cluster, and some events")
    mean = float(totals.sum() / sizes.sum())
    if len(sizes) < 2:
        return mean, -math.inf, math.inf
    half = float(t.ppf(0.5 + confidence / 2, len(sizes) - 1)) * math.sqrt(_cluster_variance(totals, sizes))
    return mean, mean - half, mean + half


def _cluster_variance(totals: np.ndarray, sizes: np.ndarray) -> float:
    """Variance of the ratio sum(totals) / sum(sizes), from the spread between clusters."""
    g = len(sizes)
    if g < 2:
        return math.inf
    residual = totals - sizes * (totals.sum() / sizes.sum())
    return float(g / (g - 1) * (residual**2).sum() / sizes.sum() ** 2)


def _wilson(rate: float, n: float, confidence: float) -> tuple[float, float]:
    z = _normal_quantile(confidence)
    centre = rate + z * z / (2 * n)
    half = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return (centre - half) / scale, (centre + half) / scale


@dataclass(frozen=True)
class PairedDifference:
    """Success rate of a minus that of b over the same n seeds."""

    n: int
    """Pairs."""
    difference: float
    """Rate of a minus rate of b."""
    low: float
    """Lower end of the interval of the difference (Newcombe's method 10)."""
    high: float
    """Upper end of the interval of the difference."""
    only_a: int
    """Seeds on which a succeeds and b fails."""
    only_b: int
    """Seeds on which b succeeds and a fails."""
    p_value: float
    """Two-sided exact McNemar p: chance of a split of the discordant seeds at least this uneven."""


def paired_difference(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> PairedDifference:
    """Compare two policies evaluated on the same seeds; a, b: (n,) successes in the order of the seeds.

    Raises ValueError where the two have different lengths, are empty or are not booleans (or 0 and 1).
    """
    a, b = _successes(a), _successes(b)
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"need two non-empty arrays of equal length, got {a.size} and {b.size}")
    n = int(a.size)
    both, only_a, only_b = int((a & b).sum()), int((a & ~b).sum()), int((b & ~a).sum())
    neither = n - both - only_a - only_b
    rate_a, rate_b = (both + only_a) / n, (both + only_b) / n
    low_a, high_a = wilson(both + only_a, n, confidence)
    low_b, high_b = wilson(both + only_b, n, confidence)
    phi = _phi(both, only_a, only_b, neither)
    difference = (only_a - only_b) / n
    below = _combine(rate_a - low_a, high_b - rate_b, phi)
    above = _combine(high_a - rate_a, rate_b - low_b, phi)
    return PairedDifference(
        n=n,
        difference=difference,
        low=max(-1.0, difference - below),
        high=min(1.0, difference + above),
        only_a=only_a,
        only_b=only_b,
        p_value=mcnemar_exact(only_a, only_b),
    )


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided exact McNemar p-value of the two discordant counts (1 where there are none)."""
    discordant = only_a + only_b
    return min(1.0, 2.0 * float(binom.cdf(min(only_a, only_b), discordant, 0.5))) if discordant else 1.0


def _phi(both: int, only_a: int, only_b: int, neither: int) -> float:
    """Correlation of the pairs; a positive one is shrunk by Newcombe's continuity correction n / 2."""
    n = both + only_a + only_b + neither
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    covariance = float(both * neither - only_a * only_b)
    if covariance > 0:
        covariance = max(0.0, covariance - n / 2)
    return covariance / math.sqrt(margins) if margins else 0.0


def _combine(x: float, y: float, phi: float) -> float:
    """Half-width of a difference from the half-widths of its correlated parts."""
    return math.sqrt(max(0.0, x * x - 2 * phi * x * y + y * y))


def _normal_quantile(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
    return float(norm.ppf(0.5 + confidence / 2))


def _successes(values: ArrayLike) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or not np.isin(array, (0, 1)).all():
        raise ValueError("successes must be a one-dimensional array of booleans (or 0 and 1)")
    return array.astype(bool)
