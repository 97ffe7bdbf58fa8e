"""Control steps a second of every engine on all cores, in wall time: careful people at every task.

    python benchmarks/engines_speed.py

Only the world's steps are timed, with whatever they take (physics, sensors, episodes that end and begin), not the
people. Meaningful on a machine that does nothing else; the load averages in the result look back by a minute.
"""

from __future__ import annotations

import os
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
import tyro

from score_rl.core.files import write_json
from score_rl.core.parallel import usable_cores
from score_rl.core.process import describe_process
from score_rl.sim.task import task_names
from score_rl.sim.world import SimulatedWorld, make_world
from score_rl.tasks.people.collect import get_routine
from score_rl.tasks.people.demonstrator import Demonstrator
from score_rl.tasks.people.habits import careful

FIRST_SEED = 2_000_000
"""Of the episodes; those of demonstrations and evaluations are others."""


@dataclass(frozen=True)
class Benchmark:
    """Wall-clock speed of engines."""

    tasks: tuple[str, ...] = task_names()
    """Which tasks."""
    worlds: tuple[str, ...] = ("proxy", "proxy_physx")
    """Domains, with whatever engine and step they have."""
    num_envs: int = 8
    """Environments."""
    periods: int = 60
    """Control steps of a pass, from the episodes' start: long enough that hands touch things."""
    seconds: float = 2.5
    """Passes begin until this long has gone by, for every task in every world; their median counts."""
    threads: int = 0
    """Threads or processes of the physics; 0: one per core."""
    robot_seed: int = 101
    """Robot that moves."""
    result: Path = Path("benchmarks/results/engines_speed.json")
    """Result file to write."""


def rate(world: SimulatedWorld, periods: int) -> float:
    """Control steps of all environments per second of wall time within the world's steps."""
    n, task = world.spec.num_envs, world.task
    person = Demonstrator(n, get_routine(task.name), careful(), time_limit=task.horizon)
    observation = world.reset([FIRST_SEED + k for k in range(n)])
    person.reset(range(n), range(n), {key: value.numpy() for key, value in observation.actor.items()})
    spent_s = 0.0
    for _ in range(periods):
        _, sent = person.act({key: value.numpy() for key, value in observation.actor.items()})
        action, start = torch.from_numpy(sent), time.perf_counter()
        observation = world.step(action).observation
        spent_s += time.perf_counter() - start
    return n * periods / spent_s


def measure(task: str, name: str, threads: int, benchmark: Benchmark) -> dict[str, Any]:
    """One record."""
    world, rates = make_world(task, name, benchmark.num_envs, benchmark.robot_seed, threads), []
    with closing(world):
        start = time.perf_counter()
        while not rates or time.perf_counter() - start < benchmark.seconds:
            rates.append(rate(world, benchmark.periods))
    physics = world.task.physics(world.domain.physics)
    return {
        "task": task,
        "world": name,
        "engine": physics.engine,
        "timestep_s": physics.timestep_s,
        "threads": threads,
        "control_steps": benchmark.num_envs * benchmark.periods * len(rates),
        "control_steps_per_second": round(median(rates), 1),
        "passes": [round(value, 1) for value in rates],
    }


def main(benchmark: Benchmark) -> None:
    """Measure every task in every world."""
    torch.set_num_threads(1)
    load, threads, records = [os.getloadavg()[0]], benchmark.threads or usable_cores(), []
    for task in benchmark.tasks:
        for name in benchmark.worlds:
            records.append(measure(task, name, threads, benchmark))
            print({key: records[-1][key] for key in ("task", "world", "control_steps_per_second")}, flush=True)
    load.append(os.getloadavg()[0])
    about = {"benchmark": "engines_speed", "settings": asdict(benchmark), **describe_process(), "load_average": load}
    write_json(benchmark.result, about | {"records": records})


if __name__ == "__main__":
    main(tyro.cli(Benchmark, description=__doc__))
