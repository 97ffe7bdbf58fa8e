"""The stage that runs a bundle as it would be deployed, and compares it with the evaluation in-process."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch

from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.files import write_json
from score_rl.core.progress import progress
from score_rl.core.ranges import Count, Range, Seed
from score_rl.core.records import validate
from score_rl.core.statistics import paired_difference, wilson
from score_rl.data.dataset import Dataset, load_dataset
from score_rl.deploy.bundle.bundle import Bundle, load_bundle
from score_rl.deploy.drivers.proxy import (
    FASTEST,
    Faults,
    ProxyRobot,
    RobotProcessConfig,
    check_config,
    robot_for,
    spawn_robot,
)
from score_rl.deploy.guard.support_alarm import SupportAlarm
from score_rl.deploy.runtime.control_loop import EpisodeReport, RunConfig
from score_rl.deploy.runtime.recorder import EventLog, Recorder
from score_rl.deploy.runtime.runtime import Runtime
from score_rl.evaluation.evaluate import Evaluation, evaluate
from score_rl.pipeline.inputs import Notify, content_hash, open_run, silent, world_hashes
from score_rl.sim.open import check_world, is_domain, open_world
from score_rl.sim.task import task_names

RESULT, RECORDING, EVENTS = "rehearsal.json", "recording", "events.jsonl"

RunEpisodes = Callable[[Runtime, Sequence[int]], list[EpisodeReport]]
"""Runs the episodes of the seeds and closes the runtime; a command also makes them end on a signal."""


@dataclass(frozen=True)
class RehearseSettings:
    """Which robot is rehearsed with, and how often."""

    world: str = "proxy"
    """Domain of the robot: twin, proxy or the path of a TOML file."""
    robot_seed: Seed = 0
    """Which robot of the domain; take the one that the demonstrations were recorded on."""
    episodes: Count = 20
    """Episodes, the same for deployment and evaluation."""
    first_seed: Seed = 1_000_000
    """Seeds are first_seed, first_seed + 1, ..."""
    speed: Annotated[float, Range(0, FASTEST)] = 1.0
    """Times real time; 0: the robot waits for every command, so that nothing can be late."""
    faults: Faults = field(default_factory=Faults)
    """What goes wrong on the wire."""
    runtime: RunConfig = field(default_factory=RunConfig)
    """Timing, watchdog and guard."""


@dataclass(frozen=True)
class Rehearsed:
    """Result of `rehearse`."""

    directory: Path
    """Run directory."""
    reused: bool
    """Whether the run was finished already."""
    summary: Mapping[str, Any]
    """What rehearsal.json holds."""
    reports: Sequence[EpisodeReport] = ()
    """What became of every episode, in a run that was not reused."""


def run_episodes(runtime: Runtime, seeds: Sequence[int]) -> list[EpisodeReport]:
    """A `RunEpisodes` without signals."""
    try:
        return runtime.run(seeds)
    finally:
        runtime.close()


def rehearse(
    bundle: str | Path, settings: RehearseSettings, out: str | Path, *, overwrite: bool = False,
    notify: Notify = silent, run_episodes: RunEpisodes = run_episodes,
) -> Rehearsed:  # fmt: skip
    """Run a bundle against a robot process over a socket, and the same episodes in-process, and compare.

    Raises ScoreError, also where the robot was lost before the end.
    """
    validate(settings)
    policy = load_bundle(bundle)
    check_simulated(policy.spec.task, settings.world)
    check_config(_robot(policy, settings, Path("robot.sock")))
    hashes = {"bundle": content_hash(Path(bundle))} | world_hashes(settings.world)
    seed = {"robot": settings.robot_seed}
    inputs = {"bundle": bundle, "world": settings.world}
    run = open_run(Path(out), "rehearse", settings, hashes, inputs, overwrite, seed, notify)
    if run.finished:
        return Rehearsed(run.directory, True, run.summary)
    seeds = range(settings.first_seed, settings.first_seed + settings.episodes)
    shutil.rmtree(run.path(RECORDING), ignore_errors=True)  # of an interrupted rehearsal: it starts again
    run.own("robot.log", EVENTS)
    torch.set_num_threads(1)
    evaluated = _evaluate_in_process(policy, settings, seeds)
    reports = _deploy(policy, settings, seeds, run.directory, run_episodes)
    if len(reports) < len(seeds):
        raise ScoreError(f"only {len(reports)} of {len(seeds)} episodes were run; see {run.path(EVENTS)}")
    result = compare(evaluated, reports, load_dataset(run.path(RECORDING, "dataset")))
    result = {"bundle": policy.digest, "task": policy.spec.task, **asdict(settings), **result}
    write_json(run.path(RESULT), result)
    run.finish(result)
    return Rehearsed(run.directory, False, run.summary, reports)


def check_simulated(task: str, world: str) -> None:
    """Raise ScoreError unless a task and a domain make a simulated robot."""
    if task not in task_names():
        raise unknown_choice("task with a simulated robot", task, task_names())
    check_world(world, task)
    if not is_domain(world):
        raise ScoreError(f"a simulated robot is one of a domain (twin, proxy or PATH.toml), not {world}")


def support_alarm(policy: Bundle, config: RunConfig) -> SupportAlarm | None:
    """The alarm that the guard's `support_limit` asks for."""
    return None if config.guard.support_limit is None else SupportAlarm(policy.base, policy.spec)


def _evaluate_in_process(policy: Bundle, settings: RehearseSettings, seeds: Sequence[int]) -> Evaluation:
    """The episodes as `stages.evaluate` runs them, one at a time.

    One at a time, since matrix products of larger batches may round differently, and here every bit is compared.
    """
    views = policy.spec.interface.views
    world = open_world(settings.world, 1, policy.spec.task, settings.robot_seed, threads=1, views=views)
    with closing(world), progress("evaluate in-process", total=len(seeds)) as advance:
        return evaluate(
            world, policy.decider, seeds, policy.spec.execute_steps, traced=len(seeds), advance=lambda n: advance(n)
        )


def _deploy(
    policy: Bundle, settings: RehearseSettings, seeds: Sequence[int], out: Path, run_episodes: RunEpisodes
) -> list[EpisodeReport]:
    """The same episodes over the wire: a robot process, the runtime, the recorder."""
    with tempfile.TemporaryDirectory() as folder:  # paths of sockets must be short
        config = _robot(policy, settings, Path(folder) / "robot.sock")
        process = spawn_robot(config, log=out / "robot.log")
        try:
            with (
                ProxyRobot(config.address, process=process) as robot,
                Recorder(out / RECORDING, robot.spec, policy.spec.task) as recorder,
                progress("deploy", total=len(seeds)) as advance,
            ):
                log = EventLog(out / EVENTS)

                def note(record: Mapping[str, Any]) -> None:
                    log(record)
                    if record["event"] == "episode":
                        advance()

                alarm = support_alarm(policy, settings.runtime)
                runtime = Runtime(policy, robot, robot.spec, settings.runtime, recorder, note, alarm)
                return run_episodes(runtime, seeds)
        finally:
            process.terminate()
            process.wait()


def _robot(policy: Bundle, settings: RehearseSettings, address: Path) -> RobotProcessConfig:
    """The robot that a policy is rehearsed with."""
    same = {name: getattr(settings, name) for name in ("world", "robot_seed", "speed", "faults")}
    return robot_for(policy.spec, address=address, **same)


def compare(evaluated: Evaluation, reports: Sequence[EpisodeReport], recording: Dataset) -> dict[str, Any]:
    """What deployment cost: paired successes, equality of the commands, timing."""
    inside = np.array([episode.success_end for episode in evaluated.episodes])
    deployed = np.array([bool(r.success) and r.ended in ("success", "time_limit") for r in reports])
    paired = paired_difference(deployed, inside)
    n, latency = len(reports), np.concatenate([report.latency_s for report in reports])
    guard: dict[str, int] = {}
    for report in reports:
        for name, count in report.guard.items():
            guard[name] = guard.get(name, 0) + count
    return {
        "n": n,
        "deployed_successes": int(deployed.sum()),
        "deployed_wilson95": [round(bound, 4) for bound in wilson(int(deployed.sum()), n)],
        "in_process_successes": int(inside.sum()),
        "in_process_wilson95": [round(bound, 4) for bound in wilson(int(inside.sum()), n)],
        "difference": paired.difference,
        "difference_95": [round(paired.low, 4), round(paired.high, 4)],
        "only_deployed": paired.only_a,
        "only_in_process": paired.only_b,
        "mcnemar_p": paired.p_value,
        "identical_episodes": sum(_identical(evaluated, recording, row) for row in range(n)),
        "control_steps": sum(report.steps for report in reports),
        "missed_deadlines": sum(report.missed_deadlines for report in reports),
        "late_decisions": sum(report.late_decisions for report in reports),
        "waited_steps": sum(report.waited_steps for report in reports),
        "longest_silence_s": max(report.silent_s for report in reports),
        "unconfirmed_commands": sum(report.unconfirmed for report in reports),
        "repeated_readings": sum(report.repeated_readings for report in reports),
        "fallbacks": sum(report.fallbacks for report in reports),
        "latency_p50_ms": round(1e3 * float(np.quantile(latency, 0.5)), 3),
        "latency_p99_ms": round(1e3 * float(np.quantile(latency, 0.99)), 3),
        "guard": guard,
        "ended": {ended: sum(r.ended == ended for r in reports) for ended in sorted({r.ended for r in reports})},
    }


def _identical(evaluated: Evaluation, recording: Dataset, row: int) -> bool:
    """Episode `row` was sent the same commands, to the bit."""
    trace = evaluated.trace["action"][row].numpy()
    return np.array_equal(trace[~np.isnan(trace).any(axis=1)], recording.episode(row)["action"])
