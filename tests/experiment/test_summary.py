"""Means, differences and their intervals, by hand."""

from __future__ import annotations

import pytest

from score_rl.pipeline.experiment.summary import mean_difference, mean_field, mean_rate


def record(task: str, robot: int, ends: int, n: int = 100, seed: int = 0, **extra: float) -> dict:
    return {"task": task, "robot_seed": robot, "training_seed": seed, "successes_end": ends, "n": n, **extra}


def test_tasks_weigh_the_same_whatever_their_robots() -> None:
    records = [record("a", 1, 80), record("a", 2, 60), record("b", 1, 10)]
    mean = mean_rate(records)
    assert mean.value == pytest.approx((0.7 + 0.1) / 2) and mean.cells == 3
    assert mean.low < mean.value < mean.high


def test_seeds_of_a_robot_count_as_one_robot() -> None:
    records = [record("a", 1, 100, seed=0), record("a", 1, 100, seed=1), record("a", 2, 0)]
    assert mean_rate(records).value == pytest.approx(0.5)


def test_robots_that_disagree_make_the_interval_wide() -> None:
    same = mean_rate([record("a", robot, 50) for robot in range(4)])
    apart = mean_rate([record("a", robot, 100 * (robot % 2)) for robot in range(4)])
    assert same.value == apart.value == 0.5
    assert same.high - same.low < 0.16  # four robots, 100 episodes each: about +-5 points
    assert apart.high - apart.low > 0.6


def test_the_interval_of_one_robot_is_that_of_its_episodes() -> None:
    mean = mean_rate([record("a", 1, 50)])
    assert mean.low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.015)
    assert mean.high == pytest.approx(0.5 + 1.96 * 0.05, abs=0.015)


def test_paired_differences_by_hand() -> None:
    records = [
        record("a", 1, 0, vs_ours_wins=5, vs_ours_losses=45),
        record("a", 2, 0, vs_ours_wins=20, vs_ours_losses=20),
        record("b", 1, 0, vs_ours_wins=0, vs_ours_losses=30),
    ]
    theirs = mean_difference(records, "ours")
    assert theirs.value == pytest.approx((((-0.40) + 0) / 2 - 0.30) / 2)
    assert (theirs.wins, theirs.losses, theirs.cells_above) == (25, 95, 0)
    ours = mean_difference(records, "ours", flipped=True)
    assert ours.value == -theirs.value and (ours.wins, ours.losses, ours.cells_above) == (95, 25, 2)
    assert ours.low < ours.value < ours.high and ours.p_value == theirs.p_value < 1e-9
    assert mean_difference([record("a", 1, 0)], "ours") is None


def test_a_certain_difference_has_no_width() -> None:
    sure = mean_difference([record("a", 1, 0, vs_base_wins=100, vs_base_losses=0)], "base")
    assert (sure.low, sure.value, sure.high) == (1.0, 1.0, 1.0)


def test_means_of_fields_need_all_of_them() -> None:
    records = [record("a", 1, 0, force=10.0), record("a", 2, 0, force=20.0), record("b", 1, 0, force=1.0)]
    assert mean_field(records, "force") == pytest.approx((15 + 1) / 2)
    assert mean_field([*records, record("b", 2, 0)], "force") is None
    assert mean_rate(records, "successes_end").value == 0
