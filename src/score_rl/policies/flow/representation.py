"""What the network sees and says: features of a window of observations, and coordinates of an action chunk.

Both are configuration, because they decide more about a small policy than its network does:
  - observations "raw" (the keys as they are) or "palm" (object and fingertips in the palm's frame);
  - actions "absolute" targets or targets "relative" to the command that the robot is holding.
Everything is normalised to about unit scale; the normalised features of a window ARE the policy's context.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from score_rl.contracts import COMMAND, PolicySpec, Window
from score_rl.core import dct, normalization
from score_rl.core import rotations as geometry
from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.normalization import Affine

PALM_KEYS = ("state", COMMAND, "object_pose", "palm_pose", "fingertip_pos")
"""Keys that the "palm" features read."""


@dataclass(frozen=True)
class RepresentationConfig:
    """Coordinates of observations and actions."""

    keys: tuple[str, ...] = ("state",)
    """Actor keys that the policy reads, in the order of the context."""
    history: int = 1
    """Consecutive frames of every key in one window."""
    horizon: int = 8
    """Control steps in one action chunk."""
    observation: Literal["raw", "palm"] = "raw"
    """"raw": the keys as they are. "palm": object pose and fingertip positions in the palm's frame, the palm's
    pose in the base frame, measured joints and command (needs the Franka + LEAP keys)."""
    action: Literal["absolute", "modes", "relative", "delta"] = "absolute"
    """"modes": the cosine modes of the chunk over time, slowest first (with `per_step`: a scale for every mode).
    Recorded motion has little power in fast modes, so the policy's noise has little there either: its samples
    differ by smooth motions instead of jitter, which gives steering more to choose from. "relative": targets minus
    the command held at the decision (the last frame of key `command`). "delta": every target minus the one before,
    the first minus that command: errors of one step are small, and add up smoothly instead of jittering."""
    action_scale: Literal["min_max", "standard"] = "min_max"
    """Normalisation of actions: range to [-1, 1], or zero mean and unit standard deviation."""
    per_step: bool = False
    """Separate action statistics for every step of the chunk: relative targets grow along it."""
    feature_floor: float = 0.01
    """Smallest standard deviation of a feature (rad, m or the feature's own unit): smaller ones count as this,
    so that a feature which hardly moved in the data can not explode outside of them."""
    action_floor: float = 1e-3
    """Smallest scale of an action dimension, in units of the action."""


class Representation(nn.Module):
    """Window -> context and back-and-forth between physical and normalised action chunks.

    The context (n, c) is the concatenation, over frames (oldest first), of the normalised features of one frame.
    """

    def __init__(self, spec: PolicySpec, config: RepresentationConfig, features: Affine, actions: Affine) -> None:
        """`features` normalises the features of one frame (f,), `actions` a chunk (h, a)."""
        super().__init__()
        self.spec, self.config = spec, config
        self.features, self.actions = features, actions
        self._extract = FEATURES[config.observation]
        self._to_coordinates, self._from_coordinates = ACTIONS[config.action]
        layout = feature_layout(spec, config)
        self.frame_width = sum(layout.values())
        self.context_width = spec.history * self.frame_width
        _check_shape("features", features, (self.frame_width,))
        _check_shape("actions", actions, spec.latent_shape)
        self._command: slice | None = None  # where a frame's features hold the command, if actions start from it
        if config.action in FROM_COMMAND:
            before = list(layout)[: list(layout).index(COMMAND)]
            self._command = slice(start := sum(layout[name] for name in before), start + spec.action_dim)

    def context(self, window: Window) -> Tensor:
        """Normalised features (n, c) of a window {key: (n, history, d)}."""
        features = torch.cat(list(self._extract(window, self.config.keys).values()), dim=-1)
        return self.features(features).flatten(1)

    def normalize(self, context: Tensor, chunk: Tensor) -> Tensor:
        """Chunk (n, h, a) in physical units -> normalised coordinates."""
        return self.actions(self._to_coordinates(chunk, self._held(context)))

    def denormalize(self, context: Tensor, x: Tensor) -> Tensor:
        """Inverse of `normalize`."""
        return self._from_coordinates(self.actions.inverse(x), self._held(context))

    def _held(self, context: Tensor) -> Tensor | None:
        """Command (n, a) held at the decision, read back from the context, where actions start from it."""
        if self._command is None:
            return None
        return self.features.inverse(context[:, -self.frame_width :])[:, self._command]


def fit_representation(
    spec: PolicySpec, config: RepresentationConfig, window: Window, chunk: Tensor
) -> Representation:
    """Representation with statistics of training windows {key: (n, history, d)} and their chunks (n, h, a)."""
    check_representation(spec, config)
    features = torch.cat(list(FEATURES[config.observation](window, config.keys).values()), dim=-1)
    feature_scale = normalization.standard(features.flatten(0, 1), config.feature_floor)
    to_coordinates, _ = ACTIONS[config.action]
    chunk = to_coordinates(chunk, window[COMMAND][:, -1] if config.action in FROM_COMMAND else None)
    # Statistics pooled over the chunk are repeated for every step, so that both variants have shape (h, a).
    pooled = chunk if config.per_step else chunk.flatten(0, 1)
    scale = ACTION_SCALES[config.action_scale](pooled, config.action_floor)
    actions = Affine(scale.offset.expand(spec.latent_shape), scale.scale.expand(spec.latent_shape))
    return Representation(spec, config, feature_scale, actions)


def blank_representation(spec: PolicySpec, config: RepresentationConfig) -> Representation:
    """Representation with identity normalisers, to load stored statistics into."""
    check_representation(spec, config)
    width = sum(feature_layout(spec, config).values())
    return Representation(
        spec, config, Affine(torch.zeros(width), torch.ones(width)), Affine(*_identity(spec.latent_shape))
    )


def check_representation(spec: PolicySpec, config: RepresentationConfig) -> None:
    """Raise ScoreError where the configuration asks for keys or widths that the policy does not have."""
    if config.observation not in FEATURES:
        raise unknown_choice("observation features", config.observation, FEATURES)
    if config.action_scale not in ACTION_SCALES:
        raise unknown_choice("action scale", config.action_scale, ACTION_SCALES)
    if config.observation == "palm" and (missing := [key for key in PALM_KEYS if key not in spec.observation]):
        raise ScoreError(
            f"palm features need the keys {', '.join(PALM_KEYS)}; missing: {', '.join(missing)}. "
            'Add them to `keys` or use observation "raw".'
        )
    if config.action not in ACTIONS:
        raise unknown_choice("action coordinates", config.action, ACTIONS)
    if config.action in FROM_COMMAND:
        width = spec.observation.get(COMMAND)
        if width != spec.action_dim:
            raise ScoreError(
                f"{config.action} actions need the key {COMMAND!r} of the actions' width {spec.action_dim} among the "
                f"policy's keys {sorted(spec.observation)}; its width here is {width}."
            )


def feature_layout(spec: PolicySpec, config: RepresentationConfig) -> dict[str, int]:
    """Features of one frame in order of the context: name -> width."""
    # Run on a dummy frame: the feature functions themselves are the only description of their output.
    window = {key: torch.zeros(1, 1, width) for key, width in spec.observation.items()}
    return {name: value.shape[-1] for name, value in FEATURES[config.observation](window, config.keys).items()}


def raw_features(window: Window, keys: tuple[str, ...]) -> dict[str, Tensor]:
    """The keys themselves, (n, frames, d) each."""
    return {key: window[key] for key in keys}


def palm_features(window: Window, keys: tuple[str, ...]) -> dict[str, Tensor]:
    """Hand-centred features, (n, frames, d) each: the same grasp looks the same wherever it happens.

    Measured joints and command [rad]; palm position [m] and orientation (rot6d) in the base frame; object
    position [m], orientation (rot6d) and fingertip positions [m] in the palm's frame. Further keys are appended raw.
    """
    palm, fingertips = window["palm_pose"], window["fingertip_pos"]
    position, rotation = window["object_pose"].split((3, 4), dim=-1)
    # A measured orientation with noise on it is no unit quaternion.
    obj = geometry.pose_in(palm, torch.cat((position, geometry.quat_normalize(rotation)), dim=-1))
    tips = geometry.point_in(palm.unsqueeze(-2), fingertips.unflatten(-1, (-1, 3))).flatten(-2)
    hand_centred = {
        "state": window["state"],
        COMMAND: window[COMMAND],
        "palm_position": palm[..., :3],
        "palm_orientation": geometry.rot6d(palm[..., 3:]),
        "object_position_in_palm": obj[..., :3],
        "object_orientation_in_palm": geometry.rot6d(obj[..., 3:]),
        "fingertips_in_palm": tips,
    }
    return hand_centred | {key: window[key] for key in keys if key not in PALM_KEYS}


Features = Callable[[Window, tuple[str, ...]], Mapping[str, Tensor]]

FEATURES: dict[str, Features] = {"raw": raw_features, "palm": palm_features}
"""Feature functions by the name that `RepresentationConfig.observation` gives them."""

Coordinates = Callable[[Tensor, Tensor | None], Tensor]
"""(chunk (n, h, a), command held at the decision (n, a), None unless in FROM_COMMAND) -> chunk (n, h, a)."""

ACTIONS: dict[str, tuple[Coordinates, Coordinates]] = {
    "absolute": (lambda chunk, command: chunk, lambda x, command: x),
    "modes": (lambda chunk, command: dct.to_modes(chunk), lambda x, command: dct.from_modes(x)),
    "relative": (lambda chunk, command: chunk - command[:, None], lambda x, command: x + command[:, None]),
    "delta": (
        lambda chunk, command: torch.diff(chunk, dim=1, prepend=command[:, None]),
        lambda x, command: x.cumsum(1) + command[:, None],
    ),
}
"""Action coordinates and their inverse by the name that `RepresentationConfig.action` gives them."""

FROM_COMMAND = ("relative", "delta")
"""Action coordinates that start from the command held at the decision."""

ACTION_SCALES: dict[str, Callable[[Tensor, float], Affine]] = {
    "min_max": normalization.min_max,
    "standard": normalization.standard,
}
"""Fits of the action normaliser by the name that `RepresentationConfig.action_scale` gives them."""


def _identity(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    return torch.zeros(shape), torch.ones(shape)


def _check_shape(name: str, affine: Affine, shape: tuple[int, ...]) -> None:
    if tuple(affine.offset.shape) != shape:
        raise ScoreError(
            f"normaliser of {name} has shape {tuple(affine.offset.shape)} ({math.prod(affine.offset.shape)} "
            f"values), but this policy needs {shape}"
        )
