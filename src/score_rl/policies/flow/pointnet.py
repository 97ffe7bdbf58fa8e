"""PointNet: what a flow policy makes of a point cloud (Qi et al. 2017, "PointNet: Deep Learning on Point Sets")."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from score_rl.contracts import PolicySpec, Window
from score_rl.core import rotations as geometry
from score_rl.core.clouds import CLOUD_SEEN, shares
from score_rl.core.errors import ScoreError

PALM_POSE = "palm_pose"
WIDTHS = (64, 128, 64)
"""Features of a point, after the first and the second layer, and of the cloud."""
UNIT_M = 0.1
"""The network sees distances in this unit: about 1 between the palm and what it is about to grasp."""
BLOCK_POINTS = 4096
"""Points that run through the network at a time: what lies between its layers then stays in the cache."""


class PointNet(nn.Module):
    """An encoder (see `encoders`) of the newest cloud: the largest of every feature over the points.

    With several segments in the cloud (`core.clouds`) a point also says which one it is of; segments that the view
    `cloud_seen` says are out of sight are left out, whatever their points are. The output is normalised over its
    features (LayerNorm without parameters).
    """

    def __init__(self, spec: PolicySpec, keys: tuple[str, ...], frame: Literal["palm", "base"]) -> None:
        """keys: the cloud's. frame: in which the network sees points: that of the measured palm, for which it needs
        `palm_pose`, or the robot's base, with the training clouds' mean as origin.

        Raises ScoreError for arrays that are no clouds, and where the palm is wanted and not observed.
        """
        super().__init__()
        (self.key,), self.frame = keys, frame
        interface = spec.interface
        arrays = {**interface.observation, **interface.views}
        shape = arrays[self.key].shape
        if len(shape) != 2 or shape[1] != 3:
            raise ScoreError(f"encoder 'pointnet' reads points (n, 3), but '{self.key}' is {arrays[self.key]}")
        if frame == "palm" and PALM_POSE not in interface.observation:
            raise ScoreError(f"encoder 'pointnet' needs the key '{PALM_POSE}'; 'pointnet_base' does without")
        self.segments = arrays[CLOUD_SEEN].size if CLOUD_SEEN in arrays else 1
        self.shares = shares(shape[0], self.segments)
        labels = torch.eye(self.segments).repeat_interleave(torch.tensor(self.shares), dim=0)
        self.register_buffer("labels", labels, persistent=False)
        first, second, last = WIDTHS
        self.first, self.second = nn.Linear(3 + self.segments * (self.segments > 1), first), nn.Linear(first, second)
        self.last, self.norm = nn.Linear(second, last), nn.LayerNorm(last, elementwise_affine=False)
        self.register_buffer("origin", torch.zeros(3))

    def fit(self, window: Window) -> None:
        """Take the mean of the training clouds for the origin, where points are in the base frame."""
        if self.frame == "base":
            points, seen = window[self.key][:, -1], self._seen(window) @ self.labels.T
            self.origin = (points * seen[..., None]).sum((0, 1)) / seen.sum().clamp_min(1)

    def forward(self, window: Window) -> Tensor:
        """(n, 1, 64)."""
        points, seen = self._inputs(window), self._seen(window)
        if torch.compiler.is_exporting() or points.device.type != "cpu":  # neither a graph nor a GPU knows blocks
            pooled = self._pooled(points, seen)
        else:
            rows = max(1, BLOCK_POINTS // points.shape[1])
            pooled = torch.cat([self._pooled(*part) for part in zip(points.split(rows), seen.split(rows))])
        return self.norm(self.last(pooled)).unsqueeze(1)

    def _pooled(self, points: Tensor, seen: Tensor) -> Tensor:
        """(n, 128): what is out of sight counts as 0, which is the least that a feature can be."""
        if torch.is_grad_enabled() and self.first.weight.requires_grad:
            return self._learned(points, seen)
        parts = self._features(points).split(self.shares, dim=1)
        largest = torch.stack([part.amax(dim=1) for part in parts], dim=1)
        return (largest * seen.unsqueeze(-1)).amax(dim=1)

    def _learned(self, points: Tensor, seen: Tensor) -> Tensor:
        """The same for training. The gradient of a largest feature goes through the one point that has it, so that no
        graph is kept of all others, which costs more time than the features themselves."""
        visible = seen @ self.labels.T
        with torch.no_grad():
            winner = (self._features(points) * visible.unsqueeze(-1)).max(dim=1).indices  # argmax is slower
        chosen = points.gather(1, winner.unsqueeze(-1).expand(-1, -1, points.shape[-1]))
        hidden = torch.relu(self.first(chosen))
        features = torch.relu((hidden * self.second.weight).sum(dim=-1) + self.second.bias)
        return features * visible.gather(1, winner)

    def _features(self, points: Tensor) -> Tensor:
        """(n, points, 128) of every point by itself."""
        return torch.relu(self.second(torch.relu(self.first(points))))

    def _inputs(self, window: Window) -> Tensor:
        """(n, points, 3 + labels)."""
        points = window[self.key][:, -1]
        if self.frame == "palm":
            palm = window[PALM_POSE][:, -1]
            points = (points - palm[:, None, :3]) @ _matrix(palm[:, 3:])
        points = (points - self.origin) / UNIT_M
        if self.segments == 1:
            return points
        return torch.cat((points, self.labels.expand(points.shape[0], -1, -1)), dim=-1)

    def _seen(self, window: Window) -> Tensor:
        """(n, segments) 1 where one is seen, else 0."""
        if CLOUD_SEEN not in window:
            return torch.ones_like(window[self.key][:, -1, :1, 0])
        return window[CLOUD_SEEN][:, -1]


def _matrix(quaternion: Tensor) -> Tensor:
    """(n, 3, 3) rotation matrices of unit quaternions (n, 4)."""
    x, y = geometry.rot6d(quaternion).unflatten(-1, (2, 3)).unbind(1)
    return torch.stack((x, y, torch.linalg.cross(x, y)), dim=-1)
