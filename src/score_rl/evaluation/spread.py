"""The base policy's spread: how different the chunks are that it draws in one and the same state.

It is how much there is to choose for steering: where it is small, all latents mean nearly the same, and so are their
successes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from score_rl.contracts import Window
from score_rl.core.ranges import Natural, Range
from score_rl.core.seeding import torch_generator
from score_rl.steering.method import Decider

SPREAD = "spread."
"""Prefix of what a trace keeps of it."""


@dataclass(frozen=True)
class SpreadConfig:
    """How it is measured, in the states of the base policy's decisions."""

    states: Natural = 256
    """States, evenly spaced over all decisions; 0: not measured."""
    samples: Annotated[int, Range(2)] = 16
    """m: chunks drawn in every state."""


@torch.no_grad()
def chunk_spread(
    decider: Decider, window: Window, config: SpreadConfig, device: str | torch.device = "cpu"
) -> dict[str, Tensor]:
    """Standard deviation over m chunks drawn in one state, mean over states: `action` (h, a) in action units.

    `normalized` (h, a) likewise in the normalised coordinates of the decider's policy, where it has any. window {key:
    (n, frames, d)}: states to take a sample of; `states` and `samples` (1,) say of how many. device: the decider's.
    """
    n = len(next(iter(window.values())))
    rows = torch.linspace(0, n - 1, min(config.states, n)).round().long().repeat_interleave(config.samples)
    repeated = {key: values[rows].to(device) for key, values in window.items()}
    noise = torch.randn(len(rows), *decider.spec.latent_shape, generator=torch_generator("spread"))
    chunk = decider.decide(repeated, noise.to(device)).chunk

    def spread(values: Tensor) -> Tensor:
        return values.view(-1, config.samples, *values.shape[1:]).std(dim=1).mean(dim=0).cpu()

    found = {"action": spread(chunk)}
    if hasattr(policy := getattr(decider, "policy", None), "normalize"):
        found["normalized"] = spread(policy.normalize(policy.encode(repeated), chunk))
    counts = {"states": len(rows) // config.samples, "samples": config.samples}
    return found | {name: torch.tensor([count]) for name, count in counts.items()}


def kept_spread(trace: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a trace keeps of a spread, by the names of `chunk_spread`; empty where it was not measured."""
    return {name.removeprefix(SPREAD): value for name, value in trace.items() if name.startswith(SPREAD)}


def spread_fields(trace: Mapping[str, Tensor]) -> dict[str, Any]:
    """Fields of the base policy's record from its trace: means over the chunk; none where it was not measured."""
    found = kept_spread(trace)
    fields = {
        f"spread_{name}": round(float(found[name].mean()), 6) for name in ("action", "normalized") if name in found
    }
    return fields | {f"spread_{name}": int(found[name]) for name in ("states", "samples") if name in found}
