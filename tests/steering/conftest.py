"""One small trained policy for all tests of support."""

from __future__ import annotations

import pytest
import torch
from trained import ACTIONS, HORIZON, states, train

from score_rl.evaluation.support.meter import Executed
from score_rl.policies.flow.policy import ConditionalFlow

LIMIT = 1.2
"""Bound of the actions, which some of the policy's samples exceed."""


@pytest.fixture(scope="session")
def motions(tmp_path_factory: pytest.TempPathFactory) -> ConditionalFlow:
    """The policy."""
    return train(tmp_path_factory.mktemp("motions"))


@pytest.fixture
def planted(motions: ConditionalFlow):
    """`planted(kind, n)`: executed chunks in n states, each an episode of its own; noise in normalised units."""

    def make(kind: str | float, n: int = 120) -> Executed:
        window = {"state": torch.from_numpy(states(n, seed=5)).unsqueeze(1)}
        window["state"][..., 2] *= 0.5
        generator = torch.Generator().manual_seed(1)
        context = motions.encode(window)
        latent = torch.randn(n, HORIZON, ACTIONS, generator=generator).clamp(-3, 3)
        chunk = motions.decode(context, latent if kind != "z0" else torch.zeros_like(latent))
        if isinstance(kind, float):
            noise = torch.randn(chunk.shape, generator=generator)
            x = motions.normalize(context, chunk) + kind * noise
            chunk = motions.denormalize(context, x)
        elif kind == "other state":
            chunk = chunk.roll(1, 0)
        elif kind == "uniform":
            chunk = LIMIT * (2 * torch.rand(chunk.shape, generator=generator) - 1)
        return Executed(
            window=window,
            chunk=chunk.clamp(-LIMIT, LIMIT),
            steps=torch.full((n,), HORIZON),
            episode=torch.arange(n),
            seeds=tuple((seed, 0) for seed in range(n)),
        )

    return make
