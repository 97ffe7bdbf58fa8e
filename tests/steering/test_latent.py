"""The latent parametrisations keep the prior."""

from __future__ import annotations

import math

import pytest
import torch

from score_rl.core.errors import ScoreError
from score_rl.steering.latent import LatentConfig, LatentMap

SHAPE = (8, 5)


CONFIGS = [LatentConfig("full"), LatentConfig("subspace", 1), LatentConfig("subspace", 3), LatentConfig("leading", 2)]


@pytest.mark.parametrize("config", CONFIGS)
def test_composed_latents_have_the_chosen_coordinates_and_the_noise_elsewhere(config):
    map_ = LatentMap(LatentConfig(config.kind, config.modes, bound=1e6), SHAPE)
    chosen, noise = torch.randn(4, map_.dim), torch.randn(4, *SHAPE)
    latent = map_.compose(chosen, noise)
    assert torch.allclose(map_.coordinates(latent), chosen, atol=1e-5)
    left = latent - torch.einsum("hk,nka->nha", map_.basis, chosen.view(4, -1, SHAPE[1]))
    noise_left = noise - torch.einsum("hk,nka->nha", map_.basis, map_.coordinates(noise).view(4, -1, SHAPE[1]))
    assert torch.allclose(left, noise_left, atol=1e-5)


def test_dimensions():
    assert LatentMap(LatentConfig("full"), SHAPE).dim == 40
    assert LatentMap(LatentConfig("subspace", 2), SHAPE).dim == 10
    assert LatentMap(LatentConfig("leading", 2), SHAPE).dim == 10


def test_leading_rows_are_chosen_and_the_others_are_noise():
    map_, noise = LatentMap(LatentConfig("leading", 1), (3, 1)), torch.tensor([0.5, -1.0, 2.0]).view(1, 3, 1)
    assert map_.compose(torch.tensor([[1.5]]), noise).flatten().tolist() == [1.5, -1.0, 2.0]


@pytest.mark.parametrize("config", CONFIGS)
def test_the_noises_own_coordinates_give_back_the_noise(config):
    map_, noise = LatentMap(config, SHAPE), torch.randn(100, *SHAPE)
    assert torch.allclose(map_.compose(map_.coordinates(noise), noise), noise.clamp(-3, 3), atol=1e-5)


@pytest.mark.parametrize("config", CONFIGS)
def test_standard_normal_coordinates_give_the_prior(config):
    """Mean, covariance over the horizon and tails of z are those of N(0, I), within five standard errors."""
    n = 20_000
    map_ = LatentMap(LatentConfig(config.kind, config.modes, bound=1e6), (6, 2))
    generator = torch.Generator().manual_seed(3)
    chosen, noise = torch.randn(n, map_.dim, generator=generator), torch.randn(n, 6, 2, generator=generator)
    latent = map_.compose(chosen, noise).flatten(1)
    assert latent.mean(dim=0).abs().max() < 5 / math.sqrt(n)
    covariance = latent.T @ latent / n
    assert (covariance - torch.eye(12)).abs().max() < 5 * math.sqrt(2 / n)
    beyond = (latent.abs() > 2).float().mean().item()
    assert beyond == pytest.approx(0.0455, abs=5 * math.sqrt(0.0455 / (12 * n)))


def test_one_mode_is_not_a_tiled_latent():
    """A latent repeated over the horizon would have no variance within a chunk; the prior has 1."""
    map_ = LatentMap(LatentConfig("subspace", 1, bound=1e6), SHAPE)
    noise = torch.randn(2000, *SHAPE, generator=torch.Generator().manual_seed(5))
    latent = map_.compose(torch.zeros(2000, map_.dim), noise)
    assert latent.mean(dim=1).abs().max() < 1e-5  # the chosen mode is at its mean ...
    assert latent.var(dim=1).mean() == pytest.approx(1.0, abs=0.05)  # ... all others are noise


def test_bound():
    map_ = LatentMap(LatentConfig("full", bound=2.0), SHAPE)
    latent = map_.compose(torch.full((1, 40), 9.0), torch.zeros(1, *SHAPE))
    assert latent.unique().tolist() == [2.0]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (LatentConfig("tiled"), "unknown latent.kind 'tiled'"),
        (LatentConfig(modes=0), r"modes must lie in \[1, 8\]"),
        (LatentConfig(modes=9), r"modes must lie in \[1, 8\]"),
        (LatentConfig(bound=0.0), "bound must be positive"),
        (LatentConfig(bound=math.inf), "bound must be positive and finite, got inf"),
        (LatentConfig(complement="mean"), "unknown latent.complement 'mean'"),
    ],
)
def test_bad_configurations_are_named(config, message):
    with pytest.raises(ScoreError, match=message):
        LatentMap(config, SHAPE)
