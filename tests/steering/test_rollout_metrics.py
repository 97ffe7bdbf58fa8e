"""What an iteration reports, by hand."""

from __future__ import annotations

import pytest
import torch

from score_rl.contracts import Observation
from score_rl.core.chunks import ChunkResult, Episode
from score_rl.steering.metrics import RolloutMetrics, Stopwatch


def episode(index=0, success=False, steps=10, force=1.0, at=None):
    return Episode(0, index, steps, 0, float(success), success, success, at, success, not success, 0.5,
                   {"peak_force_n": force, "fault": force > 30})  # fmt: skip


def decision(steps, jump):
    n = len(steps)
    nothing = torch.zeros(n)
    empty = Observation({}, {})
    return ChunkResult(
        nothing, torch.tensor(steps), nothing > 0, nothing > 0, nothing > 0, torch.tensor(jump), {}, empty
    )


def test_success_is_of_first_episodes_and_unfinished_ones_fail():
    metrics = RolloutMetrics()
    metrics.add(decision([2, 2], [0.0, 1.0]), torch.zeros(2, 4, 1))
    metrics.add(decision([2, 1], [0.0, 3.0]), torch.ones(2, 4, 1))
    metrics.add_episodes([episode(success=True, steps=6, at=6), episode(index=1, success=True, steps=2, at=2)])
    summary = metrics.summary(num_envs=4)
    assert metrics.decision_steps == 7
    assert summary["success"] == 0.25
    assert summary["steps_to_success"] == 6
    assert summary["episodes"] == 2
    assert summary["jump_max"] == 3.0
    assert summary["latent_square"] == 0.5


def test_forces_are_reported_as_a_quantile_and_faults_as_a_rate():
    metrics = RolloutMetrics()
    metrics.add(decision([1], [0.0]), torch.zeros(1, 4, 1))
    metrics.add_episodes([episode(force=float(force)) for force in range(101)])
    summary = metrics.summary(num_envs=101)
    assert summary["peak_force_n_p95"] == pytest.approx(95.0)
    assert summary["fault_mean"] == pytest.approx(70 / 101)


def test_nothing_finished():
    metrics = RolloutMetrics()
    metrics.add(decision([1], [0.0]), torch.zeros(1, 4, 1))
    summary = metrics.summary(num_envs=1)
    assert (summary["success"], summary["reward"], summary["steps_to_success"]) == (0.0, None, None)


def test_stopwatch_adds_up_by_part():
    """Two stretches of 1 s and 3 s of one part, and 1 s of another, by a clock that is told."""
    watch = Stopwatch(iter([7.0, 8.0, 20.0, 23.0, 30.0, 31.0]).__next__)
    for part in ("environment", "environment", "policy"):
        with watch(part):
            pass
    assert watch.summary(steps=100) == {"environment_s": 4.0, "policy_s": 1.0, "steps_per_second": 20.0}
