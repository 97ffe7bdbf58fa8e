"""Where policies that were trained in different ways lose: the same episodes, and the same places?

    python benchmarks/lost_states.py --runs RUN RUN ... --references RUN --world DOMAIN.toml --task grasp_bottle

Reads evaluations of the same episodes and begins these once more, to see where the object lies. Two policies that
lose by chance would share the product of their losses; bins say where along the base's x the losses are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from score_rl.core.errors import ScoreError
from score_rl.core.files import write_json
from score_rl.core.runs import describe_process
from score_rl.evaluation.results import Episode
from score_rl.evaluation.run import read_episodes
from score_rl.sim.open import open_world


@dataclass(frozen=True)
class Benchmark:
    """Evaluations of the same episodes."""

    runs: tuple[Path, ...]
    """Run directories of evaluations in one world, a policy each."""
    references: Path
    """Run directory of the evaluation of base policy and z = 0 there."""
    world: str
    """That world."""
    task: str = "grasp_bottle"
    """Task."""
    edges: tuple[float, ...] = (0.30, 0.40, 0.50, 0.60, 0.70)
    """Bins of the object's x (m, base frame)."""
    result: Path = Path("benchmarks/results/lost_states.json")
    """Result file to write."""


def lost(episodes: Sequence[Episode]) -> dict[int, bool]:
    """Seed -> whether the episode was lost."""
    return {e.seed: not e.success_end or e.fault or e.nan for e in episodes}


def summary(losses: np.ndarray, base: np.ndarray, x: np.ndarray, edges: Sequence[float]) -> dict[str, Any]:
    """Figures of losses (policies, episodes) bool, the base policy's (episodes,), and the object's x in m."""
    pairs = [(float((a & b).mean()), float(a.mean() * b.mean())) for a, b in combinations(losses, 2)]
    times = losses.sum(axis=0)
    return {
        "policies": len(losses),
        "episodes": losses.shape[1],
        "lost": losses.mean(axis=1).round(4).tolist(),
        "lost_by_both_of_two": float(np.mean([both for both, _ in pairs])),
        "lost_by_both_if_independent": float(np.mean([chance for _, chance in pairs])),
        "episodes_lost_by": [int((times == count).sum()) for count in range(len(losses) + 1)],
        "bins": [
            _bin(losses, base, (low <= x) & (x < high)) | {"from_m": low, "to_m": high}
            for low, high in pairwise(edges)
        ],
    }


def _bin(losses: np.ndarray, base: np.ndarray, inside: np.ndarray) -> dict[str, Any]:
    """Of the episodes that begin in a place: how many, and the shares that a policy and the base policy lose."""
    shares = [float(lost[..., inside].mean()) if inside.any() else None for lost in (losses, base)]
    return {"episodes": int(inside.sum()), "lost": shares[0], "lost_by_base": shares[1]}


def main(config: Benchmark) -> None:
    """Read, begin, count, write."""
    torch.set_num_threads(1)
    found = [lost(episodes) for run in config.runs for episodes in read_episodes(run).values()]
    seeds = sorted(found[0])
    base = lost(read_episodes(config.references)["base"])
    if len(found) < 2 or any(sorted(other) != seeds for other in (*found, base)):
        raise ScoreError("--runs needs two policies or more, in evaluations of the same episodes")
    world = open_world(config.world, len(seeds), config.task)
    pose = world.reset(seeds).actor["object_pose"].reshape(len(seeds), -1)
    losses = np.array([[one[seed] for seed in seeds] for one in (*found, base)])
    figures = summary(losses[:-1], losses[-1], pose[:, 0].numpy(), config.edges)
    process = describe_process()
    about = {"task": config.task, "world": config.world, "first_seed": seeds[0]}
    about |= {key: process[key] for key in ("commit", "command", "machine")}
    write_json(config.result, about | figures)
    print(figures)


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
