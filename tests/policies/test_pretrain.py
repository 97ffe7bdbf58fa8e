"""Training on a tiny dataset: deterministic, resumable, honest about bad input."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import vectors

from score_rl.core.errors import ScoreError
from score_rl.core.records import read_json_lines
from score_rl.core.runs import start_run
from score_rl.data.dataset import load_dataset
from score_rl.policies.flow import train as train_module
from score_rl.policies.flow.networks import NetworkConfig
from score_rl.policies.flow.policy import FlowConfig, PolicyConfig, load_policy, load_provenance
from score_rl.policies.flow.representation import FlowContext, RepresentationConfig
from score_rl.policies.flow.train import PretrainConfig, learning_rate, pretrain, with_noise

DOOR = Path(__file__).parents[3] / "shared" / "data" / "adroit_door_human"

POLICY = PolicyConfig(
    RepresentationConfig(keys=("state", "command"), history=2, horizon=4, action="relative"),
    NetworkConfig(widths=(16, 16), time_features=8),
    FlowConfig(width=0.5),
)
CONFIG = PretrainConfig(
    policy=POLICY,
    steps=20,
    batch_size=16,
    warmup_steps=5,
    observation_noise={"state": 0.1},
    held_out_fraction=0.2,
    log_every=1,
    validate_every=10,
    checkpoint_every=5,
)


def train(directory, dataset, config=CONFIG):
    return pretrain(dataset, config, start_run(directory, "pretrain", config, {"seed": config.seed}))


def start(dataset, config):
    """State before the first step, and the training windows."""
    spec = train_module.policy_spec(dataset, config)
    windows, _ = train_module.split_windows(dataset, spec, config)
    return train_module.initial_state(spec, windows, config), windows


class Killed(BaseException):
    """Stands for the process dying."""


def kill_at(monkeypatch, step):
    """Die before the given step."""
    original = train_module.train_step

    def dying(state, *arguments):
        if state.step == step:
            raise Killed
        return original(state, *arguments)

    monkeypatch.setattr(train_module, "train_step", dying)


def test_resume_is_bit_exact(dataset, tmp_path, monkeypatch):
    whole = train(tmp_path / "whole", dataset)
    for step in (3, 12, 15):  # before the first checkpoint, between two, right behind one
        with monkeypatch.context() as patch:
            kill_at(patch, step)
            with pytest.raises(Killed):
                train(tmp_path / "killed", dataset)
    resumed = train(tmp_path / "killed", dataset)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert read_json_lines(tmp_path / "killed" / "metrics.jsonl") == read_json_lines(
        tmp_path / "whole" / "metrics.jsonl"
    )
    assert (tmp_path / "killed" / "policy.safetensors").read_bytes() == (
        tmp_path / "whole" / "policy.safetensors"
    ).read_bytes()


def test_a_finished_run_is_reused(dataset, tmp_path, monkeypatch):
    trained = train(tmp_path, dataset)
    kill_at(monkeypatch, 0)
    again = train(tmp_path, dataset)
    assert torch.equal(again.network.head.weight, trained.network.head.weight)


def test_leaves_a_bundle_with_its_origin_and_a_log(dataset, tmp_path):
    policy = train(tmp_path, dataset)
    loaded = load_policy(tmp_path)
    assert torch.equal(loaded.network.head.weight, policy.network.head.weight)
    assert dict(policy.spec.interface.observation) == vectors(state=4, command=2)
    assert policy.spec.latent_shape == (4, 2) and policy.spec.interface.control_rate_hz == 10.0
    assert (policy.spec.interface.action.unit, policy.spec.interface.action_names) == (
        "rad",
        ("action_0", "action_1"),
    )
    provenance = load_provenance(tmp_path)
    assert provenance["dataset"]["episodes"] == 5 and len(provenance["dataset"]["sha256"]) == 64
    assert provenance["training"]["observation_noise"] == {"state": 0.1}
    log = read_json_lines(tmp_path / "metrics.jsonl")
    assert [r["step"] for r in log if "loss" in r] == list(range(1, 21))
    assert [r["step"] for r in log if "held_out_loss" in r] == [10, 20]
    assert all(math.isfinite(r["action_error"]) for r in log if "held_out_loss" in r)


def test_seeds_differ_and_the_global_generator_is_left_alone(dataset, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = train(tmp_path / "0", dataset)
    assert torch.rand(1) == expected
    second = train(tmp_path / "1", dataset, replace(CONFIG, seed=1))
    assert not torch.equal(first.network.head.weight, second.network.head.weight)


@pytest.mark.slow
def test_learns_two_modes(dataset, tmp_path):
    # Every episode holds one of two constant actions, -1 or +1, which the observation does not reveal: the
    # policy must sample both, not their mean.
    columns = {name: np.zeros_like(column) for name, column in dataset.columns.items()}
    for episode, (start, end) in enumerate(zip(dataset.starts, dataset.ends)):
        columns["action"][start:end] = -1.0 if episode % 2 else 1.0
    policy = PolicyConfig(
        RepresentationConfig(keys=("state",), horizon=2), NetworkConfig(widths=(64, 64)), FlowConfig(width=0.05)
    )
    config = PretrainConfig(policy=policy, steps=1200, batch_size=64, held_out_fraction=0.0, learning_rate=3e-3)
    policy = train(tmp_path, replace(dataset, columns=columns), config)
    latent = torch.randn(400, 2, 2, generator=torch.Generator().manual_seed(0))
    actions = policy.decode(FlowContext(torch.zeros(400, 4), None), latent).mean((1, 2))
    assert (actions.abs() - 1.0).abs().mean() < 0.15
    assert 0.3 < (actions > 0).float().mean() < 0.7


def test_padding_does_not_enter_the_loss(dataset, tmp_path):
    # Labels behind the episode's end are masked: what they are can not matter.
    state, windows = start(dataset, CONFIG)
    batch = windows.all()
    other = replace(batch, action=torch.where(batch.is_pad[..., None], 9.0, batch.action))
    losses = [
        train_module.flow_loss(state.policy, b.observation, b, CONFIG, torch.Generator().manual_seed(0))
        for b in (batch, other)
    ]
    assert batch.is_pad.any() and torch.isfinite(losses[0])
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)


def test_learning_rate_by_hand():
    config = PretrainConfig(learning_rate=1.0, warmup_steps=10, steps=110)
    assert [learning_rate(config, step) for step in (0, 4, 10, 60)] == pytest.approx([0.1, 0.5, 1.0, 0.5])
    assert learning_rate(config, 110) == pytest.approx(0.0)


def test_noise_is_one_offset_for_all_frames():
    window = {"state": torch.zeros(2000, 3, 2), "command": torch.zeros(2000, 3, 2)}
    noisy = with_noise(window, {"state": 0.5}, torch.Generator().manual_seed(0))
    assert torch.equal(noisy["state"][:, 0], noisy["state"][:, 2])
    assert noisy["state"].std().item() == pytest.approx(0.5, rel=0.05)
    assert noisy["command"] is window["command"]


def test_loss_weightings_by_hand(dataset):
    # A zero network predicts w(t) x: the weighted loss is the mean of the squared residual divided by c(t)^2.
    state, windows = start(dataset, CONFIG)
    batch = windows.batch(torch.tensor([0]))  # the start of an episode: no padding
    losses = [
        train_module.flow_loss(
            state.policy,
            batch.observation,
            batch,
            replace(CONFIG, loss_weighting=weighting),
            torch.Generator().manual_seed(0),
        ).item()
        for weighting in ("velocity", "network")
    ]
    generator = torch.Generator().manual_seed(0)
    noise, t = torch.randn(1, 4, 2, generator=generator), torch.rand(1, generator=generator).item()
    data = state.policy.normalize(state.policy.encode(batch.observation), batch.action)
    variance = (1 - t) ** 2 + (0.5 * t) ** 2
    residual = ((1 - t) * data - 0.25 * t * noise) / variance
    scale = math.sqrt((1 - t) ** 2 + (0.25 * t) ** 2) / variance
    expected = residual.square().mean().item()
    assert losses == pytest.approx([expected, expected / scale**2], rel=1e-4)


@pytest.mark.skipif(not DOOR.exists(), reason="the human demonstrations are not here")
def test_learns_from_human_demonstrations(tmp_path):
    config = PretrainConfig(
        policy=PolicyConfig(RepresentationConfig(keys=("state",)), NetworkConfig(widths=(64, 64))),
        action_units="normalised",
        steps=200,
        validate_every=100,
    )
    policy = train(tmp_path, load_dataset(DOOR), config)
    assert {key: one.shape for key, one in policy.spec.interface.observation.items()} == {"state": (39,)}
    assert policy.spec.latent_shape == (8, 28)
    errors = [r["action_error"] for r in read_json_lines(tmp_path / "metrics.jsonl") if "action_error" in r]
    assert errors[-1] < errors[0] and errors[-1] < 0.3  # the actions span [-1, 1]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (replace(CONFIG, steps=0), "steps"),
        (replace(CONFIG, loss_weighting="netwrok"), "did you mean 'network'"),
        (replace(CONFIG, grad_norm=-1.0), "grad_norm is -1.0, expected > 0"),
        (replace(CONFIG, ema_max=2.0), "ema_max is 2.0, expected >= 0 and < 1"),
        (replace(CONFIG, observation_noise={"stat": 0.1}), "'stat'; did you mean 'state'\\? Choices: command, state"),
        (replace(CONFIG, policy=replace(POLICY, flow=FlowConfig(width=0.0))), "width"),
        (
            replace(CONFIG, policy=replace(POLICY, representation=RepresentationConfig(keys=("state", "joints")))),
            "observation.joints",
        ),
        (
            replace(
                CONFIG,
                policy=replace(POLICY, representation=RepresentationConfig(keys=("state",), action="relative")),
            ),
            "'command'",
        ),
    ],
)
def test_bad_input_is_an_error_before_any_work(dataset, tmp_path, config, message):
    with pytest.raises(ScoreError, match=message):
        train(tmp_path, dataset, config)
    assert not (tmp_path / "policy.json").exists()
