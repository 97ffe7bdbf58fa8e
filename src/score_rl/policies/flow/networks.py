"""Networks for the velocity of a flow over action chunks, behind one interface.

Every network is called as `network(x (n, h, a), t (n,) or (1,), condition (n, k)) -> (n, h, a)`, where `condition`
is `network.prepare(context (n, c))`: what of the context is the same at all flow times, computed once per decision.
It starts as the zero function (its last layer is zero), so that training begins from the policy's analytic part.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from score_rl.core.errors import ScoreError
from score_rl.core.ranges import Length, Range, Width
from score_rl.core.records import validate


@dataclass(frozen=True)
class NetworkConfig:
    """Architecture of the velocity network."""

    kind: Literal["mlp", "unet"] = "mlp"
    """"mlp": for CPUs. "unet": 1-D convolutions over the chunk with FiLM, as in the paper."""
    widths: Annotated[tuple[Width, ...], Length(1, 64)] = (256, 256, 256)
    """Hidden widths: layers of the MLP; resolutions of the U-Net, finest first (the paper: 256 512 1024)."""
    time_features: Annotated[int, Range(2, 16_384)] = 32
    """Sinusoidal features of the flow time (even)."""


class Mlp(nn.Module):
    """Plain MLP on the flattened chunk, the flow time and the context."""

    def __init__(self, config: NetworkConfig, shape: tuple[int, int], context_width: int) -> None:
        super().__init__()
        self.time = TimeFeatures(config.time_features)
        size = math.prod(shape)
        widths = (size + config.time_features + context_width, *config.widths)
        hidden = [(nn.Linear(i, o), nn.SiLU()) for i, o in pairwise(widths)]
        self.layers = nn.Sequential(*(module for pair in hidden for module in pair))
        self.head = _zero(nn.Linear(widths[-1], size))

    def prepare(self, context: Tensor) -> Tensor:
        """The context's share of the first layer (n, width), bias included."""
        first = self.layers[0]
        return nn.functional.linear(context, first.weight[:, -context.shape[1] :], first.bias)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        size, weight = self.head.out_features, self.layers[0].weight
        time = self.time(t)
        first = nn.functional.linear(x.flatten(1), weight[:, :size])
        first = first + nn.functional.linear(time, weight[:, size : size + time.shape[1]]) + condition
        return self.head(self.layers[1:](first)).view_as(x)


class Unet(nn.Module):
    """1-D U-Net over the chunk's time, every block modulated (FiLM) by flow time and context.

    The horizon must be divisible by 2^(resolutions - 1).
    """

    def __init__(self, config: NetworkConfig, shape: tuple[int, int], context_width: int) -> None:
        super().__init__()
        horizon, action_dim = shape
        widths, factor = config.widths, 2 ** (len(config.widths) - 1)
        if horizon % factor:
            raise ScoreError(
                f"a U-Net of {len(widths)} resolutions needs a horizon divisible by {factor}, not {horizon}"
            )
        if bad := [width for width in widths if width % 8]:
            raise ScoreError(f"widths of a U-Net must be multiples of 8 (group normalisation), not {bad}")
        self.time = TimeFeatures(config.time_features)
        condition = widths[0]
        self.condition = nn.Sequential(nn.Linear(config.time_features + context_width, condition), nn.SiLU())
        inputs = (action_dim, *widths[:-1])
        self.down = nn.ModuleList(_Block(i, o, condition) for i, o in zip(inputs, widths))
        self.shrink = nn.ModuleList(nn.Conv1d(w, w, 3, stride=2, padding=1) for w in widths[:-1])
        self.middle = _Block(widths[-1], widths[-1], condition)
        self.grow = nn.ModuleList(nn.ConvTranspose1d(w, w, 4, stride=2, padding=1) for w in widths[:0:-1])
        self.up = nn.ModuleList(_Block(deep + w, w, condition) for deep, w in zip(widths[:0:-1], widths[-2::-1]))
        self.head = _zero(nn.Conv1d(widths[0], action_dim, 1))

    def prepare(self, context: Tensor) -> Tensor:
        """The context itself."""
        return context

    def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        modulation = self.condition(torch.cat((self.time(t).expand(x.shape[0], -1), condition), dim=-1))
        hidden, skips = x.transpose(1, 2), []
        for level, block in enumerate(self.down):
            hidden = block(hidden, modulation)
            if level < len(self.shrink):
                skips.append(hidden)
                hidden = self.shrink[level](hidden)
        hidden = self.middle(hidden, modulation)
        for grow, block in zip(self.grow, self.up):
            hidden = block(torch.cat((grow(hidden), skips.pop()), dim=1), modulation)
        return self.head(hidden).transpose(1, 2)


class TimeFeatures(nn.Module):
    """Sinusoids of the flow time t (n,) -> (n, features), at octaves from a quarter turn over [0, 1] upwards."""

    frequencies: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        # Up to 32 turns: enough to tell apart the sampler's times without making the field rough in between.
        octaves = torch.logspace(-2, 5, features // 2, base=2.0)
        self.register_buffer("frequencies", 2.0 * math.pi * octaves, persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        phase = t[:, None] * self.frequencies
        return torch.cat((phase.sin(), phase.cos()), dim=-1)


class _Block(nn.Module):
    """Residual block of two convolutions (n, i, h) -> (n, o, h) with FiLM between them."""

    def __init__(self, inputs: int, outputs: int, condition: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv1d(inputs, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.SiLU())
        self.film = nn.Linear(condition, 2 * outputs)
        self.second = nn.Sequential(nn.Conv1d(outputs, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.SiLU())
        self.shortcut = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.film(condition).unsqueeze(-1).chunk(2, dim=1)
        return self.second(self.first(x) * (1.0 + scale) + shift) + self.shortcut(x)


def _zero(layer: nn.Module) -> nn.Module:
    """The layer with all parameters zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


NETWORKS: dict[str, Callable[[NetworkConfig, tuple[int, int], int], nn.Module]] = {"mlp": Mlp, "unet": Unet}
"""Networks by the name that `NetworkConfig.kind` gives them."""


def make_network(config: NetworkConfig, shape: tuple[int, int], context_width: int) -> nn.Module:
    """Network for chunks of shape (h, a) and contexts of width c. Raises ScoreError for impossible sizes."""
    validate(config, "network")
    if config.time_features % 2:
        raise ScoreError(f"network: time_features is {config.time_features}, expected an even number")
    return NETWORKS[config.kind](config, shape, context_width)
