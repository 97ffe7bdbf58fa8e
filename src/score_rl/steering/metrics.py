"""What one iteration reports: success and force from whole episodes, continuity, time by part."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from score_rl.core import ranks
from score_rl.core.chunks import ChunkResult, Episode

_LARGEST = ("peak_force_n",)  # episode maxima of which a quantile is reported; all others are averaged


class Stopwatch:
    """Seconds spent in named parts: `with watch("policy"): ...`."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Add the time of the body to `part`."""
        start = self._clock()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + self._clock() - start

    def summary(self, steps: int) -> dict[str, float]:
        """`<part>_s` of every part, and control steps per second over all parts."""
        total = sum(self.seconds.values())
        return {f"{part}_s": seconds for part, seconds in self.seconds.items()} | {"steps_per_second": steps / total}


class RolloutMetrics:
    """Collects the decisions and episodes of one rollout."""

    def __init__(self) -> None:
        self.decision_steps = 0
        """Control steps that belong to decisions, i.e. all but filler steps."""
        self._jumps: list[Tensor] = []
        self._episodes: list[Episode] = []
        self._latent_mean_square: list[Tensor] = []

    def add(self, result: ChunkResult, latent: Tensor) -> None:
        """Count one decision of every row, made with latents (n, h, a)."""
        self.decision_steps += int(result.steps.sum())
        self._jumps.append(result.jump)
        self._latent_mean_square.append(latent.square().mean())

    def add_episodes(self, episodes: Sequence[Episode]) -> None:
        """Add finished episodes."""
        self._episodes += episodes

    def of_all_ranks(self) -> RolloutMetrics:
        """Everything that the ranks collected, in their order, at every rank."""
        if ranks.count() == 1:
            return self
        merged = RolloutMetrics()
        own = {
            "decision_steps": self.decision_steps,
            "jumps": torch.cat(self._jumps).tolist(),
            "latent": torch.stack(self._latent_mean_square).tolist(),
            "episodes": [asdict(episode) for episode in self._episodes],
        }
        for part in ranks.gather(own):
            merged.decision_steps += part["decision_steps"]
            merged._jumps.append(torch.tensor(part["jumps"]))
            merged._latent_mean_square += torch.tensor(part["latent"]).unbind()
            merged._episodes += [Episode(**episode) for episode in part["episodes"]]
        return merged

    def summary(self, num_envs: int) -> dict[str, Any]:
        """Figures of the rollout.

        Success, reward and length are of the FIRST episode of every environment: over all finished episodes they
        would favour short ones, because a later episode is only seen if it ends before the rollout does. A first
        episode that did not end counts as a failure.
        """
        first = [episode for episode in self._episodes if episode.index == 0]
        reached = [episode.steps_to_success for episode in first if episode.success_ever]
        jumps = torch.cat(self._jumps)
        figures: dict[str, Any] = {
            "success": len(reached) / num_envs,
            "success_end": sum(episode.success_end for episode in first) / num_envs,
            "steps_to_success": _mean(reached),
            "reward": _mean([episode.reward for episode in first]),
            "episode_steps": _mean([episode.steps for episode in first]),
            "episodes": len(self._episodes),
            "jump_p95": float(torch.quantile(jumps, 0.95)),
            "jump_max": float(jumps.max()),
            "latent_square": float(torch.stack(self._latent_mean_square).mean()),
        }
        for name in sorted({name for episode in self._episodes for name in episode.info}):
            values = [episode.info[name] for episode in self._episodes]
            if name in _LARGEST:
                figures[f"{name}_p95"] = float(torch.quantile(torch.tensor(values), 0.95))
            else:
                figures[f"{name}_mean"] = _mean(values)
        return figures


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
