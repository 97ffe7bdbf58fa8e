"""Evaluation episodes worked out by hand: a point on a line whose goal is 2 + seed % 3 steps ahead."""

from __future__ import annotations

from dataclasses import replace

import pytest
from walk import BACKWARD, FORWARD, LIMIT, RANDOM, STILL, Step, Walk

from score_rl.evaluation.evaluate import evaluate
from score_rl.foundation.errors import ScoreError


def test_success_is_timed_to_the_step_also_inside_a_chunk() -> None:
    episodes = evaluate(Walk(3), FORWARD, [0, 1, 2], execute_steps=2).episodes
    assert [e.seed for e in episodes] == [0, 1, 2]
    assert [e.steps for e in episodes] == [2, 3, 4]
    assert [e.steps_to_success for e in episodes] == [2, 3, 4]
    assert all(e.success_end and e.success_ever and not e.truncated and not e.fault for e in episodes)
    assert [e.return_ for e in episodes] == [1, 1, 1]
    assert [e.peak_force_n for e in episodes] == [10, 10, 10]
    assert [e.latent_norm2 for e in episodes] == [1, 1, 1]


def test_standing_still_lasts_until_the_time_limit() -> None:
    (episode,) = evaluate(Walk(1), STILL, [4], execute_steps=2).episodes
    assert (episode.steps, episode.truncated, episode.success_end) == (LIMIT, True, False)
    assert episode.steps_to_success is None and episode.latent_norm2 == 0 and episode.max_jump == 0


def test_a_fault_is_a_failure() -> None:
    (episode,) = evaluate(Walk(1), BACKWARD, [0], execute_steps=1).episodes
    assert episode.fault and not episode.success_end and not episode.truncated and episode.steps == 2


def test_figures_do_not_depend_on_the_batch() -> None:
    seeds = list(range(7))
    alone, together, few = (evaluate(Walk(n), RANDOM, seeds, execute_steps=2).episodes for n in (1, 7, 3))
    assert alone == together == few
    assert len({e.latent_norm2 for e in alone}) == 7


def test_traces_hold_what_was_seen_and_sent() -> None:
    trace = evaluate(Walk(2), FORWARD, [0, 1, 2], execute_steps=2, traced=3).trace
    assert trace["action"].shape == (3, 4, 1) and trace["latent"].shape == (3, 2, 2, 1)
    x = trace["observation.state"][:, :, 0]
    assert x[2].tolist() == [0, 1, 2, 3]
    assert x[0, :2].tolist() == [0, 1] and x[0, 2:].isnan().all()
    assert trace["latent_norm2"][0].isnan().tolist() == [False, True]
    assert trace["first_chunk"].shape == (3, 2, 1)


@pytest.mark.parametrize("seeds", [[], [3, 3]])
def test_seeds_must_be_distinct(seeds: list[int]) -> None:
    with pytest.raises(ScoreError, match="distinct seeds"):
        evaluate(Walk(1), STILL, seeds, execute_steps=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observation": {"state": 3}}, r"reads 'state' \(3 values\)"),
        ({"action_names": ("dx", "dy")}, "2 actions, walk takes 1"),
        ({"control_rate_hz": 20.0}, "acts at 20 Hz"),
        ({"horizon": 1}, "1 to 1 can run"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused(change: dict, message: str) -> None:
    policy = Step()
    policy.spec = replace(Step.spec, **change)
    with pytest.raises(ScoreError, match=message):
        evaluate(Walk(1), policy, [0], execute_steps=2)
