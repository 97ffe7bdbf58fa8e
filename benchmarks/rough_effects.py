"""Which of a rough robot's effects costs what: the same policy on the robot without one of them.

    python benchmarks/rough_effects.py --task push_ball --policy runs/base --steering runs/steering --robot-seed 101

Plays the episodes of `score evaluate` on the rough robot as it is, without one effect, and with none, where it is the
proxy's robot, draw for draw. Effects act on each other, so that what they cost one by one need not add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from steered import Steered

from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.core.statistics import wilson
from score_rl.evaluation.evaluate import evaluate
from score_rl.sim.domain import Domain, load_domain
from score_rl.sim.task import get_task
from score_rl.sim.world import make_world

EFFECTS = {
    "encoders off their axes": ("encoder_",),
    "joints that yield and stick": ("compliance_", "hysteresis_"),
    "delay that jitters": ("delay_jitter_",),
    "torque that sags": ("torque_limit_nm@episode",),
    "other fingertips": ("tip_radius_",),
    "centres of mass off centre": ("com_offset_",),
    "friction that differs by face": ("face_friction_",),
}
"""What each effect's parameters are called; `@episode`: its draws of every episode alone."""


@dataclass(frozen=True)
class Benchmark(Steered):
    """Which policy, and where."""

    task: str = "push_ball"
    """Task."""
    world: str = "proxy_rough"
    """A domain with these effects."""
    result: Path = Path("benchmarks/results/rough_effects.json")
    """Result file to write."""


def without(domain: Domain, *effects: str) -> Domain:
    """The domain without these effects."""
    parts = [part for effect in effects for part in EFFECTS[effect]]

    def kept(draws: Mapping[str, Any], level: str) -> dict[str, Any]:
        gone = [part.removesuffix(f"@{level}") for part in parts if "@" not in part or part.endswith(f"@{level}")]
        return {name: draw for name, draw in draws.items() if not any(part in name for part in gone)}

    return replace(domain, robot=kept(domain.robot, "robot"), episode=kept(domain.episode, "episode"))


def main(benchmark: Benchmark) -> None:
    """Play, count, write."""
    torch.set_num_threads(1)
    task = get_task(benchmark.task)
    rough = load_domain(benchmark.world, task.parameters)
    base, steered = benchmark.load()
    worlds = {"as it is": rough, **{f"without {effect}": without(rough, effect) for effect in EFFECTS}}
    worlds["with none of them"] = without(rough, *EFFECTS)
    decider, views = steered.deciders(base)["score_det"], base.spec.interface.views
    rows: list[dict[str, Any]] = []
    for name, domain in worlds.items():
        world = make_world(benchmark.task, domain, benchmark.episodes, benchmark.robot_seed, views=views)
        played = evaluate(world, decider, benchmark.seeds, steered.spec.execute_steps).episodes
        won, stops = sum(e.success_end for e in played), sum(e.fault for e in played)
        figures = {"n": len(played), "successes_end": won, "stops": stops}
        rows.append({"robot": name} | figures | {"wilson95": [round(bound, 4) for bound in wilson(won, len(played))]})
        print(rows[-1], flush=True)
    process = describe_process()
    about = {key: process[key] for key in ("commit", "command", "machine")}
    told = {"task": task.name, "world": benchmark.world, "robot_seed": benchmark.robot_seed}
    write_json(benchmark.result, told | {"first_seed": benchmark.first_seed, "rows": rows} | about)


if __name__ == "__main__":
    main(tyro.cli(Benchmark, description=__doc__))
