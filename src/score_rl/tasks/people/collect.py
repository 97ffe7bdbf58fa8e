"""Recording demonstrations: the scripted person at the controls of a simulated robot, into a LeRobot dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch

from score_rl.contracts import ArraySpec
from score_rl.core import plugins
from score_rl.core.errors import ScoreError
from score_rl.core.seeding import derive_seed
from score_rl.data.layout import stored
from score_rl.data.writer import DatasetWriter
from score_rl.sim.task import TASKS
from score_rl.sim.world import SimulatedWorld
from score_rl.tasks.people.demonstrator import Demonstrator
from score_rl.tasks.people.habits import Habits, careful
from score_rl.tasks.people.person import Routine
from score_rl.tasks.people.settings import CollectConfig

FITNESS_EPISODES = 40
FITNESS_THRESHOLD = 0.5
_IDLE_STEPS = 12
"""Control steps recorded after the person has given up."""


@dataclass(frozen=True)
class Demonstration:
    """One recorded episode."""

    frames: Mapping[str, np.ndarray]
    """{feature: (T, *shape)}: `observation.KEY` for every actor key and view, `action`, `next.success`."""
    extra: Mapping[str, object]
    """Per-episode columns: seed, success, fault, attempts, label."""


def features(world: SimulatedWorld) -> dict[str, ArraySpec]:
    """LeRobot features of a world's demonstrations; views are stored for every frame like all else."""
    interface = world.spec.interface
    views = {key: stored(array) for key, array in interface.views.items()}
    shown = {f"observation.{key}": array for key, array in {**interface.observation, **views}.items()}
    return shown | {"action": interface.action, "next.success": ArraySpec((1,), "bool")}


def demonstrate(
    world: SimulatedWorld, habits: Habits, seeds: Sequence[int], looked_at: bool = True
) -> list[Demonstration]:
    """One demonstration per seed; `len(seeds)` is the world's number of environments.

    A recording ends with the episode, or shortly after the person has given up. looked_at: views are recorded.
    """
    n, views = world.spec.num_envs, tuple(world.spec.interface.views) if looked_at else ()
    person = Demonstrator(n, get_routine(world.task.name), habits, time_limit=world.spec.time_limit)
    observation = world.reset(seeds)
    person.reset(range(n), [derive_seed("person", seed) for seed in seeds], _numpy(observation.actor))
    recorded: list[dict[str, list[np.ndarray]]] = [{} for _ in range(n)]
    idle, live = np.zeros(n, int), np.ones(n, bool)
    fault, logs = np.zeros(n, bool), list(person.log)
    for _ in range(world.spec.time_limit):
        frame = _numpy(observation.actor)
        label, sent = person.act(frame)
        seen = {key: view.numpy() for key, view in world.look(views).items()} if views else {}
        result = world.step(torch.from_numpy(sent))
        for i in np.flatnonzero(live):
            row = {f"observation.{key}": value[i] for key, value in (frame | seen).items()}
            row |= {"action": label[i], "next.success": result.success[i : i + 1].numpy()}
            for key, value in row.items():
                recorded[i].setdefault(key, []).append(value)
        idle += [log.gave_up for log in person.log]
        fault |= live & result.info["fault"].numpy()
        ends = live & (result.done.numpy() | (idle >= _IDLE_STEPS))
        for i in np.flatnonzero(ends):
            logs[i] = deepcopy(person.log[i])  # what the person does after the recording's end is no part of it
        live &= ~ends
        observation = result.observation
        if not live.any():
            break
    return [_demonstration(recorded[i], seeds[i], bool(fault[i]), logs[i]) for i in range(n)]


def collect(
    world: SimulatedWorld,
    config: CollectConfig,
    writer: DatasetWriter,
    advance: Callable[[int], None] = lambda count: None,
) -> None:
    """Record `config.episodes` demonstrations; continues behind what the writer already holds, and finalises it.

    Raises ScoreError, before anything is recorded, where the robot is not fit for demonstrations (see `fitness`).
    """
    if writer.num_episodes == 0:
        rate = fitness(world, config.seed)
        if rate < FITNESS_THRESHOLD:
            raise ScoreError(
                f"robot {world.robot_seed} of {world.spec.name} is rejected: the careful demonstrator succeeds in "
                f"only {rate:.0%} of {FITNESS_EPISODES} episodes (at least {FITNESS_THRESHOLD:.0%} needed); use "
                "another --robot-seed"
            )
    n = world.spec.num_envs
    while writer.num_episodes < config.episodes:
        # Whole batches, aligned with the episode's number: a resumed collection records the same episodes.
        batch = writer.num_episodes // n
        skip = writer.num_episodes - batch * n
        seeds = [derive_seed("collect", config.seed, batch * n + i) for i in range(n)]
        for demonstration in demonstrate(world, config.habits, seeds)[skip:]:
            if writer.num_episodes == config.episodes:
                break
            writer.add_episode(demonstration.frames, world.task.description, demonstration.extra)
            advance(1)
    writer.finalize()


def fitness(world: SimulatedWorld, seed: int) -> float:
    """Success rate of the demonstrator at its most careful over FITNESS_EPISODES episodes.

    The rule, fixed in advance: a robot with a rate below FITNESS_THRESHOLD is not used at all.
    """
    outcomes: list[bool] = []
    while len(outcomes) < FITNESS_EPISODES:
        seeds = [derive_seed("fitness", seed, len(outcomes) + i) for i in range(world.spec.num_envs)]
        outcomes += [bool(d.extra["success"]) for d in demonstrate(world, careful(), seeds, looked_at=False)]
    return float(np.mean(outcomes[:FITNESS_EPISODES]))


def _demonstration(recorded: Mapping[str, list[np.ndarray]], seed: int, fault: bool, log) -> Demonstration:
    frames = {key: np.stack(values) for key, values in recorded.items()}
    frames = {key: value.astype(np.float32) if value.dtype == np.float64 else value for key, value in frames.items()}
    extra = {
        "seed": int(seed),
        "success": bool(frames["next.success"][-1, 0]) and not fault,
        "fault": fault,
        "attempts": len(log.attempts),
        "label": log.label(),
    }
    return Demonstration(frames, extra)


def _numpy(frame: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {key: value.numpy().astype(float) for key, value in frame.items()}


def get_routine(task: str) -> Routine:
    """What the demonstrator of a task does; raises ScoreError that lists the tasks that have one."""
    return plugins.load_part(TASKS, task, "demonstrator", "ROUTINE", "task with a demonstrator", Routine)
