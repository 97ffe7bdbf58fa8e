"""Encoders: what a flow policy makes of the keys of a window. Their outputs, flat, are the context's features.

An encoder is an `nn.Module`:

    forward(window) -> (n, frames, width)   about zero-mean and of unit scale; `window` holds every key of the policy,
                                            {key: (n, frames, *shape)} as in `PolicySpec.window`
    fit(window)                             take statistics of the training windows, once, before training;
                                            `window` gathers a key when it is asked for it, so ask for what is needed

Its parameters, where it has any, are trained with the flow, and its buffers travel with the weights. A new one is a
class and a line in `ENCODERS`; a policy names it per key in `RepresentationConfig.encoders`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from score_rl.contracts import COMMAND, PolicySpec, Window
from score_rl.core import normalization
from score_rl.core import rotations as geometry
from score_rl.core.arrays import blank_window
from score_rl.core.normalization import Affine
from score_rl.policies.flow.pointnet import PointNet

PALM_KEYS = ("state", COMMAND, "palm_pose", "fingertip_pos")
"""Keys that the "palm" features need."""
OBJECT_POSE = "object_pose"
"""Key that they read where the policy has it."""


class Encoder(Protocol):
    """See the module."""

    def __call__(self, window: Window) -> Tensor:
        """Features (n, frames, width)."""
        ...

    def fit(self, window: Window) -> None:
        """Take statistics of the training windows."""
        ...


Features = Callable[[Window, tuple[str, ...]], Mapping[str, Tensor]]
"""(window, keys) -> features by name, (n, frames, d) each: a function of every frame by itself."""


class FrameFeatures(nn.Module):
    """Fixed features of every frame, normalised to the training windows' mean and standard deviation."""

    def __init__(self, spec: PolicySpec, keys: tuple[str, ...], extract: Features, floor: float) -> None:
        """floor: smallest standard deviation of a feature, in its own unit."""
        super().__init__()
        self.keys, self.floor, self._extract = keys, floor, extract
        # Run on a blank window: the feature functions themselves are the only description of their output.
        blank = extract(blank_window(spec), keys)
        self.layout: dict[str, int] = {name: value.shape[-1] for name, value in blank.items()}
        """Features of one frame in their order: name -> width."""
        width = sum(self.layout.values())
        self.normaliser = Affine(torch.zeros(width), torch.ones(width))

    def fit(self, window: Window) -> None:
        """See the module."""
        self.normaliser = normalization.standard(self._features(window).flatten(0, 1), self.floor)

    def forward(self, window: Window) -> Tensor:
        """See the module."""
        return self.normaliser(self._features(window))

    def rounded(self, name: str, values: Tensor) -> Tensor:
        """Values (n, d) of a feature as the network sees them: normalised and back."""
        before = list(self.layout)[: list(self.layout).index(name)]
        place = slice(start := sum(self.layout[one] for one in before), start + self.layout[name])
        offset, scale = self.normaliser.offset[place], self.normaliser.scale[place]
        return (values - offset) / scale * scale + offset

    def _features(self, window: Window) -> Tensor:
        return torch.cat(list(self._extract(window, self.keys).values()), dim=-1)


def identity_features(window: Window, keys: tuple[str, ...]) -> dict[str, Tensor]:
    """The keys themselves, flat."""
    return {key: window[key].flatten(2).to(torch.float32) for key in keys}


def palm_features(window: Window, keys: tuple[str, ...]) -> dict[str, Tensor]:
    """Hand-centred features: the same grasp looks the same wherever it happens.

    Measured joints and command [rad]; palm position [m] and orientation (rot6d) in the base frame; object
    position [m] and orientation (rot6d), where `object_pose` is among the keys, and fingertip positions [m] in the
    palm's frame. Further keys are appended flat.
    """
    palm, fingertips = window["palm_pose"], window["fingertip_pos"]
    tips = geometry.point_in(palm.unsqueeze(-2), fingertips.unflatten(-1, (-1, 3))).flatten(-2)
    hand_centred = {
        "state": window["state"],
        COMMAND: window[COMMAND],
        "palm_position": palm[..., :3],
        "palm_orientation": geometry.rot6d(palm[..., 3:]),
    }
    if OBJECT_POSE in keys:
        position, rotation = window[OBJECT_POSE].split((3, 4), dim=-1)
        # A measured orientation with noise on it is no unit quaternion.
        seen = geometry.pose_in(palm, torch.cat((position, geometry.quat_normalize(rotation)), dim=-1))
        hand_centred["object_position_in_palm"] = seen[..., :3]
        hand_centred["object_orientation_in_palm"] = geometry.rot6d(seen[..., 3:])
    hand_centred["fingertips_in_palm"] = tips
    others = tuple(key for key in keys if key not in (*PALM_KEYS, OBJECT_POSE))
    return hand_centred | identity_features(window, others)


class Raw(nn.Module):
    """A key's numbers as they are, without normalisation: of flags, which may never change in the demonstrations."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        super().__init__()
        self.keys = keys

    def fit(self, window: Window) -> None:
        """Nothing to fit."""

    def forward(self, window: Window) -> Tensor:
        """See the module."""
        return torch.cat(list(identity_features(window, self.keys).values()), dim=-1)


ENCODERS: dict[str, Callable[[PolicySpec, tuple[str, ...], float], nn.Module]] = {
    "identity": lambda spec, keys, floor: FrameFeatures(spec, keys, identity_features, floor),
    "palm": lambda spec, keys, floor: FrameFeatures(spec, keys, palm_features, floor),
    "raw": lambda spec, keys, floor: Raw(keys),
    "pointnet": lambda spec, keys, floor: PointNet(spec, keys, "palm"),
    "pointnet_base": lambda spec, keys, floor: PointNet(spec, keys, "base"),
}
"""(policy, keys, `feature_floor`) -> encoder of these keys, by the names that a configuration gives them."""
