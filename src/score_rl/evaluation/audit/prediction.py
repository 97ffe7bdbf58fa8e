"""Does an audit predict what happens on the robot? Rank correlation over many policies, with its interval."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from score_rl.core.seeding import rng

DRAWS = 2000


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation and its 95 % interval."""

    rho: float
    low: float
    high: float
    n: int
    """Policies."""
    clusters: int
    """Groups of policies that were drawn together, e.g. those of one task and robot."""


def rank_correlation(
    predicted: Sequence[float], observed: Sequence[float], clusters: Sequence[Hashable]
) -> RankCorrelation | None:
    """Correlation (n,) of predictions with what was observed; the interval draws whole clusters with replacement.

    Policies of one robot share its base policy and twin, so they are not independent. None where one side does not
    vary, which leaves nothing to rank.
    """
    x, y = np.asarray(predicted, float), np.asarray(observed, float)
    if not len(x) == len(y) == len(clusters) or len(x) < 2:
        raise ValueError(f"need as many predictions as observations and clusters, got {len(x)}, {len(y)}")
    if len(set(x)) < 2 or len(set(y)) < 2:
        return None
    groups: dict[Hashable, list[int]] = {}
    for index, name in enumerate(clusters):
        groups.setdefault(name, []).append(index)
    members, generator, draws = list(groups.values()), rng("rank correlation"), []
    for _ in range(DRAWS):
        rows = np.concatenate([members[k] for k in generator.integers(len(members), size=len(members))])
        if len(set(x[rows])) > 1 and len(set(y[rows])) > 1:
            draws.append(spearmanr(x[rows], y[rows]).statistic)
    low, high = np.quantile(draws, (0.025, 0.975))
    rho = float(spearmanr(x, y).statistic)
    return RankCorrelation(round(rho, 4), round(float(low), 4), round(float(high), 4), len(x), len(groups))
