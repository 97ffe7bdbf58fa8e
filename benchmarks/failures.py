"""How a steered policy fails: what becomes of the object in the episodes that are lost.

    python benchmarks/failures.py --task pour_ball --policy runs/base --steering runs/steering --robot-seed 101

Plays the episodes of `score evaluate` and watches the true positions of the task's objects. Every lost episode is one
of these, told by the task's first object, the one that is handled:

stopped              the protective stop ended it
never moved          it moved by less than 10 mm: the hand missed it
not lifted           it was moved, never raised by 20 mm
put down or dropped  raised, and low again at the end
out of time          still raised at the end, and the goal not reached

Where another free object was carried along in it (a ball in a cup), it is said where that one ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from steered import Steered

from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.evaluation.evaluate import evaluate
from score_rl.evaluation.results import Episode
from score_rl.sim.domain import load_domain
from score_rl.sim.state import SceneState
from score_rl.sim.task import get_task
from score_rl.sim.world import SimulatedWorld

MOVED_M, LIFTED_M = 0.01, 0.02
ASIDE_M = 0.09
"""Farther from the handled object than this, what it carried has left it."""


@dataclass(frozen=True)
class Benchmark(Steered):
    """Which policy, and where."""

    task: str = "pour_ball"
    """Task."""
    world: str = "proxy"
    """A domain, or the path of a TOML file."""
    result: Path = Path("benchmarks/results/failures/pour_ball.json")
    """Result file to write."""


class Watch:
    """A success condition that remembers where every object was when it was asked."""

    def __init__(self, success: Any, names: tuple[str, ...]) -> None:
        self.success, self.names = success, names
        self.steps: list[np.ndarray] = []
        """Per control step (n, objects, 3), m."""

    def __call__(self, state: SceneState) -> np.ndarray:
        self.steps.append(np.stack([state.body(name).position.copy() for name in self.names], axis=1))
        return self.success(state)


def failure(episode: Episode, positions: np.ndarray, names: tuple[str, ...]) -> str:
    """What became of a lost episode; positions (steps, objects, 3) of the objects `names`, the handled one first."""
    if episode.fault or episode.nan:
        return "stopped"
    handled = positions[:, 0]
    moved, risen = np.linalg.norm(handled - handled[0], axis=1), handled[:, 2] - handled[0, 2]
    if moved.max() < MOVED_M:
        return "never moved"
    if risen.max() < LIFTED_M:
        return "not lifted"
    return ("put down or dropped" if risen[-1] < LIFTED_M else "out of time") + _cargo(positions, names)


def _cargo(positions: np.ndarray, names: tuple[str, ...]) -> str:
    """Where an object ended that began inside the handled one and moved."""
    for i, name in enumerate(names[1:], start=1):
        place = positions[:, i]
        moved, apart = np.linalg.norm(place - place[0], axis=1), np.linalg.norm(place - positions[:, 0], axis=1)
        if moved.max() >= MOVED_M and apart[0] < ASIDE_M:
            return f", {name} out of it" if apart[-1] > ASIDE_M else f", {name} still in it"
    return ""


def classified(episodes: list[Episode], steps: np.ndarray, names: tuple[str, ...]) -> Mapping[str, int]:
    """Lost episodes by what became of them; steps (steps, episodes, objects, 3)."""
    lost = [(i, e) for i, e in enumerate(episodes) if not e.success_end]
    return dict(Counter(failure(e, steps[: e.steps, i], names) for i, e in lost).most_common())


def main(benchmark: Benchmark) -> None:
    """Play, watch, count, write."""
    torch.set_num_threads(1)
    task = get_task(benchmark.task)
    names = tuple(thing.name for thing in task.objects)
    watch = Watch(task.success, names)
    domain = load_domain(benchmark.world, task.parameters)
    base, steered = benchmark.load()
    views = base.spec.interface.views
    world = SimulatedWorld(
        replace(task, success=watch), domain, benchmark.episodes, benchmark.robot_seed, views=views
    )
    played = evaluate(world, steered.deciders(base)["score_det"], benchmark.seeds, steered.spec.execute_steps)
    failures = classified(list(played.episodes), np.stack(watch.steps), names)
    process = describe_process()
    about = {key: process[key] for key in ("commit", "command", "machine")}
    told = {"task": task.name, "world": benchmark.world, "robot_seed": benchmark.robot_seed}
    counts = {"n": benchmark.episodes, "first_seed": benchmark.first_seed, "lost": sum(failures.values())}
    write_json(benchmark.result, told | counts | {"failures": failures} | about)
    print(task.name, counts, failures)


if __name__ == "__main__":
    main(tyro.cli(Benchmark, description=__doc__))
