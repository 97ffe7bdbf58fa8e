"""Figures of support: from the ranks and latents of decisions to those of an episode and of a record.

Decisions of one episode are correlated, so intervals take episodes as clusters: Wilson's with the effective number
of decisions for rates, Student's of the linearised ratio for means (`core.statistics`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from score_rl.core.statistics import clustered_mean, clustered_wilson
from score_rl.evaluation.support.inversion import Latents, usable
from score_rl.evaluation.support.meter import Ranks, SupportConfig


def off_support(rank: Tensor, config: SupportConfig) -> Tensor:
    """Which ranks (any shape) are off support at the level; NaN is not."""
    return rank * config.samples > config.samples - _alarms(config) + 0.5


def too_central(rank: Tensor, config: SupportConfig) -> Tensor:
    """Which ranks (any shape) are as central as `level` of the base policy's own; NaN is not."""
    return rank * config.samples < _alarms(config) - 0.5


def typicality(rank: Tensor, config: SupportConfig) -> Tensor:
    """Two-sided: 1 in the middle of the base policy's own ranks, 0 at either end; 0.5 on average for the base."""
    return 1 - (2 * (rank * config.samples + 0.5) / (config.samples + 1) - 1).abs()


def pooled_ranks(executed: Tensor, base: Tensor) -> Tensor:
    """Share (q,) of the base values (b,) below each executed value (q,); ties, infinite ones too, count half."""
    below = (base < executed[:, None]).sum(1)
    equal = (base == executed[:, None]).sum(1)
    return (below + 0.5 * equal) / len(base)


def pooled_off(executed: Tensor, base: Tensor, level: float) -> Tensor:
    """Which executed values (q,) lie beyond the level's quantile of the base values (b,): at most `level` of b + 1
    exchangeable ones would."""
    return (base >= executed[:, None]).sum(1) + 1 <= level * (len(base) + 1) + 1e-9


def episode_figures(ranks: Ranks, episodes: int, config: SupportConfig) -> list[dict[str, float | int]]:
    """Support figures of every episode, by the field names of `episodes.jsonl`."""
    figures = []
    for index in range(episodes):
        rows = ranks.episode == index
        rank, step = ranks.chunk[rows], ranks.step[rows]
        figures.append(
            {
                "support_decisions": int(rows.sum()),
                "support_violation_rate": _mean(off_support(rank, config)),
                "support_steered_violation_rate": _mean(off_support(ranks.steered[rows], config))
                if ranks.steered.isfinite().any()
                else None,
                "support_step_violation_rate": _mean(off_support(step, config)[step.isfinite()]),
                "support_inside_rate": _mean(too_central(rank, config)),
                "support_typicality": _mean(typicality(rank, config)),
                "support_auc": _mean(rank),
            }
        )
    return figures


def record_figures(ranks: Ranks, latents: Latents | None, config: SupportConfig) -> dict[str, Any]:
    """Support figures of all episodes of one policy, by the field names of `result.json`."""
    record: dict[str, Any] = {"support_n": len(ranks.chunk), "support_level": config.level}
    record |= _ranked("support", ranks.chunk, ranks.episode, config)
    off, step = off_support(ranks.chunk, config), ranks.step
    steps_sent = step.isfinite().sum(1)
    record |= _rate("support_step_violation", off_support(step, config).sum(1), steps_sent, ranks.episode)
    affected = torch.zeros(int(ranks.episode.max()) + 1).index_add(0, ranks.episode, off.float()) > 0
    record |= {
        "support_episode_violation_rate": _mean(affected),
        "support_distance_median": round(float(ranks.distance.median()), 4),
        "support_distance_p95": round(float(ranks.distance.quantile(0.95)), 4),
    }
    if ranks.steered.isfinite().any():
        record |= _ranked("support_steered", ranks.steered, ranks.episode, config)
    if latents is not None:
        record |= _latent_figures(latents, config)
    return record


def _latent_figures(latents: Latents, config: SupportConfig) -> dict[str, Any]:
    record: dict[str, Any] = {
        "support_latent_n": len(latents.executed),
        "support_latent_converged": _mean(latents.base.isfinite()),
        "support_latent_error_p95": _quantile(latents.error[~latents.error.isnan()], 0.95),
        "support_latent_expansion": _quantile(latents.expansion, 0.5),
    }
    if not usable(latents.base[:, None], config.level):
        return record
    ones = torch.ones_like(latents.episode)
    for name, executed, base in (
        ("support_latent", latents.executed, latents.base),
        ("support_latent_steered", latents.executed_steered, latents.base_steered),
    ):
        rank = pooled_ranks(executed, base)
        record |= {
            f"{name}_typicality": round(float((1 - (2 * rank - 1).abs()).mean()), 4),
            f"{name}_auc": round(float(rank.mean()), 4),
        }
        if config.level * (len(base) + 1) >= 1:  # fewer base samples have no such quantile
            off = pooled_off(executed, base, config.level)
            record |= _rate(f"{name}_violation", off.long(), ones, latents.episode)
            record[f"{name}_inside_rate"] = _mean(pooled_off(-executed, -base, config.level))
    return record


def _ranked(name: str, rank: Tensor, episode: Tensor, config: SupportConfig) -> dict[str, Any]:
    ones = torch.ones_like(episode)
    mean, low, high = clustered_mean(_by_episode(rank, episode), _by_episode(ones, episode))
    return {
        **_rate(f"{name}_violation", off_support(rank, config).long(), ones, episode),
        f"{name}_inside_rate": _mean(too_central(rank, config)),
        f"{name}_typicality": round(float(typicality(rank, config).mean()), 4),
        f"{name}_auc": round(mean, 4),
        f"{name}_auc_95": [round(max(0.0, low), 4), round(min(1.0, high), 4)],
    }


def _rate(name: str, hits: Tensor, sizes: Tensor, episode: Tensor) -> dict[str, Any]:
    low, high = clustered_wilson(_by_episode(hits, episode), _by_episode(sizes, episode))
    return {f"{name}_rate": round(float(hits.sum() / sizes.sum()), 4), f"{name}_95": [round(low, 4), round(high, 4)]}


def _by_episode(values: Tensor, episode: Tensor) -> np.ndarray:
    """Sums (e,) over the decisions of every episode that has any."""
    totals = np.bincount(episode.numpy(), weights=values.double().numpy())
    return totals[np.bincount(episode.numpy()) > 0]


def _mean(values: Tensor) -> float | None:
    return round(float(values.float().mean()), 4) if len(values) else None


def _quantile(values: Tensor, q: float) -> float | None:
    """Quantile among (q,) values of which some may be infinite; None where it is infinite or there are none."""
    if not len(values):
        return None
    value = float(values.sort().values[min(len(values) - 1, int(q * len(values)))])
    return round(value, 6) if np.isfinite(value) else None


def _alarms(config: SupportConfig) -> int:
    return round(config.level * (config.samples + 1))
