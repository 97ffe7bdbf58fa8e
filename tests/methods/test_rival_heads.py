"""What the rivals do with the numbers that RL chooses, worked out by hand."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from toys import ScaledToyPolicy, ToyPolicy

from score_rl.core.errors import ScoreError
from score_rl.steering.latent import LatentConfig
from score_rl.steering.method import SteeringSpec
from score_rl.steering.methods import METHODS
from score_rl.steering.methods.bc_regularized import BCConfig
from score_rl.steering.methods.best_of_n import BestOfNConfig
from score_rl.steering.methods.residual import ResidualConfig
from score_rl.steering.methods.unconstrained import UnconstrainedConfig
from score_rl.steering.policy import BaseDecider

WINDOW = {"state": torch.randn(5, 2, 2), "command": torch.randn(5, 2, 1)}
POLICY = ScaledToyPolicy()
CONTEXT = POLICY.encode(WINDOW)
OPTIONS = {
    "score": {},
    "residual": asdict(ResidualConfig()),
    "score_residual": asdict(ResidualConfig()),
    "unconstrained": asdict(UnconstrainedConfig()),
    "bc_regularized": asdict(BCConfig()),
    "best_of_n": asdict(BestOfNConfig()),
}


def spec_of(method, options=None, execute_steps=4, latent=None):
    latent = latent or LatentConfig("subspace", 1)
    options = OPTIONS[method] if options is None else options
    return SteeringSpec(6, (4, 1), (4, 1), latent, (8,), "elu", execute_steps, POLICY.fingerprint(), method, options)


def head_of(method, options=None, **change):
    spec = spec_of(method, options, **change)
    METHODS[method].check(POLICY, spec, True)
    return METHODS[method].make_head(spec, "cpu")


def act(head, w, noise=None):
    noise = torch.randn(5, 4, 1) if noise is None else noise
    return head.act(POLICY, CONTEXT, w, noise)


def test_residual_zero_is_the_base_policy():
    head, noise = head_of("residual"), 2.0 * torch.randn(5, 4, 1)
    base = BaseDecider(POLICY).decide(WINDOW, noise)
    decision = act(head, torch.zeros(5, 1), noise)
    assert torch.equal(decision.chunk, base.chunk) and torch.equal(decision.latent, base.latent)
    assert torch.equal(head.at_rest(noise), noise)  # deployed at its mean, the base policy keeps its chance


def test_a_residual_moves_every_step_alike_and_never_beyond_its_bound():
    head, noise = head_of("residual"), torch.randn(5, 4, 1)
    base = act(head, torch.zeros(5, 1), noise).chunk
    moved = act(head, torch.tensor([[1.0], [-2.0], [3.0], [50.0], [-50.0]]), noise).chunk - base
    expected = torch.tensor([0.01, -0.02, 0.03, 0.03, -0.03]).view(5, 1, 1).expand(5, 4, 1)
    assert torch.allclose(moved, expected, atol=1e-6)


def test_unconstrained_zero_is_the_chunk_of_latent_zero():
    head = head_of("unconstrained")
    decision = act(head, torch.zeros(5, head.dim))
    assert torch.allclose(decision.chunk, BaseDecider(POLICY, zero=True).decide(WINDOW, torch.zeros(5, 4, 1)).chunk)
    assert not decision.latent.any()
    assert head.dim == head_of("score").dim


def test_unconstrained_shifts_in_the_priors_scale_and_without_a_bound():
    head = head_of("unconstrained", {"form": "chunk", "std": 0.5})
    moved = act(head, torch.full((5, 1), 100.0)).chunk - 1.0
    assert moved.flatten().tolist() == pytest.approx([4.0 * 0.5 * 100.0 / 2.0] * 20)  # the mode's elements are 1/2
    w = torch.randn(5, head.dim)
    assert torch.equal(act(head, w).chunk, act(head, w).chunk)  # whatever the noise


def test_a_random_chunk_can_be_shifted_instead():
    head, noise = (
        head_of("unconstrained", {"form": "chunk", "std": 0.5, "centre": "noise"}),
        2.0 * torch.randn(5, 4, 1),
    )
    base = BaseDecider(POLICY).decide(WINDOW, noise)
    start = act(head, torch.zeros(5, head.dim), noise)
    assert torch.allclose(start.chunk, base.chunk) and torch.equal(start.latent, base.latent)
    assert torch.allclose(act(head, torch.ones(5, head.dim), noise).chunk - base.chunk, torch.tensor(1.0))


def test_the_per_step_form_moves_the_one_action_that_is_sent():
    head = head_of("unconstrained", {"form": "per_step", "std": 1.0}, execute_steps=1)
    moved = act(head, torch.full((5, 1), 2.0)).chunk[0, :, 0] - 1.0
    assert moved.tolist() == pytest.approx([8.0, 0.0, 0.0, 0.0])


def test_score_residual_is_score_and_a_bounded_correction():
    head, score = head_of("score_residual"), head_of("score")
    assert head.dim == score.dim + 1
    u, noise = torch.randn(5, 1), torch.randn(5, 4, 1)
    plain = score.act(POLICY, CONTEXT, u, noise)
    decision = act(head, torch.cat((u, torch.zeros(5, 1)), dim=1), noise)
    assert torch.equal(decision.chunk, plain.chunk) and torch.equal(decision.latent, plain.latent)
    far = act(head, torch.cat((u, torch.full((5, 1), 9.0)), dim=1), noise)
    assert torch.allclose(far.chunk - plain.chunk, torch.tensor(0.03), atol=1e-6)


def test_score_residual_at_rest_and_unexplored_is_the_base_policy():
    head, noise = head_of("score_residual"), torch.randn(5, 4, 1)
    w = torch.cat((head.latent.exploration(noise), torch.zeros(5, 1)), dim=1)
    assert torch.allclose(act(head, w, noise).chunk, BaseDecider(POLICY).decide(WINDOW, noise).chunk, atol=1e-6)
    assert not head.at_rest(noise).any()


@pytest.mark.parametrize("method", ["score", "residual", "score_residual", "unconstrained"])
def test_exploration_is_standard_normal_row_by_row(method):
    head, noise = head_of(method), torch.randn(4000, 4, 1, generator=torch.Generator().manual_seed(1))
    drawn = head.exploration(noise)
    assert drawn.shape == (4000, head.dim)
    assert drawn.mean(dim=0).abs().max() < 0.08 and (drawn.std(dim=0) - 1.0).abs().max() < 0.06
    assert torch.allclose(head.exploration(noise[7:8]), drawn[7:8], atol=1e-6)


@pytest.mark.parametrize("method", ["residual", "score_residual"])
def test_a_residual_explores_independently_of_the_latent(method):
    noise = torch.randn(4000, 4, 1, generator=torch.Generator().manual_seed(2))
    drawn = head_of(method).exploration(noise)[:, -1]
    assert (drawn @ noise.flatten(1) / 4000).abs().max() < 5 / 4000**0.5


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("residual", {"scale": 0.0, "bound": 3.0}, "options of residual: scale is 0.0, expected > 0"),
        ("score_residual", {"scale": 0.01, "bound": -1.0}, "bound is -1.0, expected > 0"),
        ("unconstrained", {"form": "step", "std": 1.0}, "unknown form 'step'; did you mean 'per_step'"),
        ("unconstrained", {"form": "chunk", "std": 0.0}, "std is 0.0, expected > 0"),
        ("unconstrained", {"form": "chunk", "std": 1.0, "centre": "one"}, "unknown centre 'one'"),
        ("unconstrained", {"form": "per_step", "std": 1.0}, "execute-steps 1 "),
        ("bc_regularized", {**asdict(BCConfig()), "coefficient": -1.0}, "coefficient is -1.0, expected >= 0"),
        ("best_of_n", {**asdict(BestOfNConfig()), "n": 1}, "n is 1, expected >= 2"),
    ],
)
def test_bad_options_are_named(method, options, message):
    with pytest.raises(ScoreError, match=message):
        METHODS[method].check(POLICY, spec_of(method, options), True)


def test_what_a_method_needs_is_asked_for():
    with pytest.raises(ScoreError, match="reads the demonstrations"):
        METHODS["bc_regularized"].check(POLICY, spec_of("bc_regularized"), False)
    for method in ("unconstrained", "bc_regularized", "best_of_n"):
        with pytest.raises(ScoreError, match="ToyPolicy has no `normalize`"):
            METHODS[method].check(ToyPolicy(), spec_of(method), True)
