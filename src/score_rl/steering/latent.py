"""Which part of the latent steering chooses, and how the rest is drawn: the prior is never left at the start.

A latent z has shape (h, a) and prior N(0, I). Steering chooses coordinates c in an orthonormal basis B (h, K)
over the horizon, the same for every action dimension; the orthogonal complement stays noise:

    z = clamp(B c + (I - B B^T) noise, -bound, bound),    noise ~ N(0, I)

With c ~ N(0, I) this is N(0, I) exactly (up to the bound, which the base policy shares), since a rotation and a
split of a standard normal are standard normal. `full` has B = I: every element is chosen. `subspace` has the K
lowest modes of the orthonormal DCT-II; K = 1 is one constant per action dimension ON TOP of fresh noise in all
other modes. It is not one vector repeated over the horizon, which has no probability under the prior. `leading`
has the first K rows, for a base policy whose rows are temporal modes already.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from score_rl.core.dct import dct_basis
from score_rl.core.errors import ScoreError, unknown_choice

Kind = Literal["full", "subspace", "leading"]
Complement = Literal["zero", "noise"]

LATENT_BOUND = 3.0
"""Largest absolute element of any latent, of the base policy as well; it cuts 0.27 % of the prior's elements."""


@dataclass(frozen=True)
class LatentConfig:
    """The parametrisation of the latent."""

    kind: Kind = "subspace"
    """full: all h x a elements. subspace: `modes` temporal modes of every action dimension. leading: the first
    `modes` rows, for a base policy whose latent rows already are temporal modes (its actions are "modes")."""
    modes: int = 1
    """K: modes that steering chooses (not for full)."""
    bound: float = LATENT_BOUND
    """Elements of z are clamped to +-bound; no tanh, which would bend the prior."""
    complement: Complement = "zero"
    """What deterministic deployment puts into the modes that steering does not choose: their mean (zero), or
    noise as in training. Stochastic decisions always use noise."""


class LatentMap:
    """Coordinates (n, d) that steering chooses <-> latents (n, h, a)."""

    def __init__(self, config: LatentConfig, latent_shape: tuple[int, int], device: str = "cpu") -> None:
        """Raises ScoreError for an unknown kind, or modes or a bound out of range."""
        horizon, action_dim = latent_shape
        if config.kind not in get_args(Kind):
            raise unknown_choice("latent.kind", config.kind, get_args(Kind))
        if config.complement not in get_args(Complement):
            raise unknown_choice("latent.complement", config.complement, get_args(Complement))
        if config.kind != "full" and not 1 <= config.modes <= horizon:
            raise ScoreError(f"latent.modes must lie in [1, {horizon}] (the horizon), got {config.modes}")
        if not 0.0 < config.bound < math.inf:
            raise ScoreError(f"latent.bound must be positive and finite, got {config.bound}")
        self.config = config
        self.basis = _basis(config, horizon).to(device)
        self.dim = self.basis.shape[1] * action_dim
        """d = K a: width of the coordinates."""

    def coordinates(self, latent: Tensor) -> Tensor:
        """B^T z: (n, h, a) -> (n, d)."""
        return torch.einsum("hk,nha->nka", self.basis, latent).flatten(1)

    def compose(self, coordinates: Tensor, noise: Tensor) -> Tensor:
        """Latent (n, h, a) that has these coordinates (n, d) and takes its complement from noise (n, h, a)."""
        if self.config.kind == "full":
            return self.clamp(coordinates.view_as(noise))
        change = coordinates - self.coordinates(noise)
        change = change.view(noise.shape[0], self.basis.shape[1], -1)
        return self.clamp(noise + torch.einsum("hk,nka->nha", self.basis, change))

    def clamp(self, latent: Tensor) -> Tensor:
        """Elements clamped to +-bound."""
        return latent.clamp(-self.config.bound, self.config.bound)


def _basis(config: LatentConfig, horizon: int) -> Tensor:
    """B (h, K), orthonormal columns."""
    bases = {
        "full": lambda: torch.eye(horizon),
        "subspace": lambda: dct_basis(horizon, config.modes),
        "leading": lambda: torch.eye(horizon)[:, : config.modes],
    }
    return bases[config.kind]()
