"""The best constant latent: the plan of the search, its scores, and the ticket as a policy and as a start."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from toys import ToyPolicy, ToyWorld

from score_rl.core.errors import ScoreError
from score_rl.core.records import read_json, read_json_lines
from score_rl.core.runs import start_run
from score_rl.core.seeding import torch_generator
from score_rl.report.stages import ticket_lines
from score_rl.steering import loop
from score_rl.steering.latent import LatentConfig, LatentMap
from score_rl.steering.loop import Stage, SteerConfig, steer
from score_rl.steering.methods import METHODS, load_trained
from score_rl.steering.methods.base_ticket import (
    Round,
    Scores,
    TicketConfig,
    count_generations,
    draw_candidates,
    plan_rounds,
    vary,
)
from score_rl.steering.policy import SteeredDecider, compulsory_deciders, decision_noise
from score_rl.steering.ppo import PPOConfig
from score_rl.steering.start import StartConfig

CONFIG = SteerConfig(
    execute_steps=4, decisions=4, latent=LatentConfig("full"), ppo=PPOConfig(hidden=(8,), minibatches=2)
)
WINDOW = {"state": torch.randn(6, 2, 2), "command": torch.randn(6, 2, 1)}
NOISE = decision_noise(range(6), 0, (4, 1))
ENVS = 8
ROLLOUT = ENVS * 16


class LeftWorld(ToyWorld):
    """The goal is always on the left, and z = 0 always goes right."""

    def _begin(self, row: int) -> None:
        super()._begin(row)
        self.goal[row] = -1.0


class Stopped(Exception):
    pass


def search(path, budget=6 * ROLLOUT, candidates=8, config=CONFIG, world=LeftWorld, stop_at=None, **further):
    run = start_run(path, "steer", config, {"training": config.seed})

    def stop(index, record):
        if record["round"] == stop_at:
            raise Stopped

    run.add_listener(stop)
    stages = [Stage(world(ENVS), budget)]
    options = {"candidates": candidates, "generations": 1, **further}
    return steer(ToyPolicy(), stages, config, run, method=METHODS["base_ticket"], options=options)


def test_every_round_has_the_same_share_of_the_budget():
    assert plan_rounds(128, batches=28, envs=128) == [
        Round(128, 4, 4),
        Round(64, 4, 8),
        Round(32, 4, 16),
        Round(16, 4, 32),
        Round(8, 4, 64),
        Round(4, 4, 128),
        Round(2, 4, 256),
    ]


def test_a_small_budget_has_fewer_rounds_and_candidates():
    assert plan_rounds(16, batches=2, envs=64) == [Round(16, 1, 4), Round(4, 1, 16)]
    assert plan_rounds(128, batches=1, envs=8) == [Round(8, 1, 1)]
    assert plan_rounds(2, batches=3, envs=8) == [Round(2, 3, 12)]
    with pytest.raises(ScoreError, match="0 roll-outs"):
        plan_rounds(16, batches=0, envs=64)
    with pytest.raises(ScoreError, match="1 candidates"):
        plan_rounds(1, batches=4, envs=64)


def test_success_counts_first_and_fewer_steps_break_ties():
    scores = Scores(4)
    scores.add([0, 0, 1, 1, 2, 2], torch.tensor([1, 0, 1, 1, 1, 1]).bool(), torch.tensor([2, 9, 6, 8, 5, 7]))
    assert scores.episodes.tolist() == [2, 2, 2, 0]
    assert scores.successes.tolist() == [1, 2, 2, 0]
    assert scores.steps.tolist() == [2, 14, 12, 0]  # steps of failures are not counted
    assert scores.best(range(4), 4) == [2, 1, 0, 3]
    assert scores.best([0, 1], 1) == [1]
    figures = scores.figures(0)
    assert (figures["success"], figures["episodes"], figures["steps_to_success"]) == (0.5, 2, 2.0)
    # Wilson, 1 of 2: centre 1/2, half width 1.96 sqrt(1/8 + 1.96^2 / 16) / (1 + 1.96^2 / 2)
    assert figures["success_low"] == pytest.approx(0.0945, abs=1e-4)


def test_candidates_are_zero_and_draws_of_the_prior_in_the_chosen_modes():
    full = draw_candidates(LatentMap(LatentConfig("full"), (8, 3)), 400, (8, 3), seed=1)
    assert full[0].abs().max() == 0.0 and full.abs().max() <= 3.0
    assert full[1:].square().mean().item() == pytest.approx(0.9927, abs=0.05)
    one = draw_candidates(LatentMap(LatentConfig("subspace", 1), (8, 3)), 400, (8, 3), seed=1)
    assert torch.allclose(one, one[:, :1].expand_as(one), atol=1e-6)  # the first mode is constant over the chunk
    assert one[1:, 0].square().mean().item() == pytest.approx(1 / 8, abs=0.02)  # unit variance along 1 / sqrt(8)


def test_it_finds_the_latent_that_goes_left(tmp_path):
    ticket = search(tmp_path / "run")
    records = read_json_lines(tmp_path / "run" / "metrics.jsonl")
    assert [record["candidates"] for record in records] == [8, 4, 2]
    assert records[-1]["success"] == 1.0 and records[-1]["success_low"] < 1.0
    assert records[-1]["z0_success"] == 0.0 and records[0]["z0_episodes"] == 2
    assert records[-1]["episodes"] == 2 + 4 + 8
    assert 0 < records[-1]["control_steps"] <= 6 * ROLLOUT
    assert ticket.latent.mean() < 0
    summary = read_json(tmp_path / "run" / "run.json")["summary"]
    assert summary["success"] == 1.0 and summary["control_steps"] == records[-1]["control_steps"]


def test_what_was_found_is_said():
    found = {"candidate": 7, "episodes": 52, "success": 0.846, "success_low": 0.725, "success_high": 0.92}
    assert list(ticket_lines(found)) == ["  the best constant latent is candidate 7: 85% of 52 episodes [72%, 92%]"]
    assert "latent is z = 0: 85%" in next(ticket_lines(found | {"candidate": 0}))
    assert not list(ticket_lines({"control_steps": 7}))


def test_all_candidates_of_a_round_play_the_same_seeds(tmp_path):
    seen = []

    class Seen(LeftWorld):
        def reset(self, seeds):
            seen.append(list(seeds))
            return super().reset(seeds)

    search(tmp_path / "run", world=Seen)
    first, second = [*seen[0], *seen[1]], [*seen[2], *seen[3]]
    assert [first.count(seed) for seed in set(first)] == [8, 8]  # 2 seeds, 8 candidates
    assert [second.count(seed) for seed in set(second)] == [4, 4, 4, 4]
    assert not set(first) & set(second)


@pytest.mark.parametrize("stop_at", [0, 1, 2])
def test_resume_is_bit_for_bit(tmp_path, stop_at):
    straight = search(tmp_path / "straight")
    with pytest.raises(Stopped):
        search(tmp_path / "stopped", stop_at=stop_at)
    resumed = search(tmp_path / "stopped")
    assert torch.equal(straight.latent, resumed.latent)
    logs = [read_json_lines(tmp_path / name / "metrics.jsonl") for name in ("straight", "stopped")]
    assert logs[0] == logs[1] and len(logs[0]) == 3


def test_variations_are_as_typical_as_their_parents():
    """sqrt(1 - 0.6^2) = 0.8 of the parent, and 0.6 of fresh noise."""
    parents = torch.stack((torch.full((4, 3), 1.0), torch.full((4, 3), -1.0)))
    varied = vary(LatentMap(LatentConfig("full"), (4, 3)), parents, 4000, 0.6, torch_generator("test"))
    assert varied[::2].mean().item() == pytest.approx(0.8, abs=0.02)
    assert varied[1::2].mean().item() == pytest.approx(-0.8, abs=0.02)
    assert varied.square().mean().item() == pytest.approx(1.0, abs=0.02)


def test_the_surest_have_the_highest_lower_bounds():
    scores = Scores(4)
    scores.episodes, scores.successes = torch.tensor([1, 10, 40, 0]), torch.tensor([1, 9, 36, 0])
    assert scores.surest(3) == [2, 1, 0]  # 36 of 40, 9 of 10, 1 of 1
    scores.extend(2)
    assert scores.episodes.tolist() == [1, 10, 40, 0, 0, 0]


@pytest.mark.parametrize("stop_at", [1, 2])
def test_a_further_generation_resumes_bit_for_bit(tmp_path, stop_at):
    """Two generations of two rounds each: 8 candidates, 3 of them, then the best with 7 variations."""
    given = {"budget": 4 * ROLLOUT, "generations": 2, "parents": 2, "world": LeftWorld}
    straight = search(tmp_path / "straight", **given)
    with pytest.raises(Stopped):
        search(tmp_path / "stopped", stop_at=stop_at, **given)
    assert torch.equal(straight.latent, search(tmp_path / "stopped", **given).latent)
    logs = [read_json_lines(tmp_path / name / "metrics.jsonl") for name in ("straight", "stopped")]
    assert logs[0] == logs[1] and [record["candidates"] for record in logs[0]] == [8, 3, 8, 3]
    assert logs[0][-1]["success"] >= logs[0][1]["success"] - 0.5 and straight.latent.mean() < 0


@pytest.mark.parametrize("rollouts, generations", [(1, 1), (2, 1), (8, 1), (9, 3), (100, 3)])
def test_three_generations_need_three_episodes_of_every_candidate_in_each(rollouts, generations):
    """128 candidates: 1152 episodes, nine roll-outs of 128 environments."""
    assert count_generations(TicketConfig(), rollouts, envs=128) == generations


def test_no_generation_is_without_a_rollout():
    assert count_generations(TicketConfig(), 2, envs=1024) == 2


def test_there_are_no_more_generations_than_rollouts(tmp_path):
    """Two roll-outs: the eight candidates, then the best of them with seven variations."""
    search(tmp_path / "run", budget=2 * ROLLOUT, generations=3)
    records = read_json_lines(tmp_path / "run" / "metrics.jsonl")
    assert [(record["candidates"], record["control_steps"]) for record in records] == [(8, ROLLOUT), (8, 2 * ROLLOUT)]


def test_a_ticket_is_a_policy_of_its_own(tmp_path):
    policy, ticket = ToyPolicy(), search(tmp_path / "run")
    loaded = load_trained(tmp_path / "run" / "steering", policy)
    deciders = compulsory_deciders(policy, loaded)
    assert list(deciders) == ["base", "base_z0", "base_ticket"]
    decision = deciders["base_ticket"].decide(WINDOW, NOISE)
    assert torch.equal(decision.latent, ticket.latent.expand(6, 4, 1))
    assert torch.equal(decision.chunk, policy.decode(policy.encode(WINDOW), decision.latent))


def test_what_cannot_be_searched_is_refused_before_any_work(tmp_path):
    with pytest.raises(ScoreError, match="128 control steps for one roll-out, got 127"):
        search(tmp_path / "budget", budget=ROLLOUT - 1)
    with pytest.raises(ScoreError, match="candidates is 1, expected >= 2"):
        search(tmp_path / "candidates", candidates=1)
    run = start_run(tmp_path / "stages", "steer", CONFIG, {})
    stages = [Stage(ToyWorld(ENVS), ROLLOUT)] * 2
    with pytest.raises(ScoreError, match="in one world, got 2"):
        steer(ToyPolicy(), stages, CONFIG, run, method=METHODS["base_ticket"], options={"candidates": 4})


def session(path, ticket, latent, std=1.0):
    config = replace(CONFIG, latent=latent, start=StartConfig(std=std))
    run = start_run(path, "steer", config, {"training": 0})
    made = loop._Session(ToyPolicy(), [Stage(ToyWorld(4), 1)], config, run, ticket)
    made.prepare()
    return made


@pytest.mark.parametrize("latent", [LatentConfig("full"), LatentConfig("subspace", 1), LatentConfig("subspace", 2)])
def test_ppo_started_at_a_ticket_is_the_ticket_exactly(tmp_path, latent):
    """At the mean; around it, only the chosen modes are explored, with the given standard deviation."""
    policy, ticket = ToyPolicy(), search(tmp_path / "search")
    trained = session(tmp_path / "run", ticket, latent, std=0.25).trained_policy()
    decided = SteeredDecider(policy, trained).decide(WINDOW, NOISE)
    assert torch.equal(decided.latent, ticket.latent.expand(6, 4, 1))
    many = decision_noise(range(2000), 0, (4, 1))
    window = {key: value[:1].expand(2000, -1, -1) for key, value in WINDOW.items()}
    explored = SteeredDecider(policy, trained, deterministic=False).decide(window, many).latent - ticket.latent
    coordinates = LatentMap(latent, (4, 1)).coordinates(explored)
    assert coordinates.std().item() == pytest.approx(0.25, abs=0.02)
    outside = explored - LatentMap(latent, (4, 1)).expand(coordinates)
    assert outside.abs().max().item() == pytest.approx(0.0, abs=1e-5)


def test_a_run_from_a_ticket_can_be_deployed_and_gone_on_from(tmp_path):
    policy, ticket = ToyPolicy(), search(tmp_path / "search")
    config = replace(CONFIG, latent=LatentConfig("subspace", 1), start=StartConfig(std=0.3))

    def learn(name, initial):
        run = start_run(tmp_path / name, "steer", config, {"training": 0})
        return steer(policy, [Stage(LeftWorld(ENVS), 2 * ROLLOUT)], config, run, initial=initial)

    first = learn("first", ticket)
    assert read_json_lines(tmp_path / "first" / "metrics.jsonl")[0]["success"] > 0.5  # z = 0 and half the prior fail
    loaded = load_trained(tmp_path / "first" / "steering", policy)
    chunks = [SteeredDecider(policy, p).decide(WINDOW, NOISE).chunk for p in (first, loaded)]
    assert torch.equal(*chunks)
    assert learn("second", loaded).spec == loaded.spec
