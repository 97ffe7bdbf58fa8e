"""What steering costs on top of the bare physics: control steps a second, and where the time goes.

    python benchmarks/throughput.py --policy runs/base
    torchrun --nproc-per-node 2 benchmarks/throughput.py --policy runs/base

Every repeat runs one iteration of steering (the recipe's learner and number of environments) and records what it
sent; then the same environments are started from the same states and sent the same commands, once through
`SimulatedWorld.step` and once through `mujoco.batch.Batch.step` alone. All three see the same motion and contacts,
use the same threads, and follow each other within seconds; the figures are medians over the repeats. Ranks of
torchrun share the environments and the cores: rates are those of all of them together.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch
import tyro
from torch import Tensor

from score_rl.contracts import FlowPolicy, Frame, Observation, StepResult
from score_rl.core import ranks
from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.core.runs import start_run
from score_rl.policies.flow.policy import load_policy
from score_rl.sim.engines.engine import Motion
from score_rl.sim.world import CONTROL_RATE_HZ, SimulatedWorld, make_world
from score_rl.steering.config import Stage
from score_rl.steering.loop import steer
from score_rl.tasks.recipe import get_recipe


@dataclass(frozen=True)
class Benchmark:
    """Throughput of steering against the bare physics."""

    policy: Path = Path("runs/base")
    """Bundle of the base policy, from `score pretrain`."""
    task: str = "pinch_cube"
    """Recipe whose steering settings are measured."""
    world: str = "twin"
    """Domain: a shipped name or the path of a TOML file."""
    repeats: int = 7
    """Measured repeats; one more comes first and is not counted."""
    num_envs: int = 0
    """Environments; 0: as many as the recipe has."""
    threads: int = 0
    """Threads of the physics; 0: one per core."""
    torch_threads: int = 0
    """Threads of torch; 0: as the recipe has it."""
    result: Path = Path("benchmarks/results/throughput.json")
    """Result file to write."""


@dataclass
class Tape:
    """One rollout: what was sent, and from which states."""

    seeds: Sequence[int] = ()
    actions: list[Tensor] = field(default_factory=list)
    """(n, a) per control step."""
    restarts: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    """Per control step: rows in which an episode began behind it, and their configurations (k, nq)."""
    start: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """(n, nq) configurations at the reset."""


class Recorder:
    """A world that remembers what is done to it and how long it took."""

    def __init__(self, world: SimulatedWorld):
        self.world, self.spec, self.tape = world, world.spec, Tape()
        self.began = self.ended = self.world_s = 0.0

    def reset(self, seeds: Sequence[int]) -> Observation:
        """See `World.reset`."""
        self.began, self.world_s, self.tape = time.perf_counter(), 0.0, Tape(list(seeds))
        observation = self.world.reset(seeds)
        self.world_s += time.perf_counter() - self.began
        self.tape.start = self.world.qpos()
        return observation

    def step(self, action: Tensor) -> StepResult:
        """See `World.step`."""
        start = time.perf_counter()
        result = self.world.step(action)
        self.ended = time.perf_counter()
        self.world_s += self.ended - start
        rows = np.flatnonzero(result.done.numpy())
        self.tape.actions.append(action.clone())
        self.tape.restarts.append((rows, self.world.qpos()[rows]))
        return result

    def look(self, keys: Sequence[str], rows: Tensor | None = None) -> Frame:
        """See `World`; part of what the world takes."""
        start = time.perf_counter()
        seen = self.world.look(keys, rows)
        self.world_s += time.perf_counter() - start
        return seen

    def close(self) -> None:
        """See `World.close`."""
        self.world.close()


class PhysicsClock:
    """Seconds spent in a world's physics while the body of `with` runs."""

    def __init__(self, world: SimulatedWorld):
        self._engine, self.seconds = world.engine, 0.0

    def __enter__(self) -> PhysicsClock:
        advance = self._engine.advance

        def timed(targets: np.ndarray) -> Motion:
            start = time.perf_counter()
            result = advance(targets)
            self.seconds += time.perf_counter() - start
            return result

        self._engine.advance = timed
        return self

    def __exit__(self, *_: object) -> None:
        del self._engine.advance


def steering_iteration(policy: FlowPolicy, recorder: Recorder, task: str, seed: int) -> dict[str, float]:
    """One iteration of steering; seconds of its rollout and its parts, and of the update behind it."""
    learner = get_recipe(task).steer.learner
    steps = ranks.count() * recorder.spec.num_envs * learner.decisions * learner.execute_steps
    with tempfile.TemporaryDirectory() as folder, PhysicsClock(recorder.world) as physics:
        shared = Path(ranks.gather(folder)[0])
        run = start_run(shared / "run", "steer", learner, {"training": seed}, distributed=True)
        steer(policy, [Stage(recorder, steps)], replace(learner, seed=seed), run)
        record = ranks.gather(run.metrics.read()[-1] if ranks.rank() == 0 else None)[0]
    rollout_s = recorder.ended - recorder.began
    return {
        "rollout_s": rollout_s,
        "physics_s": physics.seconds,
        "world_s": recorder.world_s - physics.seconds,
        "policy_s": record["policy_s"],
        "chunks_and_storage_s": rollout_s - recorder.world_s - record["policy_s"],
        "update_s": record["learner_s"],
    }


def replay_world(world: SimulatedWorld, tape: Tape) -> float:
    """Seconds that the world alone needs for a tape."""
    start = time.perf_counter()
    world.reset(tape.seeds)
    for action in tape.actions:
        world.step(action)
    return time.perf_counter() - start


def replay_physics(world: SimulatedWorld, tape: Tape) -> float:
    """Seconds that the bare physics needs for a tape; putting episodes back to their start is not counted."""
    world.reset(tape.seeds)  # the same objects
    batch, everywhere = world.engine.batch, np.arange(world.spec.num_envs)
    qpos, ctrl = batch.bind("qpos"), batch.bind("ctrl")
    substeps = world.domain.physics.substeps(CONTROL_RATE_HZ)
    low, high = np.array(world.spec.action_low), np.array(world.spec.action_high)
    commands = [np.clip(action.numpy().astype(float), low, high) for action in tape.actions]
    seconds = 0.0
    restart = (everywhere, tape.start)
    for command, following in zip(commands, tape.restarts):
        if restart[0].size:
            batch.reset(restart[0], stage=mujoco.mjtStage.mjSTAGE_NONE)
            qpos[restart[0]] = restart[1]
        start = time.perf_counter()
        ctrl[:] = command
        batch.step(nstep=substeps)
        seconds += time.perf_counter() - start
        restart = following
    return seconds


def measure(benchmark: Benchmark) -> dict[str, Any]:
    """All repeats and their medians."""
    settings = get_recipe(benchmark.task).steer
    torch.set_num_threads(benchmark.torch_threads or settings.threads)
    num_envs = (benchmark.num_envs or settings.num_envs) // ranks.count()
    policy = load_policy(benchmark.policy)
    views = policy.spec.interface.views
    world = make_world(settings.task, benchmark.world, num_envs, threads=benchmark.threads, views=views)
    recorder, repeats, load = Recorder(world), [], os.getloadavg()[0]
    for seed in range(benchmark.repeats + 1):
        parts = steering_iteration(policy, recorder, benchmark.task, seed)
        steps = len(recorder.tape.actions) * num_envs * ranks.count()
        ranks.agree(seed, "what they measure")  # they start together, so that all share the cores all the time
        world_s, physics_s = replay_world(world, recorder.tape), replay_physics(world, recorder.tape)
        repeats.append({"steps": steps, "raw_replay_s": physics_s, "world_replay_s": world_s, **parts})
        if ranks.rank() == 0:
            rates = [f"{steps / s:8,.0f} {name}" for name, s in zip(("bare", "world"), (physics_s, world_s))]
            print(*rates, f"{steps / parts['rollout_s']:8,.0f} rollout")
    counted = repeats[1:]
    return {
        "load_average": round(load, 2),
        "ranks": ranks.count(),
        "num_envs": num_envs,
        "physics_threads": world.engine.batch.nthread,
        "episodes_ended_per_step": sum(len(rows) for rows, _ in recorder.tape.restarts) * ranks.count() / steps,
        **summarize(counted),
        "repeats": counted,
    }


def summarize(repeats: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Medians over repeats: rates, ratios to the bare physics, and the shares of a rollout's time."""

    def median(value: Callable[[dict[str, float]], float]) -> float:
        return round(statistics.median(value(repeat) for repeat in repeats), 4)

    parts = ("physics_s", "world_s", "policy_s", "chunks_and_storage_s")
    return {
        "raw_steps_per_second": median(lambda r: r["steps"] / r["raw_replay_s"]),
        "world_steps_per_second": median(lambda r: r["steps"] / r["world_replay_s"]),
        "rollout_steps_per_second": median(lambda r: r["steps"] / r["rollout_s"]),
        "iteration_steps_per_second": median(lambda r: r["steps"] / (r["rollout_s"] + r["update_s"])),
        "world_ratio": median(lambda r: r["raw_replay_s"] / r["world_replay_s"]),
        "rollout_ratio": median(lambda r: r["raw_replay_s"] / r["rollout_s"]),
        "iteration_ratio": median(lambda r: r["raw_replay_s"] / (r["rollout_s"] + r["update_s"])),
        "rollout_shares": {
            part.removesuffix("_s"): median(lambda r, p=part: r[p] / r["rollout_s"]) for part in parts
        },
    }


def main(benchmark: Benchmark) -> None:
    """Measure, print and write."""
    ranks.join()
    result = {"benchmark": "throughput", "settings": benchmark, **describe_process(), **measure(benchmark)}
    if ranks.rank() > 0:
        return
    write_json(benchmark.result, result)
    print(
        f"bare physics {result['raw_steps_per_second']:,.0f} control steps/s; "
        f"world {result['world_ratio']:.0%}, steering rollout {result['rollout_ratio']:.0%} of it"
    )


if __name__ == "__main__":
    main(tyro.cli(Benchmark, description=__doc__))
