"""Tensors of the shapes and types that a policy's specification promises."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from score_rl.contracts import ArraySpec, Context, PolicySpec, Window
from score_rl.core.errors import Diverged, ScoreError


def torch_dtype(array: ArraySpec) -> torch.dtype:
    """The torch type of an array."""
    return getattr(torch, array.dtype)


def repeat_rows(context: Context, times: int) -> Context:
    """Every row of a context (n) so many times, one behind the other: (n times)."""
    features = context.features
    return context.rows(torch.arange(features.shape[0], device=features.device).repeat_interleave(times))


def blank_window(spec: PolicySpec, rows: int = 1, device: str = "cpu") -> dict[str, Tensor]:
    """A window of zeros: the shapes and types that a policy reads."""
    return {
        key: torch.zeros(rows, *array.shape, dtype=torch_dtype(array), device=device)
        for key, array in spec.window.items()
    }


def check_finite(where: str, values: Mapping[str, Tensor]) -> None:
    """Raise Diverged for values {name: (n, ...)} of n environments that hold NaN or infinity."""
    if math.isfinite(sum(value.sum() for value in values.values())):  # a sum is finite where all its terms are
        return
    for name, value in values.items():
        finite = value.isfinite().view(len(value), -1).all(dim=1)
        if rows := (~finite).nonzero().flatten().tolist():
            raise Diverged(f"{name} is not finite in environment(s) {rows} of {where}")


def check_window(spec: PolicySpec, window: Window) -> None:
    """Raise ScoreError unless the window holds every key of the policy as (n, frames, *shape) of its type."""
    for key, array in spec.window.items():
        if key not in window:
            raise ScoreError(f"the policy reads {key!r}, but the window only has {sorted(window)}")
        found = window[key]
        if tuple(found.shape[1:]) != array.shape or found.dtype != torch_dtype(array):
            expected = ", ".join(map(str, array.shape))
            dtype = str(found.dtype).removeprefix("torch.")
            raise ScoreError(
                f"window of {key!r} has shape {tuple(found.shape)} {dtype}, expected (n, {expected}) {array.dtype}"
            )
