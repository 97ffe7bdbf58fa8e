"""SCORE's head, and further draws from a decision's noise."""

from __future__ import annotations

import pytest
import torch
from toys import ToyPolicy

from score_rl.contracts import PlainContext
from score_rl.steering.heads import LatentHead, more_noise
from score_rl.steering.latent import LatentConfig, LatentMap

SHAPE = (4, 1)


@pytest.mark.parametrize("config", [LatentConfig("full"), LatentConfig("subspace", 2)])
def test_the_noises_own_coordinates_give_the_base_policy(config):
    policy, head = ToyPolicy(), LatentHead(LatentMap(config, SHAPE))
    context, noise = PlainContext(torch.randn(6, 6)), torch.randn(6, *SHAPE)
    decision = head.act(policy, context, head.exploration(noise), noise)
    assert torch.allclose(decision.latent, noise.clamp(-3, 3), atol=1e-6)
    assert torch.equal(decision.chunk, policy.decode(context, decision.latent))


@pytest.mark.parametrize(("complement", "kept"), [("zero", False), ("noise", True)])
def test_what_is_left_of_the_noise_at_rest(complement, kept):
    noise = torch.randn(6, *SHAPE)
    rest = LatentHead(LatentMap(LatentConfig("subspace", 1, complement=complement), SHAPE)).at_rest(noise)
    assert torch.equal(rest, noise if kept else torch.zeros_like(noise))


def test_more_noise_is_a_function_of_each_rows_noise():
    noise = torch.randn(5, *SHAPE)
    drawn = more_noise(noise, 3)
    assert drawn.shape == (5, 3, *SHAPE)
    assert torch.equal(more_noise(noise[2:3], 3), drawn[2:3])
    assert not torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0, 0], drawn[0, 1])


def test_more_noise_is_standard_normal_and_independent_of_the_noise():
    noise = torch.randn(4000, *SHAPE, generator=torch.Generator().manual_seed(0))
    drawn = more_noise(noise, 2)
    assert drawn.mean().abs() < 0.03 and (drawn.std() - 1.0).abs() < 0.03
    assert (noise.flatten(1).T @ drawn.flatten(1) / 4000).abs().max() < 5 / 4000**0.5
