"""Every method in the one training loop: its start, learning, bundles, and resuming to the same bits."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import torch
from toys import LearnableToyPolicy, ScaledToyPolicy, ToyWorld

from score_rl.core.errors import ScoreError
from score_rl.core.records import read_json, read_json_lines
from score_rl.core.runs import start_run
from score_rl.data.windows import WindowBatch
from score_rl.steering import loop as score
from score_rl.steering.config import Stage, SteerConfig
from score_rl.steering.loop import steer
from score_rl.steering.methods import METHODS, load_trained
from score_rl.steering.methods.bc_regularized import BCConfig
from score_rl.steering.methods.best_of_n import BestOfNConfig
from score_rl.steering.methods.fpo import FPOConfig
from score_rl.steering.methods.residual import ResidualConfig
from score_rl.steering.methods.rialto import RialtoConfig
from score_rl.steering.methods.unconstrained import UnconstrainedConfig
from score_rl.steering.policy import BaseDecider, compulsory_deciders, decision_noise, load_steering
from score_rl.steering.ppo import PPOConfig

CONFIG = SteerConfig(
    execute_steps=4, decisions=4, ppo=PPOConfig(learning_rate=3e-3, hidden=(32,), epochs=4, minibatches=2)
)
ENVS = 32
ITERATION = ENVS * 4 * 4
TIMED = {"environment_s", "policy_s", "learner_s", "steps_per_second"}
OPTIONS = {
    "score": {},
    "residual": asdict(ResidualConfig(scale=1.0)),  # the toy's actions are as large as that
    "score_residual": asdict(ResidualConfig()),
    "unconstrained": asdict(UnconstrainedConfig()),
    "bc_regularized": asdict(BCConfig(coefficient=1.0, batch=8)),
    "best_of_n": asdict(BestOfNConfig(n=4, base_iterations=2, memory=3)),
    "fpo": asdict(FPOConfig(draws=2)),
    "rialto": asdict(RialtoConfig(clone_steps=5, distil_steps=5, batch=8)),
}
POLICIES = {"fpo": LearnableToyPolicy, "rialto": LearnableToyPolicy}
LEARNED = [name for name in METHODS if name != "base_ticket"]  # which has its own tests
WINDOW = {"state": torch.randn(64, 2, 2), "command": torch.randn(64, 2, 1)}
NOISE = decision_noise(range(64), 0, (4, 1))


def demonstrations(action=-1.0, n=40):
    """Somebody who always pushes to the left; behind the end of an episode the labels make no sense."""
    generator = torch.Generator().manual_seed(0)
    window = {"state": torch.randn(n, 2, 2, generator=generator), "command": torch.zeros(n, 2, 1)}
    chunk, is_pad = torch.full((n, 4, 1), action), torch.zeros(n, 4, dtype=torch.bool)
    chunk[:10, 2:], is_pad[:10, 2:] = 1e4, True
    return WindowBatch(window, chunk, is_pad)


def train(path, method, iterations, stop_at=None, config=CONFIG, options=None, envs=ENVS):
    run = start_run(path, "steer", config, {"training": config.seed})

    def stop(index, record):
        if record["iteration"] == stop_at:
            raise KeyboardInterrupt

    run.add_listener(stop)
    return steer(
        POLICIES.get(method, ScaledToyPolicy)(),
        [Stage(ToyWorld(envs), iterations * envs * 4 * 4)],
        config,
        run,
        method=METHODS[method],
        options=OPTIONS[method] if options is None else options,
        demonstrations=demonstrations(),
    )


def untrained(path, method, config=CONFIG):
    run = start_run(path, "steer", config, {"training": config.seed})
    stages = [Stage(ToyWorld(4), 1)]
    session = score._Session(
        ScaledToyPolicy(), stages, config, run, None, METHODS[method], OPTIONS[method], demonstrations()
    )
    return session.trained_policy()


@pytest.mark.parametrize(
    ("method", "zero"),
    [("residual", False), ("unconstrained", True), ("bc_regularized", True), ("score_residual", True)],
)
def test_iteration_zero_is_a_control_at_the_mean(tmp_path, method, zero):
    """The mean starts at the base policy (residual), else at its chunk of latent 0."""
    policy = ScaledToyPolicy()
    decider = untrained(tmp_path / "run", method).deciders(policy)[f"{method}_det"]
    reference = BaseDecider(policy, zero=zero).decide(WINDOW, NOISE)
    assert torch.allclose(decider.decide(WINDOW, NOISE).chunk, reference.chunk, atol=1e-6)


def test_before_training_a_sampled_residual_is_the_base_policy_and_its_exploration(tmp_path):
    policy = ScaledToyPolicy()
    decider = untrained(tmp_path / "run", "residual").deciders(policy)["residual_stoch"]
    difference = decider.decide(WINDOW, NOISE).chunk - BaseDecider(policy).decide(WINDOW, NOISE).chunk
    assert torch.allclose(difference, difference[:, :1].expand_as(difference), atol=1e-5)
    assert difference[:, 0].std().item() == pytest.approx(1.0, abs=0.25)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "least"), [("residual", 0.8), ("unconstrained", 0.8), ("score_residual", 0.8), ("best_of_n", 0.55)]
)
def test_it_learns_what_the_base_policy_does_not_know(tmp_path, method, least):
    iterations = 14
    many = asdict(BestOfNConfig(n=8, base_iterations=4, memory=14, epochs=6)) if method == "best_of_n" else None
    train(tmp_path / "run", method, iterations, options=many)
    records = read_json_lines(tmp_path / "run" / "metrics.jsonl")
    assert records[0]["success"] < 0.55
    assert records[-1]["success"] > least
    assert records[-1]["control_steps"] == iterations * ITERATION


@pytest.mark.slow
@pytest.mark.parametrize("method", [name for name in LEARNED if name != "score"])
def test_resume_is_bit_for_bit(tmp_path, method):
    train(tmp_path / "straight", method, 5, envs=8)
    for stop_at in (0, 2, 4):  # before any checkpoint, in the middle, in the last iteration
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "stopped", method, 5, stop_at, envs=8)
    train(tmp_path / "stopped", method, 5, envs=8)
    logs = [read_json_lines(tmp_path / name / "metrics.jsonl") for name in ("straight", "stopped")]
    logs = [[{key: value for key, value in record.items() if key not in TIMED} for record in log] for log in logs]
    assert logs[0] == logs[1] and len(logs[0]) == 5
    files = [(tmp_path / name / "steering" / "steering.safetensors").read_bytes() for name in ("straight", "stopped")]
    assert files[0] == files[1]


@pytest.mark.parametrize("method", LEARNED)
def test_a_bundle_says_which_method_it_is(tmp_path, method):
    iterations = 3 if method == "rialto" else 1
    trained, policy = train(tmp_path / "run", method, iterations, envs=4), POLICIES.get(method, ScaledToyPolicy)()
    bundle = tmp_path / "run" / "steering"
    assert read_json(bundle / "steering.json")["spec"]["method"] == method
    loaded = load_trained(bundle, policy)
    assert loaded.spec == trained.spec
    names = ["best_of_n"] if method == "best_of_n" else [f"{method}_stoch", f"{method}_det"]
    deciders = compulsory_deciders(policy, loaded)
    assert list(deciders) == ["base", "base_z0", *names]
    for name in names:
        chunks = [p.deciders(policy)[name].decide(WINDOW, NOISE).chunk for p in (loaded, trained)]
        assert torch.equal(*chunks)
        assert deciders[name].spec == policy.spec
    if method != "score":
        with pytest.raises(ScoreError, match=f"unknown method '{method}'"):
            load_steering(bundle, policy)
    # A finished run gives back the same policy without another step.
    assert train(tmp_path / "run", method, iterations, envs=4).spec == trained.spec


def test_without_a_cloning_loss_it_is_unconstrained_exactly(tmp_path):
    off = {"coefficient": 0.0, "batch": 8, "shift": OPTIONS["unconstrained"]}
    policies = [
        train(tmp_path / "free", "unconstrained", 3, envs=8),
        train(tmp_path / "off", "bc_regularized", 3, options=off, envs=8),
        train(tmp_path / "on", "bc_regularized", 3, envs=8),
    ]
    free, off, on = (policy.actor.state_dict() for policy in policies)
    assert all(torch.equal(free[name], off[name]) for name in free)
    assert not all(torch.equal(free[name], on[name]) for name in free)
    logs = [read_json_lines(tmp_path / name / "metrics.jsonl") for name in ("free", "off")]
    logs = [[{key: value for key, value in record.items() if key not in TIMED} for record in log] for log in logs]
    assert logs[0] == logs[1]


def test_a_strong_cloning_loss_makes_it_do_as_the_demonstrations_do(tmp_path):
    strong = {"coefficient": 1e4, "batch": 32, "shift": OPTIONS["unconstrained"]}
    trained = train(tmp_path / "run", "bc_regularized", 12, options=strong, envs=8)
    policy = ScaledToyPolicy()
    decider = trained.deciders(policy)["bc_regularized_det"]
    chunk = decider.decide(demonstrations().observation, torch.zeros(40, 4, 1)).chunk
    assert chunk.mean().item() == pytest.approx(-1.0, abs=0.1)  # the chunk of latent 0 pushes by +1
    records = read_json_lines(tmp_path / "run" / "metrics.jsonl")
    assert records[-1]["bc_loss"] < 0.1 * records[0]["bc_loss"]


@pytest.mark.parametrize("name", ["residual", "best_of_n"])
def test_the_hinge_is_of_the_latent_and_so_of_score_alone(tmp_path, name):
    records = []
    for coefficient in (0.0, 10.0):
        config, out = replace(CONFIG, hinge_coefficient=coefficient), tmp_path / str(coefficient)
        train(out, name, 2, config=config)
        records.append(
            [{k: v for k, v in r.items() if k not in TIMED} for r in read_json_lines(out / "metrics.jsonl")]
        )
    assert records[0] == records[1]


def test_a_residual_per_step_with_layer_norm(tmp_path):
    """It decides at every control step; its bundle says that the actor is normalised, and loads as such."""
    config = replace(CONFIG, execute_steps=1, decisions=16, ppo=replace(CONFIG.ppo, layer_norm=True))
    trained = train(tmp_path / "run", "residual", 1, config=config, envs=4)
    loaded = load_trained(tmp_path / "run" / "steering", ScaledToyPolicy())
    assert loaded.spec == trained.spec and loaded.spec.layer_norm and loaded.spec.execute_steps == 1
    chunks = [p.deciders(ScaledToyPolicy())["residual_det"].decide(WINDOW, NOISE).chunk for p in (loaded, trained)]
    assert torch.equal(*chunks)
