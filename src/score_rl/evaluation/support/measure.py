"""Support within an evaluation: measured per policy, kept with its trace, turned into fields of records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from score_rl.evaluation.evaluate import Evaluation
from score_rl.evaluation.results import Episode
from score_rl.evaluation.support.figures import episode_figures, record_figures
from score_rl.evaluation.support.inversion import Latents, invert_executed
from score_rl.evaluation.support.meter import Ranks, SupportConfig, SupportMeter

RANKS, LATENTS = "support.", "support.latent."
"""Prefixes of the tensors in a trace."""


def measure(
    meter: SupportMeter, outcome: Evaluation, episodes: int = 0, advance: Callable[[int], None] | None = None
) -> tuple[list[Episode], dict[str, Tensor]]:
    """The episodes with their support figures, and the measurement as tensors that a trace can keep.

    `outcome` holds its executed chunks, of which those of the first `episodes` are measured (0: of all); `advance` is
    told how many. The other episodes have no figures.
    """
    measured = min(episodes, len(outcome.episodes)) or len(outcome.episodes)
    executed = outcome.executed.of_first(measured)
    ranks = meter.measure(executed, advance)
    latents = invert_executed(meter, executed)
    figures = episode_figures(ranks, measured, meter.config)
    kept = {RANKS + name: value for name, value in vars(ranks).items()}
    if latents is not None:
        kept |= {LATENTS + name: value for name, value in vars(latents).items()}
    played = [replace(episode, **found) for episode, found in zip(outcome.episodes, figures)]
    return played + outcome.episodes[measured:], kept


def kept_ranks(trace: Mapping[str, Tensor]) -> Ranks | None:
    """The ranks that a trace keeps; None where support was not measured."""
    found = {name.removeprefix(RANKS): value for name, value in trace.items() if name.startswith(RANKS)}
    found = {name: value for name, value in found.items() if "." not in name}
    return Ranks(**found) if found else None


def kept_latents(trace: Mapping[str, Tensor]) -> Latents | None:
    """The inverted latents that a trace keeps; None where there are none."""
    found = {name.removeprefix(LATENTS): value for name, value in trace.items() if name.startswith(LATENTS)}
    return Latents(**found) if found else None


def support_fields(trace: Mapping[str, Tensor], config: SupportConfig) -> dict[str, Any]:
    """Fields of a policy's record from its trace; none where support was not measured."""
    ranks = kept_ranks(trace)
    return {} if ranks is None else record_figures(ranks, kept_latents(trace), config)
