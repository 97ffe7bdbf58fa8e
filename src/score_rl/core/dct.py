"""Temporal modes of an action chunk: the orthonormal discrete cosine transform (DCT-II) over its steps."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def dct_basis(horizon: int, modes: int) -> Tensor:
    """First `modes` modes (horizon, modes), orthonormal columns, slowest first; the first is 1 / sqrt(horizon)."""
    time = torch.arange(horizon, dtype=torch.float64) + 0.5
    mode = torch.arange(modes, dtype=torch.float64)
    basis = torch.cos(math.pi / horizon * time[:, None] * mode) * math.sqrt(2.0 / horizon)
    basis[:, 0] /= math.sqrt(2.0)
    return basis.float()


def to_modes(chunk: Tensor) -> Tensor:
    """Steps (n, h, a) -> modes (n, h, a), row k being the k-th slowest; lengths are kept."""
    basis = dct_basis(chunk.shape[1], chunk.shape[1]).to(chunk)
    return torch.einsum("hk,nha->nka", basis, chunk)


def from_modes(modes: Tensor) -> Tensor:
    """Inverse of `to_modes`."""
    basis = dct_basis(modes.shape[1], modes.shape[1]).to(modes)
    return torch.einsum("hk,nka->nha", basis, modes)
