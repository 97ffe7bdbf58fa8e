"""Rank correlation by hand, and clusters that make its interval wider."""

from __future__ import annotations

import pytest

from score_rl.evaluation.audit.prediction import rank_correlation


@pytest.mark.slow
def test_ranks_by_hand() -> None:
    # Ranks 1 2 3 4 against 2 1 4 3: 1 - 6 (1 + 1 + 1 + 1) / (4 x 15) = 0.6
    found = rank_correlation([0.1, 0.2, 0.3, 0.9], [0.5, 0.4, 0.8, 0.7], range(4))
    assert found.rho == pytest.approx(0.6) and found.n == found.clusters == 4
    assert rank_correlation([1, 2, 3], [5, 7, 9], range(3)).rho == 1.0
    assert rank_correlation([1, 1, 1], [5, 7, 9], range(3)) is None


@pytest.mark.slow
def test_repeating_a_cluster_adds_no_certainty() -> None:
    x, y = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.2, 0.1, 0.5, 0.3, 0.4, 0.6]
    once = rank_correlation(x, y, range(6))
    often = rank_correlation(x * 10, y * 10, [*range(6)] * 10)
    alone = rank_correlation(x * 10, y * 10, range(60))
    assert often.rho == pytest.approx(once.rho, abs=1e-6)
    assert alone.high - alone.low < 0.6 * (often.high - often.low)
    assert often.high - often.low == pytest.approx(once.high - once.low, abs=0.15)


def test_lengths_are_checked() -> None:
    with pytest.raises(ValueError, match="as many predictions"):
        rank_correlation([1.0, 2.0], [1.0], [0, 1])
