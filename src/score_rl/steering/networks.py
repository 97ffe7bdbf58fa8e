"""The networks that steering learns: the actor, and a critic. All of steering that a robot needs to decide."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from score_rl.core import ranks

Activation = Literal["elu", "gelu", "identity", "relu", "selu", "silu", "tanh"]

ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "selu": nn.SELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
"""Activations by name."""

_INPUT_LIMIT = 10.0  # A privileged input that was constant so far has no scale yet: keep it finite.
_SCALE_FLOOR = 1e-2  # Added to standard deviations, for the same reason.


def mlp(
    inputs: int, outputs: int, hidden: tuple[int, ...], activation: Activation, layer_norm: bool = False
) -> nn.Sequential:
    """Linear layers of these widths with activations in between: (..., inputs) -> (..., outputs).

    layer_norm: hidden layers are normalised (nn.LayerNorm) before their activation.
    """
    layers: list[nn.Module] = []
    for width, following in pairwise((inputs, *hidden)):
        norm = [nn.LayerNorm(following)] if layer_norm else []
        layers += [nn.Linear(width, following), *norm, ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], outputs))


class GaussianActor(nn.Module):
    """Diagonal Gaussian over actions with a state-independent log-std; it starts at exactly N(0, I)."""

    def __init__(
        self, inputs: int, outputs: int, hidden: tuple[int, ...], activation: Activation, layer_norm: bool = False
    ) -> None:
        super().__init__()
        self.log_std = nn.Parameter(torch.zeros(outputs))
        self.mlp = mlp(inputs, outputs, hidden, activation, layer_norm)
        nn.init.zeros_(self.mlp[-1].weight)
        nn.init.zeros_(self.mlp[-1].bias)

    def mean_std(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (..., d) and standard deviation (d,) at inputs (..., c)."""
        return self.mlp(inputs), self.log_std.exp()

    @torch.no_grad()
    def start_at(self, mean: Tensor, std: float) -> None:
        """Give every input the same mean (d,) and standard deviation; the hidden layers stay as they are."""
        self.mlp[-1].weight.zero_()
        self.mlp[-1].bias.copy_(mean)
        self.set_std(std)

    @torch.no_grad()
    def set_std(self, std: float) -> None:
        """Give every dimension this standard deviation."""
        self.log_std.fill_(math.log(std))

    def forward(self, inputs: Tensor) -> Normal:
        """The distribution at inputs (..., c), of batch shape (..., d)."""
        return Normal(*self.mean_std(inputs), validate_args=False)


class Moments(nn.Module):
    """Normalises inputs (..., p) by their running moments."""

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("variance", torch.ones(inputs))
        self.register_buffer("count", torch.tensor(0))

    def observe(self, inputs: Tensor) -> None:
        """Update the moments with inputs (n, p), of all ranks."""
        mean, variance, count = ranks.moments(inputs)
        self.count += count
        share, change = count / self.count, mean - self.mean
        self.mean += share * change
        self.variance += share * (variance - self.variance + change * (mean - self.mean))

    def normalize(self, inputs: Tensor) -> Tensor:
        """What a network sees of inputs (..., p)."""
        scaled = (inputs - self.mean) / (self.variance.sqrt() + _SCALE_FLOOR)
        return scaled.clamp(-_INPUT_LIMIT, _INPUT_LIMIT)


class Critic(Moments):
    """The value of inputs (..., p), which it normalises by their running moments."""

    def __init__(
        self, inputs: int, hidden: tuple[int, ...], activation: Activation, layer_norm: bool = False
    ) -> None:
        super().__init__(inputs)
        self.mlp = mlp(inputs, 1, hidden, activation, layer_norm)

    def forward(self, inputs: Tensor) -> Tensor:
        """Values (...,)."""
        return self.mlp(self.normalize(inputs)).squeeze(-1)
