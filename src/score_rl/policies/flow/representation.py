"""What the network sees and says: features of a window of observations, and coordinates of an action chunk.

Both are configuration, because they decide more about a small policy than its network does:
  - observations as they are, in the palm's frame, or through an encoder of their own (`policies.flow.encoders`);
  - actions "absolute" targets or targets "relative" to the command that the robot is holding.
Everything is normalised to about unit scale; the features of a window are those of the policy's context.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from score_rl.contracts import COMMAND, PolicySpec, Window
from score_rl.core import dct, normalization
from score_rl.core.arrays import blank_window
from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.normalization import Affine
from score_rl.core.ranges import Count, Positive
from score_rl.core.records import validate
from score_rl.policies.flow.encoders import ENCODERS, OBJECT_POSE, PALM_KEYS, FrameFeatures
from score_rl.policies.flow.pointnet import PALM_POSE


@dataclass(frozen=True)
class RepresentationConfig:
    """Coordinates of observations and actions."""

    keys: tuple[str, ...] = ("state",)
    """Observed keys that the policy reads, in the order of the context."""
    views: tuple[str, ...] = ()
    """Views that it reads: keys that are looked at for a decision only, their newest look without a history."""
    history: Count = 1
    """Consecutive frames of every observed key in one window."""
    horizon: Count = 8
    """Control steps in one action chunk."""
    observation: str = "identity"
    """Encoder of all observed keys together that `encoders` does not name. "identity": the keys as they are. "palm":
    object pose, where it is among the keys, and fingertip positions in the palm's frame, the palm's pose in the base
    frame, measured joints and command (needs the Franka + LEAP keys)."""
    encoders: dict[str, str] = field(default_factory=dict)
    """Key or view -> encoder of its own; views that are not named are taken as they are."""
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
    feature_floor: Positive = 0.01
    """Smallest standard deviation of a feature (rad, m or the feature's own unit): smaller ones count as this,
    so that a feature which hardly moved in the data can not explode outside of them."""
    action_floor: Positive = 1e-3
    """Smallest scale of an action dimension, in units of the action."""


@dataclass(frozen=True)
class FlowContext:
    """A `contracts.Context`: beside the features, what the policy's actions start from."""

    features: Tensor
    """(n, c)."""
    held: Tensor | None
    """(n, a) command held at the decision; None where the actions do not start from it."""

    def rows(self, index: Tensor) -> FlowContext:
        """See `Context.rows`."""
        return FlowContext(self.features[index], None if self.held is None else self.held[index])


class Representation(nn.Module):
    """Window -> context and back-and-forth between physical and normalised action chunks.

    The features (n, c) are those of every encoder, one behind the other, each flat: frames (oldest first), then
    features of a frame.
    """

    def __init__(self, spec: PolicySpec, config: RepresentationConfig) -> None:
        """Encoders with fresh weights, normalisers that change nothing: to be fitted or loaded.

        Raises ScoreError where the configuration asks for what the policy does not have.
        """
        check_representation(spec, config)
        super().__init__()
        self.spec, self.config = spec, config
        self.encoders = nn.ModuleList(
            ENCODERS[name](spec, keys, config.feature_floor) for name, keys in _plan(config)
        )
        self.actions = Affine(torch.zeros(spec.chunk_shape), torch.ones(spec.chunk_shape))
        self._to_coordinates, self._from_coordinates = ACTIONS[config.action]
        with torch.no_grad():
            self.context_width = self.features(blank_window(spec)).shape[1]

    def features(self, window: Window) -> Tensor:
        """Features (n, c) of a window {key: (n, frames, *shape)}."""
        return torch.cat([encoder(window).flatten(1) for encoder in self.encoders], dim=1)

    def context(self, window: Window) -> FlowContext:
        """Context of a window {key: (n, frames, *shape)}."""
        return FlowContext(self.features(window), self._held(window))

    def normalize(self, held: Tensor | None, chunk: Tensor) -> Tensor:
        """Chunk (n, h, a) in physical units -> normalised coordinates, at the held command of its context."""
        return self.actions(self._to_coordinates(chunk, held))

    def denormalize(self, held: Tensor | None, x: Tensor) -> Tensor:
        """Inverse of `normalize`."""
        return self._from_coordinates(self.actions.inverse(x), held)

    def _held(self, window: Window) -> Tensor | None:
        """Command (n, a) held at the decision, where actions start from it."""
        if self.config.action not in FROM_COMMAND:
            return None
        held = window[COMMAND][:, -1]
        first = self.encoders[0]
        # Rounded as in the features, from which it was read back when today's policies and figures were made.
        return first.rounded(COMMAND, held) if isinstance(first, FrameFeatures) and COMMAND in first.layout else held


def fit_representation(
    spec: PolicySpec, config: RepresentationConfig, window: Window, chunk: Tensor, is_pad: Tensor | None = None
) -> Representation:
    """Representation with statistics of training windows {key: (n, frames, *shape)} and their chunks (n, h, a).

    is_pad: (n, h) bool, actions behind an episode's end, of which nothing is learned: no statistics either. Where it
    is given, there must be one window for every frame.
    """
    representation = Representation(spec, config).to(chunk.device)
    for encoder in representation.encoders:
        encoder.fit(window)
    to_coordinates, _ = ACTIONS[config.action]
    coordinates = to_coordinates(chunk, window[COMMAND][:, -1] if config.action in FROM_COMMAND else None)
    real = torch.ones_like(chunk[..., 0], dtype=torch.bool) if is_pad is None else ~is_pad
    if config.action == "modes":  # every mode is of the whole chunk
        whole = real.all(1)
        real = (whole if whole.any() else ~whole)[:, None].expand(real.shape)
    elif config.action == "absolute" and not config.per_step and is_pad is not None:
        real = real.clone()
        real[:, 1:] = False  # an action is the same wherever in a chunk it stands: every frame counts once
    representation.actions = _fit_actions(coordinates, real, config)
    return representation


def _fit_actions(x: Tensor, real: Tensor, config: RepresentationConfig) -> Affine:
    """Normaliser of coordinates (n, h, a) where they are `real` (n, h)."""
    fit = ACTION_SCALES[config.action_scale]
    # Statistics pooled over the chunk are repeated for every step, so that both variants have shape (h, a).
    steps = [pooled := fit(x[real], config.action_floor)] * x.shape[1]
    if config.per_step:  # steps that no episode is long enough for count as the others
        reached = real.any(0).tolist()
        steps = [fit(x[real[:, i], i], config.action_floor) if reached[i] else pooled for i in range(x.shape[1])]
    return Affine(torch.stack([one.offset for one in steps]), torch.stack([one.scale for one in steps]))


def check_representation(spec: PolicySpec, config: RepresentationConfig) -> None:
    """Raise ScoreError where the configuration asks for keys or widths that the policy does not have."""
    validate(config, "representation")
    for name in (config.observation, *config.encoders.values()):
        if name not in ENCODERS:
            raise unknown_choice("encoder", name, ENCODERS)
    observed = spec.interface.observation
    for kind, keys, known in (("observed key", config.keys, observed), ("view", config.views, spec.interface.views)):
        for key in keys:
            if key not in known:
                raise unknown_choice(kind, key, known)
            if keys.count(key) > 1:
                raise ScoreError(f"the {kind} '{key}' is chosen {keys.count(key)} times")
    for key in config.encoders:
        if key not in (*config.keys, *config.views):
            raise unknown_choice("key with an encoder of its own", key, (*config.keys, *config.views))
    shared = [key for key in observed if key not in config.encoders]
    if config.observation == "palm" and (missing := [key for key in PALM_KEYS if key not in shared]):
        read = ", ".join((*PALM_KEYS[:2], OBJECT_POSE, *PALM_KEYS[2:]))
        raise ScoreError(
            f"palm features read the keys {read}, of which they need all but {OBJECT_POSE}; "
            f"missing: {', '.join(missing)}. "
            'Add them to `keys` or use observation "identity" '
            "(--training.policy.representation.observation identity)."
        )
    if config.action in FROM_COMMAND:
        have, wanted = observed.get(COMMAND), spec.interface.action.shape
        if have is None or have.shape != wanted:
            raise ScoreError(
                f"{config.action} actions need the key {COMMAND!r} of the actions' shape {wanted} "
                f"among the policy's keys {sorted(observed)}; here it is {have}. Add it to `keys` or use action "
                '"absolute" (--training.policy.representation.action absolute).'
            )


def plain_representation(config: RepresentationConfig) -> RepresentationConfig:
    """The same keys as they are, no clouds, and actions that start from none of the keys, where these are not a
    robot's that "palm" features, `pointnet` and the held command ask for; otherwise unchanged."""
    if "pointnet" in config.encoders.values() and PALM_POSE not in config.keys:
        encoders = {key: name for key, name in config.encoders.items() if key in config.keys}
        config = replace(config, views=(), encoders=encoders)
    if config.observation == "palm" and not set(PALM_KEYS) <= set(config.keys) - set(config.encoders):
        config = replace(config, observation="identity")
    if config.action in FROM_COMMAND and COMMAND not in config.keys:
        config = replace(config, action="absolute")
    return config


def _plan(config: RepresentationConfig) -> list[tuple[str, tuple[str, ...]]]:
    """(encoder, the keys that are its own) in the order of the context."""
    together = [
        (config.observation, tuple(key for key in config.keys if key not in config.encoders)),
        ("identity", tuple(key for key in config.views if key not in config.encoders)),
    ]
    alone = [(name, (key,)) for key, name in config.encoders.items()]
    return [(name, keys) for name, keys in (*together, *alone) if keys]


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
