"""How often the protective stop would end the same episodes in either engine, by the way in which it reads force.

    score benchmark experiments/rivals_calibrated.toml
    python benchmarks/stop.py --base runs/rivals_calibrated/runs/pinch_cube/robot-101/base

The base policy plays the same episodes of one robot in `proxy` (MuJoCo) and `proxy_physx`, without a stop. What acted
on every link of the hand in every physics step is then read in four ways: as it is, through the stop's filter, behind
a pad of the contacts' time constant and the filter (the rule of PhysX), and as the impulse over 50 ms. Two more rows
ask whether MuJoCo would stop as often as PhysX if the hand slid over the table as in PhysX, or contacts were hard;
two others play in each engine, step by step, what the policy commanded in the other one: whether it is contacts that
differ, or what the policy does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import mujoco
import numpy as np
import torch
import tyro

from score_rl.contracts import StepResult
from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.core.statistics import wilson
from score_rl.evaluation.evaluate import evaluate
from score_rl.policies.flow.policy import load_policy
from score_rl.sim.domain import Distribution, Domain, ProtectiveStop, load_domain
from score_rl.sim.engines.engine import Motion
from score_rl.sim.robot import Robot
from score_rl.sim.strain import low_pass
from score_rl.sim.task import Task, get_task
from score_rl.sim.world import SimulatedWorld
from score_rl.steering.policy import BaseDecider

SLIPPERY = 0.65
"""Friction of hand on table in the middle of what PhysX has, where it is that of the cube's draw; MuJoCo's is 1."""
HARD_S = 0.005
"""The shortest time constant of contacts that the physics step of the proxies allows."""


@dataclass(frozen=True)
class Benchmark:
    """The stop in two engines."""

    base: Path
    """Base policy of a Pinch Cube."""
    robot_seed: int = 101
    """Its robot."""
    episodes: int = 200
    """Episodes in each engine."""
    result: Path = Path("benchmarks/results/stop.json")
    """Result file to write."""


class FeltWorld(SimulatedWorld):
    """Remembers what it was commanded, and what every physics step told of contacts."""

    told: list[np.ndarray]  # (n, s, b) of every control step
    sent: list[torch.Tensor]  # (n, a) of every control step

    def step(self, action: torch.Tensor) -> StepResult:
        """See `World.step`."""
        self.sent.append(action.clone())
        return super().step(action)

    def _advance(self) -> tuple[Motion, np.ndarray]:
        motion, filtered = super()._advance()
        self.told.append(motion.forces)
        return motion, filtered


def slippery(task: Task) -> Task:
    """The task with a robot and a table that slide on each other; the cube's own friction rules in its contacts."""

    def add_bodies(spec: mujoco.MjSpec, robot: Robot) -> None:
        task.robot.add_bodies(spec, robot)
        for geom in spec.geoms:  # of the cube too, for which every episode draws another
            geom.friction[0] = SLIPPERY

    return replace(task, robot=replace(task.robot, add_bodies=add_bodies))


def hard(domain: Domain) -> Domain:
    """The domain with contacts as hard as its physics step allows."""
    constant = Distribution("constant", ((HARD_S,),))
    return replace(domain, robot={**domain.robot, "contact.time_constant_s": constant})


@dataclass(frozen=True)
class Played:
    """Episodes without a stop, in a domain that has one."""

    domain: Domain
    world: FeltWorld
    steps: list[int]
    successes: int | None
    """None where the commands were another world's."""


def play(by: BaseDecider | Played, task: Task, domain: Domain, benchmark: Benchmark) -> Played:
    """The episodes by the base policy, or by what it commanded in another world, as long as they lasted there."""
    n = benchmark.episodes
    world = FeltWorld(task, replace(domain, protective_stop=ProtectiveStop()), n, benchmark.robot_seed)
    world.told, world.sent = [], []
    seeds = range(1_000_000, 1_000_000 + n)
    if isinstance(by, BaseDecider):
        episodes = evaluate(world, by, seeds, 8).episodes
        return Played(domain, world, [one.steps for one in episodes], sum(one.success_end for one in episodes))
    world.reset(seeds)
    for command in by.world.sent:
        world.step(command)
    return Played(domain, world, by.steps, None)


def measured(title: str, played: Played) -> dict[str, object]:
    """Success, and for every reading how many episodes go beyond the stop's force, and by which link."""
    domain, world = played.domain, played.world
    stop, timestep_s = domain.protective_stop, domain.physics.timestep_s
    pad = float(np.exp(-timestep_s / world.parameters[0]["contact.time_constant_s"][0]))
    forces = np.concatenate(world.told, axis=1)
    if domain.physics.engine == "physx":  # told behind the pad
        forces = unfiltered(unfiltered(forces, pad), pad)
    lengths = [steps * world.told[0].shape[1] for steps in played.steps]
    peaks = {
        name: np.stack([force[:length].max(0) for force, length in zip(read, lengths)])
        for name, read in readings(forces, timestep_s, stop.filter_s, pad).items()
    }
    return {
        "title": title, "domain": domain.name, "timestep_s": timestep_s, "n": len(lengths),
        "successes": played.successes,
        "readings": {name: counted(peak, stop.force_n, world.engine.links) for name, peak in peaks.items()},
    }  # fmt: skip


def readings(forces: np.ndarray, timestep_s: float, filter_s: float, pad: float) -> Mapping[str, np.ndarray]:
    """Forces (n, steps, b) as the stop may read them, N."""
    rest, decay = np.zeros_like(forces[:, 0]), float(np.exp(-timestep_s / filter_s))
    padded = low_pass(low_pass(forces, rest, pad), rest, pad)
    window = round(0.05 / timestep_s)
    sums = np.cumsum(np.concatenate([np.zeros_like(forces[:, :window]), forces], axis=1), axis=1)
    return {
        "raw": forces,
        "filter": low_pass(forces, rest, decay),
        "pad_filter": low_pass(padded, rest, decay),
        "impulse_50ms": (sums[:, window:] - sums[:, :-window]) / window,
    }


def unfiltered(signal: np.ndarray, decay: float) -> np.ndarray:
    """What `low_pass` made this signal (n, steps, b) of."""
    before = np.concatenate([np.zeros_like(signal[:, :1]), signal[:, :-1]], axis=1)
    return (signal - decay * before) / (1 - decay)


def counted(peaks: np.ndarray, limit_n: float, links: Sequence[str]) -> dict[str, object]:
    """Of the largest forces (n, b) on the links in every episode."""
    largest = peaks.max(1)
    over = largest > limit_n
    stops, (median, p95) = int(over.sum()), np.quantile(largest, (0.5, 0.95)).tolist()
    felt = Counter(links[link] for link in peaks.argmax(1)[over])
    return {"stops": stops, "wilson95": wilson(stops, len(peaks)), "median_n": median, "p95_n": p95, "links": felt}


def main(benchmark: Benchmark) -> None:
    """Play, count and write."""
    torch.set_num_threads(1)
    task, proxy, physx = get_task("pinch_cube"), load_domain("proxy"), load_domain("proxy_physx")
    base = BaseDecider(load_policy(benchmark.base))
    here, there = (play(base, task, domain, benchmark) for domain in (proxy, physx))
    found = [
        measured("MuJoCo", here),
        measured("PhysX", there),
        measured("MuJoCo, commanded as in PhysX", play(there, task, proxy, benchmark)),
        measured("PhysX, commanded as in MuJoCo", play(here, task, physx, benchmark)),
        measured("MuJoCo, hand on table as slippery", play(base, slippery(task), proxy, benchmark)),
        measured("MuJoCo, hard contacts", play(base, task, hard(proxy), benchmark)),
    ]
    about = {"benchmark": "stop", "task": "pinch_cube", "robot_seed": benchmark.robot_seed, **describe_process()}
    write_json(benchmark.result, about | {"engines": found})


if __name__ == "__main__":
    main(tyro.cli(Benchmark, description=__doc__))
