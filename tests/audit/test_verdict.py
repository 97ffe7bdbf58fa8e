"""Critical sizes, expected success and the sentences, on panels made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from score_rl.evaluation.audit.panel import JOINT, NOMINAL, Mismatch, Variation
from score_rl.evaluation.audit.run import Outcome
from score_rl.evaluation.audit.verdict import as_json, critical_size, isotonic, judge
from score_rl.evaluation.results import Episode


def episode(seed: int, success: bool, fault: bool = False, **extra: object) -> Episode:
    return Episode(
        seed, success, success, 3 if success else None, 5, False, fault, False, 10.0, 0.0, 1.0, 0.0, **extra
    )


def outcome(mismatch: str, size: float, rate: float, n: int = 20, robots: int = 1, **extra: object) -> Outcome:
    """The first `rate` of the seeds succeed; faults elsewhere where `fault` says so."""
    played = [episode(seed, seed < rate * n, **extra) for seed in range(n)]
    cause = None if mismatch in (JOINT, NOMINAL) else Mismatch(mismatch, "more", 0.01)
    variation = Variation(mismatch, "", size, f"{size:g}", (), cause)
    return Outcome(variation, {robot: played[robot::robots] for robot in range(robots)})


def test_falling_sequences_are_left_alone_and_others_pooled() -> None:
    rates = np.array([[1.0, 0.8, 0.2], [0.5, 0.9, 0.2], [0.1, 0.2, 0.3]])
    expected = [[1.0, 0.8, 0.2], [0.7, 0.7, 0.2], [0.2, 0.2, 0.2]]
    np.testing.assert_allclose(isotonic(rates), expected)


def test_the_critical_size_is_interpolated() -> None:
    sizes = (0.0, 1.0, 2.0, 4.0)
    rates = np.array([[0.8, 0.8, 0.6, 0.2], [0.8, 0.8, 0.7, 0.5], [1.0, 0.4, 0.2, 0.0]])
    # 0.4 lies half way between 0.6 at 2 and 0.2 at 4; never; 0.5 lies 5/6 of the way from 1.0 at 0 to 0.4 at 1.
    np.testing.assert_allclose(critical_size(sizes, rates), [3.0, np.inf, 5 / 6])


def test_a_verdict_by_hand() -> None:
    panel = [
        outcome(NOMINAL, 0, 1.0, n=24),
        outcome("robot.delay_s", 1, 0.8),
        outcome("robot.delay_s", 2, 0.2),
        outcome("robot.lag_s", 1, 1.0),
        outcome("robot.lag_s", 2, 0.9),
        outcome(JOINT, 1, 0.75, robots=4),
        outcome(JOINT, 2, 0.25, robots=4),
    ]
    verdict = judge(panel)
    assert verdict.nominal.success == 1.0 and verdict.nominal.n == 24
    assert [curve.mismatch for curve in verdict.curves] == ["robot.delay_s", "robot.lag_s"]  # most critical first
    delay, lag = verdict.curves
    assert delay.critical == pytest.approx(1.5) and delay.physical(delay.critical) == "+15 ms"
    low, high = delay.critical_95
    assert low < 1.5 < high
    assert lag.critical is None and lag.physical(None) == "beyond 2"
    assert verdict.expected == 0.75 and verdict.expected_size == 1
    assert verdict.expected_95[0] < 0.75 < verdict.expected_95[1]
    text = " ".join(verdict.recommendation)
    assert "Expect success in 75 %" in text and "Run it with care" in text
    assert "delay_s: success halves at +15 ms" in text and "robot.lag_s" not in text
    record = as_json(verdict)
    assert [curve["mismatch"] for curve in record["curves"]] == ["robot.delay_s", "robot.lag_s", JOINT]
    assert record["curves"][0]["critical_text"] == "+15 ms"


@pytest.mark.parametrize(
    ("nominal", "joint", "words"),
    [(1.0, 1.0, "It may go on the robot"), (1.0, 0.3, "Do not run it yet"), (0.4, 0.4, "train it further")],
)
def test_the_advice_follows_the_expected_success(nominal: float, joint: float, words: str) -> None:
    panel = [outcome(NOMINAL, 0, nominal, n=60), outcome(JOINT, 1, joint, n=60, robots=4)]
    assert words in judge(panel).recommendation[0]


def test_force_and_support_are_said_where_they_are_worse_than_in_the_twin() -> None:
    calm, hard = {"fault": False}, {"fault": True}
    off = {"support_decisions": 10, "support_violation_rate": 0.2}
    verdict = judge([outcome(NOMINAL, 0, 1.0, **calm), outcome(JOINT, 1, 0.9, robots=2, **hard, **off)])
    text = " ".join(verdict.recommendation)
    assert "ended 100 % of the joint panel's episodes (0 % in the twin)" in text
    assert "20 % of its decisions are off" in text
    assert verdict.joint.cells[0].off_support == pytest.approx(0.2) and verdict.nominal.off_support is None
    quiet = judge([outcome(NOMINAL, 0, 1.0, **calm), outcome(JOINT, 1, 0.9, robots=2, **calm)])
    assert not any("stop ended" in line or "off the base" in line for line in quiet.recommendation)


def test_one_robot_that_fails_makes_the_interval_wide() -> None:
    """Ten episodes on each of four robots, one of which always fails: the episodes are not 40 independent ones."""
    split = {robot: [episode(10 * robot + k, robot > 0) for k in range(10)] for robot in range(4)}
    clustered = Outcome(Variation(JOINT, "", 1.0, "1", ()), split)
    low, high = judge([outcome(NOMINAL, 0, 1.0, n=40), clustered]).expected_95
    assert low <= 0.3 and high == 1.0
