"""What training does to point clouds, so that a policy does not depend on where exactly points are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from score_rl.contracts import Window
from score_rl.core.clouds import CLOUD, CLOUD_SEEN
from score_rl.core.ranges import NonNegative, Share


@dataclass(frozen=True)
class AugmentConfig:
    """Changes of every training cloud; labels stay. All are drawn uniformly; 0: none."""

    jitter_m: NonNegative = 0.0
    """Every point moves at most this far along every axis."""
    shift_m: NonNegative = 0.0
    """The cloud as a whole moves at most this far along every axis."""
    turn_rad: NonNegative = 0.0
    """And turns about its middle, at most this far about every axis."""
    hidden: Share = 0.0
    """Share of segments that are said to be out of sight."""


def augmented(window: Window, config: AugmentConfig, generator: torch.Generator) -> dict[str, Tensor]:
    """The window (n rows) with its cloud changed, where it has one. Nothing is drawn for what is 0."""
    changed = dict(window)
    if CLOUD not in window:
        return changed
    cloud = window[CLOUD]

    def uniform(size: float, *shape: int) -> Tensor:
        return size * (2 * torch.rand(len(cloud), *shape, generator=generator).to(cloud.device) - 1)

    if config.turn_rad:
        middle = cloud.mean(dim=2, keepdim=True)
        turned = torch.linalg.matrix_exp(_skew(uniform(config.turn_rad, 1, 3)))
        cloud = (cloud - middle) @ turned.transpose(-1, -2) + middle
    if config.shift_m:
        cloud = cloud + uniform(config.shift_m, 1, 1, 3)
    if config.jitter_m:
        cloud = cloud + uniform(config.jitter_m, *cloud.shape[1:])
    changed[CLOUD] = cloud
    if config.hidden and CLOUD_SEEN in window:
        seen = window[CLOUD_SEEN]
        stays = torch.rand(seen.shape, generator=generator).to(seen.device) >= config.hidden
        changed[CLOUD_SEEN] = seen * stays
    return changed


def _skew(vector: Tensor) -> Tensor:
    """(..., 3, 3) whose product with p is the cross product of vectors (..., 3) with p."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1).unflatten(-1, (3, 3))
