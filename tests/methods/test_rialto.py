"""RialTo: which decisions are lessons, its three phases, and what it deploys."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from toys import LearnableToyPolicy, ToyWorld

from score_rl.core.errors import ScoreError
from score_rl.core.records import read_json, read_json_lines
from score_rl.core.runs import start_run
from score_rl.steering.latent import LatentConfig
from score_rl.steering.loop import Stage, SteerConfig, steer
from score_rl.steering.methods import METHODS
from score_rl.steering.methods.rialto import RialtoConfig, phase_lengths, successful
from score_rl.steering.plan import check, check_learner
from score_rl.steering.policy import decision_noise
from score_rl.steering.ppo import PPOConfig

CONFIG = SteerConfig(
    execute_steps=4,
    decisions=4,
    latent=LatentConfig("subspace", 1),
    ppo=PPOConfig(learning_rate=3e-3, hidden=(32,), epochs=4, minibatches=2),
)
OPTIONS = asdict(
    RialtoConfig(
        collect_share=0.25,
        distil_share=0.25,
        clone_steps=80,
        distil_steps=150,
        learning_rate=5e-3,
        batch=64,
        coefficient=0.1,
    )
)


def test_lessons_are_the_decisions_of_episodes_that_ended_in_success():
    """Columns: an episode won at decision 1, then one cut off; one lost at 0, then one won at 2."""
    done = torch.tensor([[0, 1], [1, 0], [0, 1], [0, 0]]).bool()
    success = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 0]]).bool()  # success before an end does not count
    expected = torch.tensor([[1, 0], [1, 1], [0, 1], [0, 0]]).bool()
    assert torch.equal(successful(done, success), expected)


def test_phases_are_shares_of_the_budget():
    config = RialtoConfig(collect_share=0.1, distil_share=0.2)
    assert phase_lengths(config, 30) == (3, 6)
    assert phase_lengths(config, 3) == (1, 1)
    with pytest.raises(ScoreError, match="the budget has 2 in all"):
        phase_lengths(config, 2)


def test_what_its_learner_refuses_is_known_before_a_run_is_open():
    policy = LearnableToyPolicy()
    enough, few = ([Stage(ToyWorld(64), iterations * 64 * 16)] for iterations in (3, 2))
    spec = check(policy, enough, CONFIG, METHODS["rialto"], OPTIONS)
    check_learner(policy, enough, CONFIG, METHODS["rialto"], spec)
    with pytest.raises(ScoreError, match="the budget has 2 in all"):
        check_learner(policy, few, CONFIG, METHODS["rialto"], spec)


def train(path, iterations=8, options=OPTIONS):
    policy = LearnableToyPolicy()
    run = start_run(path, "steer", CONFIG, {"training": 0})
    stages = [Stage(ToyWorld(64), iterations * 64 * 16)]
    before = policy.fingerprint()
    trained = steer(policy, stages, CONFIG, run, method=METHODS["rialto"], options=options)
    assert policy.fingerprint() == before
    return trained


@pytest.mark.parametrize("teacher", ["privileged", "actor"])
def test_it_improves_on_the_base_policy_and_deploys_a_new_flow(tmp_path, teacher):
    trained = train(tmp_path / "run", options={**OPTIONS, "teacher": teacher})
    records = read_json_lines(tmp_path / "run" / "metrics.jsonl")
    collected, taught = [r["demonstrations"] for r in records], [r["lessons"] for r in records]
    assert 0 < collected[0] < collected[1] == collected[-1]  # 2 of 8 iterations
    assert taught[5] == 0 < taught[6] < taught[7]  # the last 2
    assert records[0]["success"] < 0.25 and records[-1]["success"] > 0.6
    assert ["kl" in record for record in records] == [False] * 2 + [True] * 4 + [False] * 2
    summary = read_json(tmp_path / "run" / "run.json")["summary"]
    assert summary["distilled"] == taught[-1] and summary["distilled_from_teacher"] is True
    deciders = trained.deciders(LearnableToyPolicy())
    assert list(deciders) == ["rialto_stoch", "rialto_det"]
    window = {"state": torch.tensor([[[0.0, 1.0]] * 2, [[0.0, -1.0]] * 2]), "command": torch.zeros(2, 2, 1)}
    right, left = deciders["rialto_det"].decide(window, decision_noise(range(2), 0, (4, 1))).chunk[:, 0, 0].tolist()
    assert right > 0.3 and left < -0.3


def test_without_any_success_there_is_nothing_to_distil(tmp_path):
    class Hopeless(ToyWorld):
        def _begin(self, row):
            super()._begin(row)
            self.goal[row] = 9.0

    policy = LearnableToyPolicy()
    run = start_run(tmp_path / "run", "steer", CONFIG, {"training": 0})
    steer(policy, [Stage(Hopeless(8), 3 * 8 * 16)], CONFIG, run, method=METHODS["rialto"], options=OPTIONS)
    assert run.summary["distilled"] == 0


def test_settings_that_cannot_work(tmp_path):
    for options, message in ({"teacher": "privilege"}, "privileged"), ({"batch": 0}, "batch is 0, expected >= 1"):
        with pytest.raises(ScoreError, match=message):
            train(tmp_path / message, options={**OPTIONS, **options})
    with pytest.raises(ScoreError, match="the budget has 2 in all"):
        train(tmp_path / "short", iterations=2)
