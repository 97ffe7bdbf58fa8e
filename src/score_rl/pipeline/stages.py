"""The stages of the loop as functions: settings and inputs in, a run directory and a typed result out.

Every function checks what it is given before it writes anything (ScoreError), reuses its own finished run of the same
settings and inputs, resumes an interrupted one, and refuses any other in its place unless `overwrite`. The command
line, `loop.run_loop` and experiments call these; `deployment` has the stages behind them.

Policies and worlds are URIs, see `policies.open` and `sim.open`. Nothing is printed but progress; `notify` hears
whether a run is written, resumed or reused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from score_rl.contracts import FlowPolicy, World
from score_rl.core import ranks
from score_rl.core.chunks import check_fit
from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.files import read_json
from score_rl.core.progress import progress
from score_rl.data.dataset import load_dataset
from score_rl.data.windows import WindowBatch, Windows
from score_rl.data.writer import DatasetWriter
from score_rl.deploy.bundle.bundle import default_steps
from score_rl.deploy.guard.guard import summarize_counts
from score_rl.deploy.guard.guarded_world import GuardedWorld
from score_rl.deploy.guard.limits import guard_limits
from score_rl.evaluation.results import Labels
from score_rl.evaluation.run import REFERENCES, read_evaluation, run_evaluation
from score_rl.evaluation.support.meter import SupportConfig, SupportMeter
from score_rl.pipeline.inputs import (
    DATASET,
    Notify,
    content_hash,
    dataset_root,
    open_run,
    policy_hash,
    silent,
    steering_bundle,
    world_hashes,
)
from score_rl.pipeline.limits import robot_limits
from score_rl.policies.flow import train
from score_rl.policies.flow.representation import check_representation
from score_rl.policies.open import open_policy
from score_rl.real2sim import calibrate as real2sim
from score_rl.real2sim.replay import require_features
from score_rl.sim.domain import load_domain
from score_rl.sim.open import check_world, is_domain, open_world, world_label
from score_rl.sim.task import get_task
from score_rl.steering import loop
from score_rl.steering.method import Decider, Trained, find_method
from score_rl.steering.methods import METHODS, load_trained
from score_rl.steering.policy import DESCRIPTION, compulsory_deciders
from score_rl.tasks.people import collect as people
from score_rl.tasks.settings import (
    CalibrateSettings,
    CollectSettings,
    EvaluateSettings,
    PretrainSettings,
    SteerSettings,
)


@dataclass(frozen=True)
class Collected:
    """Result of `collect`."""

    directory: Path
    """Run directory."""
    reused: bool
    """Whether the run was finished already."""
    summary: Mapping[str, Any]
    """`episodes`, `frames`, `success_rate`."""

    @property
    def dataset(self) -> Path:
        """The LeRobot dataset."""
        return self.directory / DATASET


@dataclass(frozen=True)
class Pretrained:
    """Result of `pretrain`; the run directory is the policy's folder."""

    directory: Path
    reused: bool
    summary: Mapping[str, Any]
    """`steps`, held-out losses and action errors, see docs/metrics.md."""


@dataclass(frozen=True)
class Calibrated:
    """Result of `calibrate`."""

    directory: Path
    reused: bool
    summary: Mapping[str, Any]
    """Replay errors before and after (`real2sim.calibrate.Comparison`) [rad]."""

    @property
    def twin(self) -> Path:
        """The calibrated twin, a world."""
        return self.directory / real2sim.DOMAIN_FILE


@dataclass(frozen=True)
class Steered:
    """Result of `steer`; the run directory is what `evaluate` and `bundle` take as steering."""

    directory: Path
    reused: bool
    summary: Mapping[str, Any]
    """`control_steps`, `iterations`, `wall_s`."""


@dataclass(frozen=True)
class Evaluated:
    """Result of `evaluate`."""

    directory: Path
    reused: bool
    records: Sequence[dict[str, Any]]
    """One flat record per policy, see docs/metrics.md."""
    guard: str = ""
    """What the guard did in a run that was not reused; "" without a guard."""

    def success_rate(self, policy: str) -> float:
        """Success rate of a policy, e.g. "base" or "score_det". Raises ScoreError for one that was not evaluated."""
        rates = {record["policy"]: record["success_rate"] for record in self.records}
        if policy not in rates:
            raise unknown_choice("evaluated policy", policy, rates)
        return rates[policy]


def collect(
    settings: CollectSettings, out: str | Path, *, overwrite: bool = False, notify: Notify = silent
) -> Collected:
    """Record demonstrations of a scripted person into OUT/dataset (LeRobotDataset v3.0), failures included."""
    routines = people.routine_names()
    if settings.task not in routines:
        raise unknown_choice("task with a demonstrator", settings.task, routines)
    check_world(settings.world, settings.task)
    if not is_domain(settings.world):
        raise ScoreError(f"demonstrators act in a task's own scene: {settings.world} is no domain (twin, PATH.toml)")
    if settings.num_envs < 1 or settings.demonstrations.episodes < 1:
        raise ScoreError("num_envs and episodes must be at least 1")
    seeds = {"robot": settings.robot_seed, "collect": settings.demonstrations.seed}
    run = open_run(Path(out), "collect", settings, world_hashes(settings.world), overwrite, seeds, notify)
    if not run.finished:
        world = open_world(
            settings.world, settings.num_envs, settings.task, settings.robot_seed, nan_dump_dir=run.path("nan")
        )
        with closing(world):
            rate = round(world.spec.control_rate_hz)
            writer = DatasetWriter(run.path(DATASET), rate, people.features(world), world.robot.name)
            with progress("collect", settings.demonstrations.episodes, done=writer.num_episodes) as advance:
                people.collect(world, settings.demonstrations, writer, advance)
        dataset = load_dataset(run.path(DATASET))
        success_rate = float(dataset.extra["success"].mean())
        run.finish({"episodes": dataset.num_episodes, "frames": dataset.num_frames, "success_rate": success_rate})
        return Collected(run.directory, False, run.summary)
    return Collected(run.directory, True, run.summary)


def pretrain(
    settings: PretrainSettings, dataset: str | Path, out: str | Path, *, overwrite: bool = False,
    notify: Notify = silent,
) -> Pretrained:  # fmt: skip
    """Train the base policy on demonstrations: a LeRobot dataset, or the run directory of `collect`."""
    root = dataset_root(dataset)
    demonstrations = load_dataset(root)
    train.check_config(settings.training)
    spec = train.policy_spec(demonstrations, settings.training)
    check_representation(spec, settings.training.policy.representation)
    seeds = {"training": settings.training.seed}
    run = open_run(Path(out), "pretrain", settings, {"dataset": content_hash(root)}, overwrite, seeds, notify)
    reused = run.finished
    if not reused:
        train.pretrain(demonstrations, settings.training, run)
    return Pretrained(run.directory, reused, run.summary)


def calibrate(
    settings: CalibrateSettings, dataset: str | Path, out: str | Path, *, overwrite: bool = False,
    notify: Notify = silent,
) -> Calibrated:  # fmt: skip
    """Fit the simulated twin to the robot that recorded the demonstrations."""
    task, root = get_task(settings.task), dataset_root(dataset)
    twin = load_domain(settings.world, task.parameters)
    demonstrations = load_dataset(root)
    require_features(demonstrations, task.robot)
    hashes = {"dataset": content_hash(root)} | world_hashes(settings.world)
    run = open_run(Path(out), "calibrate", settings, hashes, overwrite, notify=notify)
    reused = run.finished
    if not reused:
        real2sim.calibrate(demonstrations, task, twin, settings.fit, run)
    return Calibrated(run.directory, reused, run.summary)


def steer(
    settings: SteerSettings, policy: str | Path, out: str | Path, *, dataset: str | Path | None = None,
    overwrite: bool = False, notify: Notify = silent,
) -> Steered:  # fmt: skip
    """Learn to choose the latent of a frozen base policy, or what another method learns, in simulation.

    dataset: demonstrations, for the methods and options that read them. Under torchrun the ranks learn together.
    """
    ranks.join()
    method, out = find_method(settings.method, METHODS), Path(out)
    if len(settings.worlds) != len(settings.control_steps) or not settings.worlds:
        raise ScoreError(
            f"steering needs one budget per world: got worlds {settings.worlds} and "
            f"control_steps {settings.control_steps}"
        )
    for world in settings.worlds:
        check_world(world, settings.task)
    base = open_policy(policy)
    hashes = {"policy": policy_hash(policy, base)} | world_hashes(*settings.worlds)
    if dataset is not None:
        hashes["dataset"] = content_hash(dataset_root(dataset))
    dumps = out / "nan" if ranks.rank() == 0 else None
    worlds = [open_world(world, settings.num_envs, settings.task, nan_dump_dir=dumps) for world in settings.worlds]
    try:
        plan = [loop.Stage(world, steps) for world, steps in zip(worlds, settings.control_steps)]
        loop.check_settings(base, plan, settings.learner, dataset is not None)
        spec = loop.steering_spec(base, settings.learner, method, settings.options())
        method.check(base, spec, dataset is not None)
        seeds = {"training": settings.learner.seed}
        run = open_run(out, "steer", settings, hashes, overwrite, seeds, notify, distributed=True)
        reused = run.finished
        if not reused:
            torch.set_num_threads(settings.threads)
            recorded = _windows(base, dataset) if dataset is not None else None
            loop.steer(
                base,
                plan,
                settings.learner,
                run,
                real_observations=recorded.observation if recorded is not None else None,
                method=method,
                options=spec.options,
                demonstrations=recorded,
            )
        return Steered(run.directory, reused, run.summary)
    finally:
        for world in worlds:
            world.close()


def evaluate(
    settings: EvaluateSettings, policy: str | Path, out: str | Path, *, steering: str | Path | None = None,
    guard: bool = False, overwrite: bool = False, notify: Notify = silent,
) -> Evaluated:  # fmt: skip
    """Compare the base policy, the base policy at z = 0 and the steered policies, on the same seeds.

    steering: run directory of `steer`, or the trained policy in it; None evaluates the base policy alone. guard: send
    every command through the guard of deployment, with the robot's limits.
    """
    check_world(settings.world, settings.task)
    base, steered, hashes = open_parts(policy, steering)
    hashes |= world_hashes(settings.world)
    steps = settings.execute_steps or default_steps(base.spec, steered)
    deciders = chosen(compulsory_deciders(base, steered), settings.policies)
    with closing(_evaluation_world(settings, Path(out), steps if guard else None)) as world:
        check_fit(base.spec, world.spec, steps)
        stage, seeds = "evaluate guarded" if guard else "evaluate", {"robot": settings.robot_seed}
        run = open_run(Path(out), stage, settings, hashes, overwrite, seeds, notify)
        if run.finished:
            return Evaluated(run.directory, True, read_evaluation(run.directory))
        labels = _labels(settings, world, deciders, steered, steering)
        config = settings.evaluation
        meter = support_meter(base, steered, world, config.support_test) if config.support else None
        records = run_evaluation(world, deciders, labels, steps, config, run, meter)
        run.finish({record["policy"]: record["success_rate"] for record in records})
        counts = summarize_counts(world.counts) if isinstance(world, GuardedWorld) else ""
    return Evaluated(run.directory, False, records, counts)


def support(
    settings: EvaluateSettings, policy: str | Path, out: str | Path, *, steering: str | Path | None = None,
    overwrite: bool = False, notify: Notify = silent,
) -> Evaluated:  # fmt: skip
    """`evaluate`, measuring also how far what is executed stays within the base policy's support."""
    settings = replace(settings, evaluation=replace(settings.evaluation, support=True))
    return evaluate(settings, policy, out, steering=steering, overwrite=overwrite, notify=notify)


# ---- parts that other stages share ----------------------------------------------------------------------------


def open_parts(policy: str | Path, steering: str | Path | None) -> tuple[FlowPolicy, Trained | None, dict[str, str]]:
    """(base policy, trained policy or None, their hashes by role) of two URIs. Raises ScoreError."""
    base = open_policy(policy)
    hashes = {"policy": policy_hash(policy, base)}
    if steering is None:
        return base, None, hashes
    bundle = steering_bundle(steering)
    return base, load_trained(bundle, base), hashes | {"steering": content_hash(bundle)}


def support_meter(base: FlowPolicy, steered: Trained | None, world: World, config: SupportConfig) -> SupportMeter:
    """Measures the support of what is executed in a world."""
    latent = steered.spec.latent if steered is not None else None
    return SupportMeter(base, world.spec.action_low, world.spec.action_high, config, latent)


def chosen(deciders: Mapping[str, Decider], wanted: Sequence[str]) -> dict[str, Decider]:
    """The deciders whose name is, or ends with _ and, one of the wanted; all where none is wanted.

    Raises ScoreError for a wanted one that is not there.
    """
    for name in wanted:
        if not any(name == known or known.endswith(f"_{name}") for known in deciders):
            raise unknown_choice("policy", name, deciders)
    return {
        known: decider
        for known, decider in deciders.items()
        if not wanted or any(known == name or known.endswith(f"_{name}") for name in wanted)
    }


def _windows(policy: FlowPolicy, dataset: str | Path) -> WindowBatch:
    """All windows of a dataset as the policy would read them, and the chunks executed there."""
    spec = policy.spec
    return Windows(load_dataset(dataset_root(dataset)), tuple(spec.observation), spec.history, spec.horizon).all()


def _evaluation_world(settings: EvaluateSettings, out: Path, guarded_steps: int | None) -> World:
    """The world to evaluate in; guarded_steps: steps of a chunk that a guard watches, None without a guard."""
    amount = settings.evaluation
    envs = max(1, min(amount.num_envs, amount.episodes))
    world = open_world(settings.world, envs, settings.task, settings.robot_seed, nan_dump_dir=out / "nan")
    if guarded_steps is None:
        return world
    limits = robot_limits(settings.task, settings.world, world.spec)
    limits = guard_limits(limits, world.spec.action_names, world.spec.control_rate_hz)
    return GuardedWorld(world, limits, chunk_steps=guarded_steps)


def _labels(
    settings: EvaluateSettings, world: World, deciders: Mapping[str, Decider], steered: Trained | None,
    steering: str | Path | None,
) -> dict[str, Labels]:  # fmt: skip
    """Labels of every policy's record: where it was evaluated, and how it came about."""
    own_scene = is_domain(settings.world)
    stop = getattr(getattr(world, "domain", None), "protective_stop", None)
    where = {
        "task": settings.task if own_scene else world.spec.name,
        "world": world_label(settings.world),
        "robot_seed": settings.robot_seed if own_scene else None,
        "protective_stop_n": stop.force_n or None if stop else None,
    }
    trained = _training(steering_bundle(steering)) if steering is not None else {}
    return {
        name: Labels(method="base", policy=name, **where)
        if name in REFERENCES
        else Labels(method=steered.spec.method, policy=name, **where, **trained)
        for name in deciders
    }


def _training(bundle: Path) -> dict[str, Any]:
    """How a steering policy was trained: from its bundle, and from the run directory around it if it is there."""
    provenance = read_json(bundle / DESCRIPTION)["provenance"]
    run = bundle.parent / "run.json"
    wall_s = read_json(run)["summary"].get("wall_s") if run.exists() else None
    return {
        "training_seed": provenance["config"]["seed"],
        "control_steps_trained": provenance["control_steps"],
        "train_wall_s": None if wall_s is None else round(wall_s, 1),
    }
