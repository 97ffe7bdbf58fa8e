"""Whether scenes and people are sound, in every engine: careful people at every task, and scenes that nobody touches.

    python benchmarks/people.py --tasks pick_card --worlds twin proxy_physx --episodes 40
    python benchmarks/people.py --worlds twin --physics proxy_physx --result benchmarks/results/people_physx.json

A careful person always takes the task's surest way; where such a person fails, the scene is at fault or out of reach.
Untouched for ten seconds, nothing should drift or jitter once it has settled. Results are added to the
file, task by task.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro

from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.core.records import read_json
from score_rl.core.statistics import wilson
from score_rl.sim.domain import load_domain
from score_rl.sim.task import task_names
from score_rl.sim.testing import SETTLED_S, untouched
from score_rl.sim.world import make_world
from score_rl.tasks.people.collect import demonstrate
from score_rl.tasks.people.habits import careful

FIRST_SEED = 2_000_000
"""Of the episodes; those of demonstrations and evaluations are others."""
UNTOUCHED_S = 10.0
"""For how long nothing should move, once soft contacts have given way under what is put on them."""


@dataclass(frozen=True)
class Benchmark:
    """Careful people and scenes at rest."""

    tasks: tuple[str, ...] = task_names()
    """Which tasks."""
    worlds: tuple[str, ...] = ("twin", "proxy_physx")
    """Domains: shipped names or paths of TOML files."""
    physics: str = ""
    """Domain whose engine, step and settings take the place of the worlds' own; their robots and objects stay."""
    episodes: int = 40
    """Episodes of every task in every world."""
    robot_seed: int = 101
    """Robot of a domain that has several."""
    threads: int = 1
    """Of the physics."""
    result: Path = Path("benchmarks/results/people.json")
    """Result file to write, or to add to."""


def measure(task: str, name: str, benchmark: Benchmark) -> dict[str, Any]:
    """One record."""
    seeds, start = [FIRST_SEED + k for k in range(benchmark.episodes)], time.monotonic()
    domain = load_domain(name)
    if benchmark.physics:
        domain = replace(domain, physics=load_domain(benchmark.physics).physics)
    world = make_world(task, domain, len(seeds), robot_seed=benchmark.robot_seed, threads=benchmark.threads)
    with closing(world):
        world.reset(seeds)
        untouched(world, SETTLED_S)
        moved = untouched(world, UNTOUCHED_S)
        episodes = demonstrate(world, careful(), seeds, looked_at=False)
    successes = sum(bool(episode.extra["success"]) for episode in episodes)
    return {
        "task": task,
        "world": name,
        "physics": benchmark.physics or name,
        "robot_seed": benchmark.robot_seed,
        "first_seed": FIRST_SEED,
        "n": len(seeds),
        "successes": successes,
        "wilson95": [round(bound, 4) for bound in wilson(successes, len(seeds))],
        "stops": sum(bool(episode.extra["fault"]) for episode in episodes),
        "moved_m": round(most(moved, "body"), 6),
        "turned_rad": round(most(moved, "joint"), 6),
        "not_applied": sorted(world.not_applied),
        "wall_s": round(time.monotonic() - start, 1),
    }


def most(moved: Mapping[str, float], kind: str) -> float:
    """The largest motion of one kind of thing; 0 where there is none."""
    return max((far for name, far in moved.items() if name.startswith(f"{kind} ")), default=0.0)


def main(benchmark: Benchmark) -> None:
    """Measure every task in every world, and write what is there after each."""
    torch.set_num_threads(1)
    path = benchmark.result
    records = {(r["task"], r["world"]): r for r in read_json(path)["records"]} if path.exists() else {}
    process = describe_process()
    about = {key: process[key] for key in ("commit", "command", "machine", "versions")}
    for task in benchmark.tasks:
        for world in benchmark.worlds:
            records[task, world] = measure(task, world, benchmark) | about
            print(
                {key: records[task, world][key] for key in ("task", "world", "n", "successes", "moved_m", "wall_s")}
            )
            write_json(path, {"settings": asdict(benchmark), "records": list(records.values())})


if __name__ == "__main__":
    main(tyro.cli(Benchmark, description=__doc__))
