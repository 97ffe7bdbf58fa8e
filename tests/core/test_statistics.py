import math

import numpy as np
import pytest

from score_rl.core.statistics import clustered_mean, clustered_wilson, mcnemar_exact, paired_difference, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (8, 10, 0.490, 0.943),
        # Newcombe (1998), Statistics in Medicine 17, 857-872, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_agrees_with_published_numbers(successes, n, low, high):
    digits = 3 if n == 10 else 4
    assert tuple(round(bound, digits) for bound in wilson(successes, n)) == (low, high)


def test_wilson_by_hand():
    # z = 1 at 68.27 %: centre (0.5 + 1/8) / (1 + 1/4) = 0.5; half sqrt(1/16 + 1/64) / (5/4) = 0.22361.
    low, high = wilson(2, 4, confidence=math.erf(1 / math.sqrt(2)))
    assert low == pytest.approx(0.5 - 0.1 * math.sqrt(5), abs=1e-9)
    assert high == pytest.approx(0.5 + 0.1 * math.sqrt(5), abs=1e-9)


def test_wilson_stays_within_zero_and_one():
    assert wilson(0, 7)[0] == 0.0 and wilson(7, 7)[1] == 1.0
    assert 0 < wilson(0, 7)[1] < 1 and 0 < wilson(7, 7)[0] < 1


@pytest.mark.parametrize(("successes", "n"), [(-1, 3), (4, 3), (0, 0)])
def test_wilson_refuses_impossible_counts(successes, n):
    with pytest.raises(ValueError, match="successes"):
        wilson(successes, n)


def test_clusters_count_as_often_as_they_differ():
    # 10 clusters of 8, 5 all hits and 5 none: residuals +-4, variance (10 / 9) (10 * 16) / 80^2 = 1 / 36, against
    # 0.25 / 80 of independent events: a design effect of 80 / 9, so 80 events are worth 9.
    hits, sizes = [8, 0] * 5, [8] * 10
    centre, half = 0.5, (clustered_wilson(hits, sizes)[1] - clustered_wilson(hits, sizes)[0]) / 2
    z = 1.959964
    assert half == pytest.approx(z * math.sqrt(0.25 / 9 + z * z / (4 * 81)) / (1 + z * z / 9), abs=1e-6)
    assert sum(clustered_wilson(hits, sizes)) / 2 == pytest.approx(centre)
    # The same hits spread evenly: no more spread than independent events, so the plain interval.
    assert clustered_wilson([4] * 10, sizes) == pytest.approx(wilson(40, 80))
    assert clustered_wilson([0] * 10, sizes) == wilson(0, 80)
    assert clustered_wilson([3], [6])[1] - clustered_wilson([3], [6])[0] > 0.7  # one cluster says next to nothing


def test_clustered_mean_by_hand():
    # Means 1 and 3 of clusters of 2 and 2: mean 2, residuals -2 and 2, variance 2 (4 + 4) / 16 = 1, t(1) = 12.706.
    mean, low, high = clustered_mean([2.0, 6.0], [2, 2])
    assert (mean, low, high) == pytest.approx((2, 2 - 12.7062, 2 + 12.7062), abs=1e-3)
    assert clustered_mean([4.0], [2]) == (2.0, -math.inf, math.inf)


@pytest.mark.parametrize(("hits", "sizes"), [([1], [0]), ([], []), ([2], [1]), ([-1], [3]), ([1, 1], [2])])
def test_clusters_must_make_sense(hits, sizes):
    with pytest.raises(ValueError, match="every cluster"):
        clustered_wilson(hits, sizes)


def pairs(both: int, only_a: int, only_b: int, neither: int):
    a = np.repeat([1, 1, 0, 0], [both, only_a, only_b, neither])
    b = np.repeat([1, 0, 1, 0], [both, only_a, only_b, neither])
    return a.astype(bool), b.astype(bool)


def test_paired_interval_agrees_with_published_numbers():
    # Newcombe (1998), Statistics in Medicine 17, 2635-2650, method 10.
    result = paired_difference(*pairs(36, 12, 2, 0))
    assert result.difference == pytest.approx(0.2)
    assert (round(result.low, 4), round(result.high, 4)) == (0.0569, 0.3404)
    assert (result.n, result.only_a, result.only_b) == (50, 12, 2)


@pytest.mark.parametrize(
    ("counts", "phi"),
    [
        # (20 * 16 - 12 * 2 - 50 / 2) / sqrt(32 * 18 * 22 * 28)
        ((20, 12, 2, 16), 271 / math.sqrt(354816)),
        # 9 * 6 - 6 * 5 = 24, less 26 / 2
        ((9, 6, 5, 6), 11 / math.sqrt(15 * 11 * 14 * 12)),
        # 4 * 3 - 3 * 3 = 3 is below 13 / 2: no correlation is left.
        ((4, 3, 3, 3), 0.0),
        # 2 * 2 - 4 * 4 = -12 is negative and not corrected.
        ((2, 4, 4, 2), -12 / 36),
    ],
)
def test_paired_interval_by_hand(counts, phi):
    both, only_a, only_b, _ = counts
    n = sum(counts)
    rate_a, rate_b = (both + only_a) / n, (both + only_b) / n
    (low_a, high_a), (low_b, high_b) = wilson(both + only_a, n), wilson(both + only_b, n)
    down_a, up_b = rate_a - low_a, high_b - rate_b
    up_a, down_b = high_a - rate_a, rate_b - low_b
    result = paired_difference(*pairs(*counts))
    assert result.low == pytest.approx(rate_a - rate_b - math.sqrt(down_a**2 - 2 * phi * down_a * up_b + up_b**2))
    assert result.high == pytest.approx(rate_a - rate_b + math.sqrt(up_a**2 - 2 * phi * up_a * down_b + down_b**2))


def test_mcnemar_by_hand():
    # 14 discordant, 2 against: 2 (1 + 14 + 91) / 2^14.
    assert mcnemar_exact(12, 2) == pytest.approx(2 * 106 / 2**14)
    assert mcnemar_exact(2, 12) == mcnemar_exact(12, 2)
    assert mcnemar_exact(0, 5) == pytest.approx(2 / 2**5)
    assert mcnemar_exact(3, 3) == 1.0
    assert mcnemar_exact(0, 0) == 1.0


def test_exchanging_the_policies_mirrors_the_result():
    a, b = pairs(5, 9, 2, 4)
    forward, backward = paired_difference(a, b), paired_difference(b, a)
    assert forward.difference == -backward.difference > 0
    assert forward.low == pytest.approx(-backward.high) and forward.high == pytest.approx(-backward.low)
    assert forward.p_value == backward.p_value


def test_equal_policies_have_no_difference():
    same = np.array([True, False, True])
    result = paired_difference(same, same)
    assert (result.difference, result.only_a, result.only_b, result.p_value) == (0.0, 0, 0, 1.0)
    assert result.low < 0 < result.high


@pytest.mark.parametrize(("counts", "bounds"), [((0, 30, 0, 0), (0.5, 1.0)), ((0, 0, 30, 0), (-1.0, -0.5))])
def test_the_interval_stays_within_one(counts, bounds):
    result = paired_difference(*pairs(*counts))
    assert bounds[0] <= result.low <= result.difference <= result.high <= bounds[1]


def test_coverage_of_the_paired_interval():
    random = np.random.default_rng(0)
    inside = 0
    for _ in range(300):
        shared = random.random(100)
        # P(a) = 0.8, P(b) = 0.5, strongly correlated through the shared seed.
        a, b = shared < 0.8, (shared + 0.1 * random.standard_normal(100)) < 0.5
        result = paired_difference(a, b)
        inside += result.low <= 0.3 <= result.high
    assert inside / 300 > 0.9


@pytest.mark.parametrize(("a", "b"), [([1, 0], [1]), ([], []), ([0.5], [1]), ([[1]], [[1]])])
def test_paired_difference_refuses_what_is_no_pair_of_success_lists(a, b):
    with pytest.raises(ValueError, match="array"):
        paired_difference(a, b)
