"""How much there is to choose: the base policy's spread per state, by hand, and in an evaluation's records."""

from __future__ import annotations

import pytest
import torch
from toys import ScaledToyPolicy, ToyWorld

from score_rl.core.errors import ScoreError
from score_rl.core.records import validate
from score_rl.core.runs import start_run
from score_rl.evaluation.results import Labels
from score_rl.evaluation.run import EvaluateConfig, read_traces, run_evaluation
from score_rl.evaluation.spread import SpreadConfig, chunk_spread, spread_fields
from score_rl.report.spread_section import spread_section
from score_rl.steering.heads import Decision
from score_rl.steering.policy import BaseDecider


class Drawn:
    """Step j of a chunk is the state plus j times the noise: its spread is j, wherever it is."""

    def __init__(self, policy):
        self.spec, self.policy = policy.spec, policy

    def decide(self, window, noise):
        steps = torch.arange(4.0).view(1, 4, 1)
        return Decision(window["state"][:, -1:, :1] + steps * noise[:, :1], noise)


def window(n):
    return {"state": 100 * torch.randn(n, 2, 2), "command": torch.randn(n, 2, 1)}


def test_it_is_the_deviation_within_a_state_and_the_mean_over_states():
    found = chunk_spread(Drawn(ScaledToyPolicy()), window(50), SpreadConfig(states=40, samples=200))
    assert found["action"].shape == (4, 1)
    assert torch.allclose(found["action"].flatten(), torch.arange(4.0), atol=0.03)  # not the 100 between states
    assert torch.allclose(found["normalized"], found["action"] / 4.0)
    assert spread_fields({f"spread.{name}": value for name, value in found.items()}) == {
        "spread_action": pytest.approx(1.5, abs=0.02),
        "spread_normalized": pytest.approx(0.375, abs=0.005),
        "spread_states": 40,
        "spread_samples": 200,
    }
    assert spread_fields({}) == {}


def test_few_states_are_all_taken_and_the_draws_are_always_the_same():
    states = window(3)
    first, second = (chunk_spread(Drawn(ScaledToyPolicy()), states, SpreadConfig()) for _ in range(2))
    assert int(first["states"]) == 3 and torch.equal(first["action"], second["action"])


def test_an_evaluation_reports_it_for_the_base_policy(tmp_path):
    policy, config = ScaledToyPolicy(), EvaluateConfig(episodes=6, num_envs=4, traced=1)
    deciders = {"base": BaseDecider(policy), "base_z0": BaseDecider(policy, zero=True)}
    labels = {name: Labels("toy", "base", name, "toy") for name in deciders}
    run = start_run(tmp_path / "run", "evaluate", config, {})
    base, zero = run_evaluation(ToyWorld(4), deciders, labels, 4, config, run)
    # left or right, by 1 each: half the draws to either side
    assert 0.9 < base["spread_action"] < 1.1 and base["spread_normalized"] == pytest.approx(base["spread_action"] / 4)
    assert base["spread_samples"] == 16 and 6 <= base["spread_states"] <= 24
    assert "spread_action" not in zero
    traces, names = read_traces(tmp_path / "run")
    page = spread_section(
        [base, zero], {name: {k: v.numpy() for k, v in t.items()} for name, t in traces.items()}, names
    )
    assert "<svg" in page and "base, z = 0" in page and "points" in page
    assert spread_section([zero], {}, names) == ""


def test_it_can_be_left_out_and_bad_settings_are_refused(tmp_path):
    policy = ScaledToyPolicy()
    config = EvaluateConfig(episodes=2, num_envs=2, traced=0, spread=SpreadConfig(states=0))
    run = start_run(tmp_path / "run", "evaluate", config, {})
    labels = {"base": Labels("toy", "base", "base", "toy")}
    (record,) = run_evaluation(ToyWorld(2), {"base": BaseDecider(policy)}, labels, 4, config, run)
    assert "spread_action" not in record
    with pytest.raises(ScoreError, match="samples is 1, expected >= 2"):
        validate(SpreadConfig(samples=1))
