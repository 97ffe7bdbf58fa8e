"""Affine normalisers whose constants are buffers, so that they travel with the weights."""

from __future__ import annotations

from torch import Tensor, nn


class Affine(nn.Module):
    """x -> (x - offset) / scale over trailing dimensions, and its inverse.

    `offset` and `scale` (of the same shape, scale positive) broadcast against the data from the right.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, offset: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("offset", offset.detach().float().clone())
        self.register_buffer("scale", scale.detach().float().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Physical units -> normalised."""
        return (x - self.offset) / self.scale

    def inverse(self, x: Tensor) -> Tensor:
        """Normalised -> physical units."""
        return x * self.scale + self.offset


def min_max(data: Tensor, floor: float) -> Affine:
    """Normaliser that maps the range of data (n, ...) over its first dimension to [-1, 1].

    A dimension whose half range is below `floor` (physical units) is scaled by `floor` instead: a constant
    dimension maps to 0 and noise of the normalised model leaves it within about the floor.
    """
    low, high = data.amin(0), data.amax(0)
    return Affine((low + high) / 2.0, ((high - low) / 2.0).clamp_min(floor))


def standard(data: Tensor, floor: float) -> Affine:
    """Normaliser of data (n, ...) to zero mean and unit standard deviation over its first dimension.

    Standard deviations below `floor` (physical units) count as `floor`.
    """
    return Affine(data.mean(0), data.std(0, unbiased=False).clamp_min(floor))
