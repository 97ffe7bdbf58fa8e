"""The policy as a contract, and its bundle."""

from __future__ import annotations

import json

import pytest
import torch

from score_rl.contracts import FlowPolicy
from score_rl.core.errors import ScoreError
from score_rl.core.testing import check_policy
from score_rl.policies.flow.networks import NetworkConfig
from score_rl.policies.flow.policy import FlowConfig, load_policy, load_provenance, save_policy

PLAIN = {"state": 3, "command": 2}


def latents(policy, n, seed=3):
    return torch.randn(n, *policy.spec.latent_shape, generator=torch.Generator().manual_seed(seed))


def test_fulfils_the_contract(make_policy, make_window):
    policy = make_policy(PLAIN, 2, history=2)
    assert isinstance(policy, FlowPolicy)
    context = policy.encode(make_window(PLAIN, 5, 2))
    chunk = policy.decode(context, latents(policy, 5))
    assert context.features.shape == (5, 10) and chunk.shape == (5, 8, 2)
    assert torch.equal(policy.decode(context, latents(policy, 5)), chunk)
    assert not chunk.requires_grad


@pytest.mark.parametrize("network", [NetworkConfig(widths=(16, 16)), NetworkConfig("unet", (8, 16))])
def test_passes_the_conformance_kit(make_policy, hand, network):
    check_policy(make_policy(PLAIN, 2, network, history=2, action="relative"))
    check_policy(make_policy(hand, 23, network, FlowConfig(width=0.2), observation="palm", action="relative"))


def test_untrained_flow_is_the_gaussian_of_its_analytic_velocity(make_policy, make_window):
    # With a zero network the velocity is w(t) x, whose flow is the linear map z -> (product of steps) z.
    policy = make_policy(PLAIN, 2, flow=FlowConfig(width=0.5))
    for parameter in policy.network.parameters():
        parameter.zero_()

    def w(t):
        return (0.25 * t - (1 - t)) / ((1 - t) ** 2 + 0.25 * t**2)

    factor = 1.0
    for k in range(5):
        t = k / 5
        factor *= 1.0 + 0.2 * w(t + 0.1) * (1.0 + 0.1 * w(t))
    context, z = policy.encode(make_window(PLAIN, 4, 1)), latents(policy, 4)
    x = policy.normalize(context, policy.decode(context, z))
    assert torch.allclose(x, factor * z, atol=1e-5)
    assert factor == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("width", [None, 0.3])
@pytest.mark.parametrize("action", ["absolute", "relative", "delta"])
def test_invert_recovers_the_latent(make_policy, make_window, width, action):
    policy = make_policy(PLAIN, 2, history=2, action=action, flow=FlowConfig(width=width))
    context, z = policy.encode(make_window(PLAIN, 20, 2)), latents(policy, 20)
    inverse = policy.invert(context, policy.decode(context, z))
    assert inverse.converged.all()
    assert (inverse.latent - z).abs().max() < 1e-4


def test_relative_chunks_move_with_the_command(make_policy, make_window):
    policy = make_policy(PLAIN, 2, action="relative")
    for parameter in policy.network.parameters():
        parameter.zero_()  # blind, so that the command matters through the representation alone
    window = make_window(PLAIN, 3, 1)
    moved = dict(window, command=window["command"] + torch.tensor([0.5, -2.0]))
    difference = policy.decode(policy.encode(moved), latents(policy, 3)) - policy.decode(
        policy.encode(window), latents(policy, 3)
    )
    assert torch.allclose(difference, torch.tensor([0.5, -2.0]).expand_as(difference), atol=1e-5)


def test_far_states_stay_finite(make_policy, make_window):
    policy = make_policy(PLAIN, 2)
    far = {key: 1e6 * value for key, value in make_window(PLAIN, 3, 1).items()}
    assert policy.decode(policy.encode(far), latents(policy, 3)).abs().max() < 1e3


def test_bad_input_is_named(make_policy, make_window):
    policy = make_policy(PLAIN, 2, history=2)
    window = make_window(PLAIN, 5, 2)
    with pytest.raises(ScoreError, match="'command'"):
        policy.encode({"state": window["state"]})
    with pytest.raises(ScoreError, match=r"expected \(n, 2, 3\)"):
        policy.encode(dict(window, state=window["state"][:, :1]))
    with pytest.raises(ScoreError, match="latent"):
        policy.decode(policy.encode(window), torch.zeros(5, 7, 2))


@pytest.mark.parametrize("network", [NetworkConfig(widths=(16, 16)), NetworkConfig("unet", (8, 16))])
def test_bundle_round_trip(make_policy, make_window, hand, tmp_path, network):
    policy = make_policy(hand, 23, network, FlowConfig(width=0.2), history=2, observation="palm", action="relative")
    save_policy(tmp_path, policy, {"dataset": {"sha256": "abc"}})
    loaded = load_policy(tmp_path)
    assert loaded.spec == policy.spec and loaded.config == policy.config
    assert load_provenance(tmp_path) == {"dataset": {"sha256": "abc"}}
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    window, z = make_window(hand, 4, 2), latents(policy, 4)
    assert torch.equal(loaded.decode(loaded.encode(window), z), policy.decode(policy.encode(window), z))


@pytest.fixture
def bundle(make_policy, tmp_path):
    save_policy(tmp_path, make_policy(PLAIN, 2), {})
    return tmp_path


def edit(bundle, change):
    path = bundle / "policy.json"
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(version=99), "version 99; this program reads 2"),
        (lambda d: d.update(kind="something"), "flow_policy"),
        (lambda d: d.pop("spec"), "lacks spec"),
        (lambda d: d["config"]["representation"].pop("history"), "representation lacks history"),
        (lambda d: d["config"]["network"].update(widhts=3), "did you mean 'widths'"),
        (lambda d: d["config"]["network"].update(widths=[16]), "missing entries"),
        (lambda d: d["config"]["network"].update(widths=[32, 16]), "has shape"),
        (lambda d: d["config"]["network"].update(kind="transformer"), r"unknown config\.network\.kind 'transformer'"),
        (lambda d: d["config"]["representation"].update(observation="plam"), "did you mean 'palm'"),
        (lambda d: d["config"]["flow"].update(steps=0), "steps"),
        (lambda d: d["spec"]["interface"]["observation"].update(state="3"), "expected a record"),
        (lambda d: d["spec"]["interface"]["observation"]["state"].update(shape=[3, -1]), "positive sizes"),
        (lambda d: d["spec"]["interface"]["action"].update(dtype="float23"), "did you mean 'float32'"),
        (lambda d: d["spec"].update(latent_shape=[8]), "latent_shape"),
        (lambda d: d["config"]["representation"].update(encoders={"sate": "identity"}), "did you mean 'state'"),
    ],
)
def test_loading_is_strict_about_the_description(bundle, change, message):
    edit(bundle, change)
    with pytest.raises(ScoreError, match=message):
        load_policy(bundle)


def test_loading_is_strict_about_the_files(bundle):
    weights = bundle / "policy.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ScoreError, match="corrupt"):
        load_policy(bundle)
    weights.unlink()
    with pytest.raises(ScoreError, match="does not exist"):
        load_policy(bundle)
    weights.write_bytes(whole)
    load_policy(bundle)
    (bundle / "policy.json").write_text("{")
    with pytest.raises(ScoreError, match=r"policy\.json"):
        load_policy(bundle)
