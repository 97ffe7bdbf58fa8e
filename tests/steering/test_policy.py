"""Deciders, noise per seed, and bundles that refuse what does not belong to them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from toys import ToyPolicy, ToyWorld

from score_rl.contracts import PlainContext
from score_rl.core.errors import ScoreError
from score_rl.core.files import write_json
from score_rl.core.records import read_json
from score_rl.steering.latent import LatentConfig
from score_rl.steering.loop import Stage, SteerConfig
from score_rl.steering.networks import GaussianActor
from score_rl.steering.plan import check_settings
from score_rl.steering.policy import (
    SteeredDecider,
    SteeringPolicy,
    SteeringSpec,
    compulsory_deciders,
    decision_noise,
    load_steering,
    save_steering,
)

SHAPE = (4, 1)
WINDOW = {"state": torch.randn(6, 2, 2), "command": torch.randn(6, 2, 1)}


def steering_of(policy, latent=None, mean=0.5):
    """A steering policy whose mean is the same everywhere and whose std is 0.5."""
    latent = latent or LatentConfig("full")
    outputs = 4 if latent.kind == "full" else latent.modes
    actor = GaussianActor(6, outputs, (8,), "elu")
    with torch.no_grad():
        actor.mlp[-1].bias.fill_(mean)
        actor.log_std.fill_(torch.log(torch.tensor(0.5)).item())
    spec = SteeringSpec(6, SHAPE, SHAPE, latent, (8,), "elu", 4, policy.fingerprint())
    return SteeringPolicy(spec, actor)


def test_the_four_compulsory_ways_to_decide():
    policy = ToyPolicy()
    deciders = compulsory_deciders(policy, steering_of(policy))
    assert list(deciders) == ["base", "base_z0", "score_stoch", "score_det"]
    noise = torch.tensor([0.5, -1.0, 2.0, -4.0]).view(1, 4, 1).repeat(6, 1, 1)
    latents = {name: decider.decide(WINDOW, noise).latent[0, :, 0].tolist() for name, decider in deciders.items()}
    assert latents["base"] == [0.5, -1.0, 2.0, -3.0]  # clamped
    assert latents["base_z0"] == [0.0] * 4
    assert latents["score_stoch"] == pytest.approx([0.75, 0.0, 1.5, -1.5])  # 0.5 + 0.5 noise
    assert latents["score_det"] == pytest.approx([0.5] * 4)
    for decider in deciders.values():
        decision = decider.decide(WINDOW, noise)
        assert torch.equal(decision.chunk, policy.decode(policy.encode(WINDOW), decision.latent))
    assert list(compulsory_deciders(policy)) == ["base", "base_z0"]


@pytest.mark.parametrize(("complement", "expected"), [("zero", 0.25), ("noise", None)])
def test_complement_of_deterministic_decisions(complement, expected):
    policy = ToyPolicy()
    steering = steering_of(policy, LatentConfig("subspace", 1, complement=complement))
    noise = torch.randn(6, *SHAPE, generator=torch.Generator().manual_seed(0))
    latent = SteeredDecider(policy, steering).decide(WINDOW, noise).latent
    assert latent.mean(dim=1).flatten().tolist() == pytest.approx([0.25] * 6, abs=1e-5)  # 0.5 / sqrt(4)
    if expected is not None:
        assert latent.flatten().tolist() == pytest.approx([expected] * 24, abs=1e-5)
    else:
        assert torch.allclose(latent - 0.25, noise - noise.mean(dim=1, keepdim=True), atol=1e-5)


def test_noise_depends_on_seed_and_decision_alone():
    together = decision_noise([7, 8, 9], 3, SHAPE)
    assert together.shape == (3, *SHAPE)
    assert torch.equal(together[2], decision_noise([9], 3, SHAPE)[0])
    assert not torch.equal(together[2], decision_noise([9], 4, SHAPE)[0])
    assert not torch.equal(together[0], together[1])


def test_noise_is_standard_normal():
    noise = decision_noise(range(4000), 0, SHAPE)
    assert noise.mean().item() == pytest.approx(0.0, abs=0.04)
    assert noise.std().item() == pytest.approx(1.0, abs=0.03)


def test_bundle_round_trip(tmp_path):
    policy = ToyPolicy()
    steering = steering_of(policy, LatentConfig("subspace", 2))
    save_steering(tmp_path, steering, {"note": "test"})
    loaded = load_steering(tmp_path, policy)
    assert loaded.spec == steering.spec
    context, noise = PlainContext(torch.randn(6, 6)), torch.randn(6, *SHAPE)
    one, other = (p.stochastic(policy, context, noise) for p in (loaded, steering))
    assert torch.equal(one.latent, other.latent) and torch.equal(one.chunk, other.chunk)


def test_another_base_policy_is_refused(tmp_path):
    policy, other = ToyPolicy(), ToyPolicy()
    other.strength.data.fill_(0.9)
    steering = steering_of(policy)
    save_steering(tmp_path, steering, {})
    with pytest.raises(ScoreError, match="means nothing to another base policy"):
        load_steering(tmp_path, other)
    with pytest.raises(ScoreError, match="another base policy"):
        SteeredDecider(other, steering)


def test_fingerprint_follows_weights_and_spec():
    one = ToyPolicy().fingerprint()
    assert one == ToyPolicy().fingerprint()
    assert one != ToyPolicy(history=3).fingerprint()

    class NoModule:
        spec = ToyPolicy().spec

    with pytest.raises(ScoreError, match="fingerprint"):
        check_settings(NoModule(), [Stage(ToyWorld(), 100)], SteerConfig())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 3}, "format version 3"),
        (
            {"kind": "score_rl.flow_policy"},
            "expected a 'score_rl.steering_policy'",
        ),
        ({"spec": {"latent": {}}}, "spec lacks context_dim"),
    ],
)
def test_foreign_bundles_are_refused(tmp_path, change, message):
    policy = ToyPolicy()
    save_steering(tmp_path, steering_of(policy), {})
    write_json(tmp_path / "steering.json", {**read_json(tmp_path / "steering.json"), **change})
    with pytest.raises(ScoreError, match=message):
        load_steering(tmp_path, policy)


def test_a_bundle_from_before_there_were_methods_is_score(tmp_path):
    policy = ToyPolicy()
    save_steering(tmp_path, steering_of(policy), {})
    values = read_json(tmp_path / "steering.json")
    for later in ("method", "options", "layer_norm", "privileged"):
        del values["spec"][later]
    write_json(tmp_path / "steering.json", values)
    assert load_steering(tmp_path, policy).spec == steering_of(policy).spec
    write_json(tmp_path / "steering.json", {**values, "spec": {**values["spec"], "options": {}}})
    with pytest.raises(ScoreError, match="spec lacks method"):  # that is no old bundle, but a torn one
        load_steering(tmp_path, policy)


def test_switches_that_were_taken_out_keep_no_policy_from_loading(tmp_path):
    """The settings of a training are provenance: what it was told, whatever a later version can be told."""
    policy, steering = ToyPolicy(), steering_of(ToyPolicy())
    gone = {"ppo": {"mirrored": True, "kl_limit": 0.1}, "start": {"complement": "zero"}, "force_penalty": 0.5}
    save_steering(tmp_path, steering, {"config": {"seed": 0, **gone}, "control_steps": 1, "iterations": 1})
    assert load_steering(tmp_path, policy).spec == steering.spec


def test_missing_and_corrupt_bundles_are_refused(tmp_path):
    policy = ToyPolicy()
    with pytest.raises(ScoreError, match="does not exist"):
        load_steering(tmp_path, policy)
    save_steering(tmp_path, steering_of(policy), {})
    (tmp_path / "steering.safetensors").write_bytes(b"not a safetensors file")
    with pytest.raises(ScoreError, match="corrupt"):
        load_steering(tmp_path, policy)


@pytest.mark.slow
def test_deciding_needs_nothing_that_learns():
    """Any method's policy is loaded and decides without the learner, the loop, or the optimiser's libraries."""
    program = (
        "import sys, score_rl.steering.methods\n"
        "learning = {'score_rl.steering.ppo', 'score_rl.steering.loop', 'rsl_rl', 'tensordict', 'git'}\n"
        "assert not learning & set(sys.modules), learning & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
