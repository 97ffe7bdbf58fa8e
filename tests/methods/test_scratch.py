"""Unconstrained RL without a base policy, on what the robot sees and on what only the simulator knows."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from toys import ScaledToyPolicy, ToyWorld, decided

from score_rl.contracts import PlainContext
from score_rl.core.errors import ScoreError
from score_rl.core.records import read_json_lines
from score_rl.core.runs import start_run
from score_rl.evaluation.evaluate import evaluate
from score_rl.steering.learning import Sizes
from score_rl.steering.loop import Stage, SteerConfig, steer
from score_rl.steering.methods import METHODS, load_trained
from score_rl.steering.methods.unconstrained import UnconstrainedConfig, shift_head
from score_rl.steering.plan import steering_spec
from score_rl.steering.policy import decision_noise
from score_rl.steering.ppo import PPOConfig
from score_rl.steering.privileged import PrivilegedLearner

CONFIG = SteerConfig(
    execute_steps=4, decisions=4, ppo=PPOConfig(learning_rate=3e-3, hidden=(32,), epochs=4, minibatches=2)
)
SCRATCH = UnconstrainedConfig(centre="data", std=0.25)


class NearWorld(ToyWorld):
    """Goals at +-0.5, so that random pushes reach either of them now and then."""

    def _begin(self, row):
        super()._begin(row)
        self.goal[row] *= 0.5


class Undecodable(ScaledToyPolicy):
    def decode(self, context, latent):
        raise AssertionError("no base policy")


def train(path, options, iterations=10, stop_at=None, envs=32):
    run = start_run(path, "steer", CONFIG, {"training": 0})

    def stop(index, record):
        if index == stop_at:
            raise KeyboardInterrupt

    run.add_listener(stop)
    stages = [Stage(NearWorld(envs), iterations * envs * 16)]
    policy = ScaledToyPolicy()
    return steer(policy, stages, CONFIG, run, method=METHODS["unconstrained"], options=asdict(options))


def test_from_scratch_there_is_no_base_policy():
    """x = std B w: with w = 2 in the constant mode of 4 steps x is 0.25 * 2 / 2, and an action four times that."""
    policy = Undecodable()
    spec = steering_spec(policy, CONFIG, METHODS["unconstrained"], asdict(SCRATCH))
    head = shift_head(spec, SCRATCH, "cpu")
    decision = head.act(policy, PlainContext(torch.zeros(3, 6)), torch.full((3, 1), 2.0), torch.randn(3, 4, 1))
    assert torch.allclose(decision.chunk, torch.ones(3, 4, 1))
    assert decision.latent.abs().max() == 0.0


@pytest.mark.parametrize("observes", ["actor", "privileged"])
def test_it_learns_from_scratch(tmp_path, observes):
    trained = train(tmp_path / "run", UnconstrainedConfig(centre="data", std=0.75, observes=observes), 12)
    records = read_json_lines(tmp_path / "run" / "metrics.jsonl")
    assert records[0]["success"] < 0.5 and records[-1]["success"] > 0.8
    assert dict(trained.spec.privileged) == ({"truth": 2} if observes == "privileged" else {})


def test_a_privileged_policy_acts_in_simulation_only(tmp_path):
    """Its deciders read the truth, which evaluation hands them and a bundle refuses."""
    policy = ScaledToyPolicy()
    options = UnconstrainedConfig(centre="data", std=0.75, observes="privileged")
    trained = train(tmp_path / "run", options, iterations=12)
    loaded = load_trained(tmp_path / "run" / "steering", policy)
    deciders = loaded.deciders(policy)
    assert list(deciders) == ["unconstrained_stoch", "unconstrained_det"]
    decider = deciders["unconstrained_det"]
    assert {key: array.shape for key, array in decider.spec.interface.observation.items()} == {
        "state": (2,),
        "command": (1,),
        "truth": (2,),
    }
    window = {"state": torch.zeros(2, 2, 2), "command": torch.zeros(2, 2, 1)}
    window["truth"] = torch.tensor([[[0.0, 0.0], [0.0, 0.5]], [[0.0, 0.0], [0.0, -0.5]]])
    right, left = decider.decide(window, decision_noise([0, 1], 0, (4, 1))).chunk[:, 0, 0].tolist()
    assert right > 0 > left
    again = trained.deciders(policy)["unconstrained_det"].decide(window, decision_noise([0, 1], 0, (4, 1)))
    assert again.chunk[:, 0, 0].tolist() == [right, left]
    played = evaluate(NearWorld(20), decider, range(40), 4)
    assert sum(episode.success_end for episode in played.episodes) > 30


def test_its_moments_are_those_of_the_first_rollout_and_it_resumes(tmp_path):
    """What is deployed is normalised as what the last update learned from."""
    options = UnconstrainedConfig(centre="data", std=0.75, observes="privileged")
    first = train(tmp_path / "first", options, 1, envs=8).actor.moments
    last = train(tmp_path / "straight", options, 3, envs=8).actor.moments
    assert first.count == 8 * CONFIG.decisions and first.mean.abs().max() > 0
    assert torch.equal(first.mean, last.mean) and torch.equal(first.variance, last.variance)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", options, 3, stop_at=1, envs=8)
    train(tmp_path / "stopped", options, 3, envs=8)
    files = [(tmp_path / name / "steering" / "steering.safetensors").read_bytes() for name in ("straight", "stopped")]
    assert files[0] == files[1]


def test_the_first_update_learns_from_normalised_inputs():
    """Two inputs a thousand apart: the actor's context has mean 0 and, but for the floor, variance 1."""
    sizes = Sizes(context=6, critic=2, action=1, envs=4, decisions=1)
    learner = PrivilegedLearner(sizes, CONFIG.ppo, 4, "cpu")
    truth = torch.tensor([[0.0, 1000.0], [2.0, 3000.0], [0.0, 1000.0], [2.0, 3000.0]])
    learner.act(PlainContext(torch.zeros(4, 6)), truth)
    never = torch.zeros(4, dtype=torch.bool)
    learner.record(decided(torch.ones(4), never, never, torch.full((4,), 4)), truth)
    learner.learner.update = lambda last_critic, elapsed: {}  # keeps the rollout that it is given
    learner.update(truth)
    expected = torch.tensor([[-1 / 1.01, -1000 / 1000.01], [1 / 1.01, 1000 / 1000.01]] * 2)
    assert torch.allclose(learner.learner.rollout["context"][0], expected)


def test_settings_that_cannot_work():
    method, policy = METHODS["unconstrained"], ScaledToyPolicy()
    for options, message in ({"observes": "all"}, "privileged"), ({"centre": "datum"}, "data"):
        spec = steering_spec(policy, CONFIG, method, {**asdict(SCRATCH), **options})
        with pytest.raises(ScoreError, match=message):
            method.check(policy, spec, False)
    shift = asdict(UnconstrainedConfig(observes="privileged"))
    spec = steering_spec(policy, CONFIG, METHODS["bc_regularized"], {"coefficient": 1.0, "batch": 8, "shift": shift})
    with pytest.raises(ScoreError, match="observes must be actor"):
        METHODS["bc_regularized"].check(policy, spec, True)
