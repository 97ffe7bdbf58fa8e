"""FPO: its objective by hand, and that it fine-tunes a copy of the flow."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import pytest
import torch
from toys import LearnableToyPolicy, ToyPolicy, ToyWorld

from score_rl.core.errors import ScoreError
from score_rl.core.records import read_json_lines
from score_rl.core.runs import start_run
from score_rl.steering.learning import Sizes
from score_rl.steering.loop import Stage, SteerConfig, steer
from score_rl.steering.methods import METHODS
from score_rl.steering.methods.fpo import FPOConfig, FPOLearner, surrogate
from score_rl.steering.plan import steering_spec
from score_rl.steering.policy import BaseDecider, decision_noise
from score_rl.steering.ppo import PPOConfig

CONFIG = SteerConfig(execute_steps=4, decisions=4, ppo=PPOConfig(hidden=(32,), epochs=4, minibatches=2))
FAST = asdict(FPOConfig(learning_rate=0.02, clip=0.2, draws=2))


def test_every_draw_is_clipped_by_itself():
    ratio = torch.tensor([[1.02, 0.97], [1.02, 0.97]])
    objective = surrogate(ratio, torch.tensor([1.0, -1.0]), clip=0.01)
    assert torch.allclose(objective, torch.tensor([[1.01, 0.97], [-1.02, -0.99]]))


def test_the_asymmetric_region_pulls_back_where_the_advantage_is_negative():
    ratio = torch.tensor([[1.02], [0.97]])
    gain = surrogate(ratio, torch.tensor([1.0, 1.0]), 0.01, "asymmetric")
    loss = surrogate(ratio, torch.tensor([-1.0, -1.0]), 0.01, "asymmetric")
    assert torch.allclose(gain, torch.tensor([[1.01], [0.97]]))
    # -1.02 - 0.02^2 / 0.02 and -0.97 - 0.03^2 / 0.02
    assert torch.allclose(loss, torch.tensor([[-1.04], [-1.015]]))


def learner(options, policy=None):
    policy = policy or LearnableToyPolicy()
    spec = steering_spec(policy, CONFIG, METHODS["fpo"], options)
    sizes = Sizes(context=6, critic=2, action=4, envs=2, decisions=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FPOLearner(sizes, CONFIG.ppo, policy, spec, "cpu")


def test_the_ratio_is_that_of_the_likelihoods_where_the_loss_is_one():
    """m moves from 0 to 0.5: for x = 1 the loss falls from 1 to 0.25, for x = -1 it grows to 2.25."""
    made = learner(FAST)
    x = torch.tensor([1.0, -1.0]).view(2, 1, 1).expand(2, 4, 1)
    data = {"x": x, "noise": torch.randn(2, 2, 4, 1), "t": torch.rand(2, 2)}
    data |= {"window.state": torch.zeros(2, 2, 2), "window.command": torch.zeros(2, 2, 1)}
    rows = torch.arange(2)
    with torch.no_grad():
        old = made._losses(data, rows)
        made.actor.mean.bias.fill_(0.5)
        ratio = (old - made._losses(data, rows)).exp()
    expected = torch.tensor([[math.exp(0.75)] * 2, [math.exp(-1.25)] * 2])
    assert torch.allclose(ratio, expected)


def train(path, iterations, options=FAST, config=CONFIG):
    run = start_run(path, "steer", config, {"training": 0})
    stages = [Stage(ToyWorld(64), iterations * 64 * 16)]
    policy = LearnableToyPolicy()
    before = policy.fingerprint()
    trained = steer(policy, stages, config, run, method=METHODS["fpo"], options=options)
    assert policy.fingerprint() == before  # the base policy stays frozen
    return trained


def test_it_starts_as_the_base_policy():
    made, policy = learner(FAST), LearnableToyPolicy()
    assert all(torch.equal(made.actor.state_dict()[name], value) for name, value in policy.state_dict().items())


def test_it_learns_and_deploys_its_own_flow(tmp_path):
    trained = train(tmp_path / "run", 22)
    records = read_json_lines(tmp_path / "run" / "metrics.jsonl")
    assert records[0]["success"] < 0.25
    assert records[-1]["success"] > records[0]["success"] + 0.3
    deciders = trained.deciders(LearnableToyPolicy())
    assert list(deciders) == ["fpo_stoch", "fpo_det"]
    window = {"state": torch.tensor([[[0.0, 1.0]] * 2, [[0.0, -1.0]] * 2]), "command": torch.zeros(2, 2, 1)}
    noise = decision_noise(range(2), 0, (4, 1))
    right, left = deciders["fpo_det"].decide(window, noise).chunk[:, 0, 0].tolist()
    assert right > 0.3 and left < -0.3
    base = BaseDecider(LearnableToyPolicy(), zero=True).decide(window, noise).chunk
    assert base.abs().max() == 0.0


def test_decisions_that_fill_no_minibatch_sit_a_pass_out(tmp_path):
    """64 x 4 decisions are 5 x 51 and one: advantages of one decision cannot be normalised."""
    made = learner(FAST)
    made.minibatch = 51
    assert [len(rows) for rows in made._minibatches(256)] == [51] * 5
    train(tmp_path / "run", 2, config=replace(CONFIG, ppo=replace(CONFIG.ppo, minibatches=5)))
    records = read_json_lines(tmp_path / "run" / "metrics.jsonl")
    assert all(math.isfinite(record["surrogate_loss"]) for record in records)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"clip": 0.0}, "clip is 0.0, expected > 0"), ({"trust_region": "clipp"}, "clip")],
)
def test_settings_that_cannot_work(options, message):
    policy = LearnableToyPolicy()
    spec = steering_spec(policy, CONFIG, METHODS["fpo"], {**FAST, **options})
    with pytest.raises(ScoreError, match=message):
        METHODS["fpo"].check(policy, spec, False)


def test_a_policy_that_cannot_be_trained_is_refused():
    spec = steering_spec(ToyPolicy(), CONFIG, METHODS["fpo"], FAST)
    with pytest.raises(ScoreError, match="ToyPolicy has no normalize, denormalize, matching_error"):
        METHODS["fpo"].check(ToyPolicy(), spec, False)
