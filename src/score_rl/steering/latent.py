"""Which part of the latent steering chooses, and how the rest is drawn: the prior is never left at the start.

A latent z has shape (l, w), usually that of a chunk (h, a), and prior N(0, I). Steering chooses coordinates c in an
orthonormal basis B (l, K) over the latent steps, the same for every dimension of the latent's width; the orthogonal
complement stays noise:

    z = clamp(B c + (I - B B^T) noise, -bound, bound),    noise ~ N(0, I)

With c ~ N(0, I) this is N(0, I) exactly (up to the bound, which the base policy shares), since a rotation and a
split of a standard normal are standard normal. `full` has B = I: every element is chosen. `subspace` has the K
lowest modes of the orthonormal DCT-II; K = 1 is one constant per action dimension ON TOP of fresh noise in all
other modes. It is not one vector repeated over the horizon, which has no probability under the prior. `leading`
has the first K rows, for a base policy whose rows are temporal modes already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from score_rl.core.dct import dct_basis
from score_rl.core.errors import ScoreError
from score_rl.core.ranges import Count, Positive
from score_rl.core.records import validate

Kind = Literal["full", "subspace", "leading"]
Complement = Literal["zero", "noise"]

LATENT_BOUND = 3.0
"""Largest absolute element of a latent, always of the base policy's; it cuts 0.27 % of the prior's elements."""


@dataclass(frozen=True)
class LatentConfig:
    """The parametrisation of the latent."""

    kind: Kind = "subspace"
    """full: all h x a elements. subspace: `modes` temporal modes of every action dimension. leading: the first
    `modes` rows, for a base policy whose latent rows already are temporal modes (its actions are "modes")."""
    modes: Count = 1
    """K: modes that steering chooses (not for full)."""
    bound: Positive = LATENT_BOUND
    """Elements of z are clamped to +-bound; no tanh, which would bend the prior."""
    complement: Complement = "zero"
    """What deterministic deployment puts into the modes that steering does not choose: their mean (zero), or
    noise as in training. Stochastic decisions always use noise; a run that started from a ticket keeps the ticket's
    in both."""


class LatentMap:
    """Coordinates (n, d) that steering chooses <-> latents (n, l, w)."""

    def __init__(self, config: LatentConfig, latent_shape: tuple[int, int], device: str = "cpu") -> None:
        """Raises ScoreError for an unknown kind, or modes or a bound out of range."""
        steps, width = latent_shape
        validate(config, "latent")
        if config.kind != "full" and config.modes > steps:
            raise ScoreError(f"latent.modes must lie in [1, {steps}] (the latent steps), got {config.modes}")
        self.config = config
        self.basis = _basis(config, steps).to(device)
        self.dim = self.basis.shape[1] * width
        """d = K w: how many coordinates there are."""

    def coordinates(self, latent: Tensor) -> Tensor:
        """B^T z: (n, l, w) -> (n, d)."""
        return torch.einsum("hk,nha->nka", self.basis, latent).flatten(1)

    def compose(self, coordinates: Tensor, noise: Tensor) -> Tensor:
        """Latent (n, l, w) that has these coordinates (n, d) and takes its complement from noise (n, l, w)."""
        if self.config.kind == "full":
            return self.clamp(coordinates.view_as(noise))
        return self.clamp(noise + self.expand(coordinates - self.coordinates(noise)))

    def expand(self, coordinates: Tensor) -> Tensor:
        """B c: (n, d) -> (n, l, w), nothing in the complement."""
        modes = coordinates.view(coordinates.shape[0], self.basis.shape[1], -1)
        return torch.einsum("hk,nka->nha", self.basis, modes)

    def clamp(self, latent: Tensor) -> Tensor:
        """Elements clamped to +-bound."""
        return latent.clamp(-self.config.bound, self.config.bound)


def _basis(config: LatentConfig, steps: int) -> Tensor:
    """B (l, K), orthonormal columns."""
    bases = {
        "full": lambda: torch.eye(steps),
        "subspace": lambda: dct_basis(steps, config.modes),
        "leading": lambda: torch.eye(steps)[:, : config.modes],
    }
    return bases[config.kind]()
