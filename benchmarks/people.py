"""Whether scenes and people are sound, in every engine: careful people at every task, and scenes that nobody touches.

    python benchmarks/people.py --tasks pick_card --worlds twin proxy_physx --episodes 40

A careful person always takes the task's surest way; where such a person fails, the scene is at fault or out of reach.
Untouched for ten seconds, nothing should drift or jitter once it has settled. Results are added to the
file, task by task.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch
import tyro

from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.core.records import read_json
from score_rl.core.statistics import wilson
from score_rl.sim.scene import joint_addresses
from score_rl.sim.task import task_names
from score_rl.sim.world import CONTROL_RATE_HZ, SimulatedWorld, make_world
from score_rl.tasks.people.collect import demonstrate
from score_rl.tasks.people.habits import careful

FIRST_SEED = 2_000_000
"""Of the episodes; those of demonstrations and evaluations are others."""
SETTLED_S, UNTOUCHED_S = 1.0, 10.0
"""Soft contacts give way under what is put on them; from then on nothing should move."""


@dataclass(frozen=True)
class Benchmark:
    """Careful people and scenes at rest."""

    tasks: tuple[str, ...] = task_names()
    """Which tasks."""
    worlds: tuple[str, ...] = ("twin", "proxy_physx")
    """Domains: shipped names or paths of TOML files."""
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
    world = make_world(task, name, len(seeds), robot_seed=benchmark.robot_seed, threads=benchmark.threads)
    with closing(world):
        world.reset(seeds)
        moved_m, turned_rad = untouched(world)
        episodes = demonstrate(world, careful(), seeds, looked_at=False)
    successes = sum(bool(episode.extra["success"]) for episode in episodes)
    return {
        "task": task,
        "world": name,
        "robot_seed": benchmark.robot_seed,
        "first_seed": FIRST_SEED,
        "n": len(seeds),
        "successes": successes,
        "wilson95": [round(bound, 4) for bound in wilson(successes, len(seeds))],
        "stops": sum(bool(episode.extra["fault"]) for episode in episodes),
        "moved_m": round(moved_m, 6),
        "turned_rad": round(turned_rad, 6),
        "not_applied": sorted(world.not_applied),
        "wall_s": round(time.monotonic() - start, 1),
    }


def untouched(world: SimulatedWorld) -> tuple[float, float]:
    """(m, rad) how far bodies move at most, and joints turn or slide, while the hand waits where it began."""
    home = world.qpos()[:, joint_addresses(world.model, world.robot)[0]]
    physics, model = world.task.physics(world.domain.physics), world.model
    targets = np.tile(home[:, None], (1, physics.substeps(CONTROL_RATE_HZ), 1))
    bodies = [item.name for item in world.task.objects]
    hinges = np.flatnonzero(model.jnt_type != mujoco.mjtJoint.mjJNT_FREE)
    slack = [model.joint(k).name for k in hinges if model.joint(k).name not in world.robot.joint_names]
    moved = turned = 0.0
    for _ in range(round(SETTLED_S * CONTROL_RATE_HZ)):
        world.engine.advance(targets)
    before = world.state
    places = {name: before.body(name).position.copy() for name in bodies}
    angles = {name: before.joint(name).position.copy() for name in slack}
    for _ in range(round(UNTOUCHED_S * CONTROL_RATE_HZ)):
        world.engine.advance(targets)
        now = world.state
        for name, place in places.items():
            moved = max(moved, float(np.abs(now.body(name).position - place).max()))
        for name, angle in angles.items():
            turned = max(turned, float(np.abs(now.joint(name).position - angle).max()))
    return moved, turned


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
