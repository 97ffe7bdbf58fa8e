"""Evaluation episodes worked out by hand: a point on a line whose goal is 2 + seed % 3 steps ahead."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from toys import policy_spec
from walk import BACKWARD, FORWARD, LIMIT, RANDOM, STILL, Step, Walk

from score_rl.contracts import ArraySpec, Observation
from score_rl.core.errors import ScoreError
from score_rl.evaluation.evaluate import evaluate, rms_jerk


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


def test_jerk_by_hand() -> None:
    # Third differences of t^3 are 6, those of a constant 0: sqrt((36 + 0) / 2) at 10 Hz.
    cube = torch.arange(6.0) ** 3
    assert rms_jerk(torch.stack((cube, torch.ones(6)), dim=1), 10.0) == pytest.approx(18**0.5 * 1000)
    assert rms_jerk(torch.zeros(3, 2), 10.0) is None


def test_jumps_between_chunks_are_averaged_and_the_first_chunk_jumps_from_nowhere() -> None:
    class Swing(Step):
        def decide(self, window, noise):
            x = window["state"][:, -1:, :1]
            chunk = torch.where(x > 0, -0.25, 0.75).expand(-1, 2, 1)
            return replace(super().decide(window, noise), chunk=chunk)

    # Chunks of two: 0.75 0.75, -0.25 -0.25, -0.25 -0.25: jumps of 1 and 0 behind the first.
    (episode,) = evaluate(Walk(1), Swing(0.0), [2], execute_steps=2).episodes
    assert episode.jump == pytest.approx(0.5) and episode.max_jump == pytest.approx(1.0)
    assert episode.jerk_rms == pytest.approx(1000 * ((4 + 1 + 0) / 3) ** 0.5)  # 2, -1, 0
    (still,) = evaluate(Walk(1), FORWARD, [0], execute_steps=2).episodes
    assert still.jump is None and still.jerk_rms is None and still.impulse_ns is None


def test_everything_executed_is_returned_as_a_reader_would_see_it() -> None:
    reader = replace(Step.spec, history=2)
    found = evaluate(Walk(2), FORWARD, [0, 1, 2], execute_steps=2, reader=reader).executed
    assert found.episode.tolist() == [0, 1, 1, 2, 2] and found.steps.tolist() == [2, 2, 1, 2, 2]
    assert found.seeds == ((0, 0), (1, 0), (1, 1), (2, 0), (2, 1))
    assert found.window["state"][:, :, 0].tolist() == [[0, 0], [0, 0], [1, 2], [0, 0], [1, 2]]
    assert found.chunk[:, 0, 0].tolist() == [1] * 5


class Filmed(Walk):
    """A walk before a camera whose every image is numbered, over all that it was asked for."""

    def __init__(self) -> None:
        super().__init__(1)
        self.spec, self.asked = replace(self.spec, interface=seeing(self.spec, "near", "far").interface), []

    def look(self, keys, rows=None):
        assert rows is None  # the episodes end with a chunk, so nothing stands by
        self.asked.append(tuple(keys))
        return {key: torch.full((1, 1), float(len(self.asked))) for key in keys}


def seeing(spec, *views: str):
    """The spec of somebody who also looks."""
    return replace(spec, interface=replace(spec.interface, views={key: ArraySpec((1,)) for key in views}))


@pytest.mark.parametrize(("acting", "asked"), [(("near",), ("near", "far")), ((), ("far", "near"))])
def test_a_camera_is_asked_once_for_whoever_acts_and_whoever_measures(acting: tuple, asked: tuple) -> None:
    class Watcher(Step):
        spec, seen = seeing(Step.spec, *acting), []

        def decide(self, window, noise):
            self.seen.append({key: window[key].item() for key in acting})
            return super().decide(window, noise)

    world, decider = Filmed(), Watcher(1.0)
    found = evaluate(world, decider, [2], execute_steps=2, reader=seeing(Step.spec, "far", "near")).executed
    assert world.asked == [asked] * 2  # goal 4 in chunks of two
    assert decider.seen == [dict.fromkeys(acting, 1.0), dict.fromkeys(acting, 2.0)]
    for key in ("near", "far"):  # what is measured is what was seen
        assert found.window[key].flatten().tolist() == [1.0, 2.0]


@pytest.mark.parametrize("seeds", [[], [3, 3]])
def test_seeds_must_be_distinct(seeds: list[int]) -> None:
    with pytest.raises(ScoreError, match="distinct seeds"):
        evaluate(Walk(1), STILL, seeds, execute_steps=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keys": {"state": 3}}, r"reads 'state' \(3,\)"),
        ({"names": ("dx", "dy")}, "2 actions, walk takes 1"),
        ({"rate_hz": 20.0}, "acts at 20 Hz"),
        ({"horizon": 1}, "1 to 1 can run"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused(change: dict, message: str) -> None:
    policy = Step()
    policy.spec = policy_spec(**{"keys": {"state": 2}, "names": ("dx",), "history": 1, "horizon": 2, **change})
    with pytest.raises(ScoreError, match=message):
        evaluate(Walk(1), policy, [0], execute_steps=2)


class Spoiled(Walk):
    """A walk that returns something else at its third step."""

    def __init__(self, spoil) -> None:
        super().__init__(2)
        self.spoil, self.count = spoil, 0

    def step(self, action):
        self.count += 1
        result = super().step(action)
        return self.spoil(result) if self.count == 3 else result


def test_a_world_that_returns_what_is_not_finite_is_named() -> None:
    def reward(result):
        return replace(result, reward=torch.tensor([0.0, float("nan")]))

    def seen(result):
        actor = {key: torch.full_like(value, float("inf")) for key, value in result.observation.actor.items()}
        return replace(result, observation=Observation(actor, result.observation.critic))

    for spoil, message in (
        (reward, r"the reward is not finite in environment\(s\) \[1\] of"),
        (seen, r"what is seen of '.*' is not finite in environment\(s\) \[0, 1\] of"),
    ):
        with pytest.raises(ScoreError, match=message):
            evaluate(Spoiled(spoil), STILL, [1, 2], 1)


def test_a_world_that_never_ends_is_not_waited_for() -> None:
    class Endless(Walk):
        def step(self, action):
            result = super().step(action)
            never = torch.zeros_like(result.terminated)
            return replace(result, terminated=never, truncated=never)

    with pytest.raises(ScoreError, match="goes on beyond its own time limit of"):
        evaluate(Endless(2), STILL, [1, 2], 2)
