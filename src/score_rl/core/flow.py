"""Conditional flow matching: the path, its velocity, the sampler and the exact inverse of the sampler.

Flow time t runs from 0 (noise) to 1 (data) along the straight path x_t = (1 - t) e + t a, whose velocity is
a - e (Lipman et al. 2023, "Flow Matching for Generative Modeling", with zero minimal width).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Velocity = Callable[[Tensor, float], Tensor]
"""Flow field v(x, t): x (n, ...) and a flow time in [0, 1] -> (n, ...)."""


def path(noise: Tensor, data: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Point x_t on the straight path and its velocity, for noise and data (n, ...) at flow times t (n,)."""
    t = _expand(t, data)
    return (1.0 - t) * noise + t * data, data - noise


def gaussian_skip(t: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """Coefficients (w, c) of the analytic velocity of Gaussian data, to precondition v(x, t) = w(t) x + c(t) F.

    Take data a of unit variance over all conditions that, given the condition, are Gaussian with mean m and
    width s = `width`. With D = (1 - t)^2 + t^2 s^2, the variance of x_t around its mean, the optimal
    velocity is linear in x,
        E[a - e | x_t] = w x_t + (1 - t) / D m,        w = (t s^2 - (1 - t)) / D,
    so what is left for the network is a - e - w x_t = ((1 - t) a - t s^2 e) / D. Its standard deviation
        c = sqrt((1 - t)^2 + t^2 s^4) / D
    scales the network's output F to unit variance, as the output scaling of Karras et al. 2022 ("Elucidating the
    Design Space of Diffusion-Based Generative Models") does for denoisers. The smaller the width, the more F
    is a prediction of the data themselves; width 1 is the uninformed choice.
    """
    noise_part, data_part = (1.0 - t) ** 2, (t * width) ** 2
    variance = noise_part + data_part
    skip = (t * width**2 - (1.0 - t)) / variance
    scale = torch.sqrt(noise_part + (t * width**2) ** 2) / variance
    return skip, scale


def midpoint(velocity: Velocity, x: Tensor, steps: int = 5) -> Tensor:
    """Integrate x (n, ...) from t = 0 to t = 1 with `steps` midpoint (RK2) steps, two evaluations each."""
    for k in range(steps):
        x = _midpoint_step(velocity, x, k / steps, 1.0 / steps)
    return x


@dataclass(frozen=True)
class Inversion:
    """Latents that the sampler maps to given data, and how far to trust them."""

    latent: Tensor
    """(n, ...) the latents found."""
    residual: Tensor
    """(n,) largest absolute difference between the data and the sampler's image of `latent`."""
    rate: Tensor
    """(n,) mean contraction of the slowest step's iteration: near 1 that step is nearly singular, and an error
    of its data reaches its latent multiplied by about 1 / (1 - rate)."""
    converged: Tensor
    """(n,) bool: `residual` is within the tolerance."""


def invert_midpoint(
    velocity: Velocity, x: Tensor, steps: int = 5, tolerance: float = 1e-5, max_iterations: int = 500
) -> Inversion:
    """Exact inverse of `midpoint` with the same number of steps, by fixed-point iteration on every step.

    A reverse ODE is not the inverse of the discrete sampler (its error swamps any test of support). One step maps
    u to x = u + dt g(u); its inverse is the fixed point of u <- x - dt g(u), which contracts wherever the flow
    moves less than one step's change of itself (dt |dg/du| < 1). Rows that do not converge are reported, not
    hidden: see `Inversion.converged`.
    """
    data, dt = x, 1.0 / steps
    rate = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for k in reversed(range(steps)):
        x, step_rate = _invert_step(velocity, x, k * dt, dt, tolerance / 10.0, max_iterations)
        rate = torch.maximum(rate, step_rate)
    residual = _row_max(midpoint(velocity, x, steps) - data)
    return Inversion(latent=x, residual=residual, rate=rate, converged=residual <= tolerance)


def _midpoint_step(velocity: Velocity, x: Tensor, t: float, dt: float) -> Tensor:
    """One explicit midpoint step of length dt from flow time t."""
    half = x + 0.5 * dt * velocity(x, t)
    return x + dt * velocity(half, t + 0.5 * dt)


def _invert_step(
    velocity: Velocity, x: Tensor, t: float, dt: float, tolerance: float, max_iterations: int
) -> tuple[Tensor, Tensor]:
    """Solve `_midpoint_step(u) = x` for u; returns u and the observed contraction rate (n,)."""
    u = x
    error = x - _midpoint_step(velocity, u, t, dt)
    first = _row_max(error).clamp_min(1e-30)
    rate = torch.zeros_like(first)
    for iteration in range(1, max_iterations + 1):
        u = u + error
        error = x - _midpoint_step(velocity, u, t, dt)
        size = _row_max(error)
        moving = size > tolerance
        if not moving.any():
            break
        # The geometric mean over all iterations: single ratios are rounding noise near convergence.
        rate = torch.where(moving, (size / first) ** (1.0 / iteration), rate)
    return u, rate


def _row_max(x: Tensor) -> Tensor:
    """(n,) largest absolute entry of every row of (n, ...)."""
    return x.abs().flatten(1).amax(1)


def _expand(t: Tensor, x: Tensor) -> Tensor:
    """View t (n,) so that it broadcasts against x (n, ...)."""
    return t.view(-1, *([1] * (x.dim() - 1)))
