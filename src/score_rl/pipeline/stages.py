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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from score_rl.contracts import FlowPolicy, PolicySpec, World
from score_rl.core import ranks
from score_rl.core.chunks import check_fit
from score_rl.core.clouds import views_of
from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.extras import optional
from score_rl.core.progress import progress
from score_rl.core.records import validate
from score_rl.data.dataset import load_dataset
from score_rl.data.proposal import Proposal, propose
from score_rl.data.writer import DatasetWriter
from score_rl.deploy.bundle.bundle import default_steps
from score_rl.deploy.guard.guard import summarize_counts
from score_rl.deploy.guard.guarded_world import GuardedWorld
from score_rl.deploy.guard.limits import guard_limits
from score_rl.evaluation.run import read_evaluation, run_evaluation
from score_rl.evaluation.support.meter import SupportConfig, SupportMeter
from score_rl.pipeline.compared import all_deciders, labels_of, on_device, open_ticket, open_trained
from score_rl.pipeline.inputs import (
    DATASET,
    Datasets,
    Notify,
    all_windows,
    content_hash,
    dataset_hashes,
    dataset_inputs,
    dataset_roots,
    load_datasets,
    open_run,
    policy_hash,
    silent,
    steering_bundle,
    tell_unread,
    world_hashes,
)
from score_rl.pipeline.limits import robot_limits
from score_rl.policies.flow import train
from score_rl.policies.flow.demonstrations import check_demonstrations
from score_rl.policies.flow.representation import check_representation
from score_rl.policies.open import open_policy
from score_rl.real2sim.estimates import read_estimates
from score_rl.real2sim.settings import DOMAIN_FILE
from score_rl.sim.domain import load_domain
from score_rl.sim.open import check_world, is_domain, open_world
from score_rl.sim.task import get_task
from score_rl.steering import loop
from score_rl.steering.config import Stage
from score_rl.steering.method import Decider, Trained, find_method
from score_rl.steering.methods import METHODS, load_trained
from score_rl.steering.plan import check, check_learner
from score_rl.tasks.people.settings import routine_names
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
    """`steps`, held-out losses and action errors, see docs/metrics.md; `warnings`: what is suspicious about the
    demonstrations, one line each."""
    proposal: Proposal | None = None
    """Settings that the demonstrations suggest; None of a run that was reused."""


@dataclass(frozen=True)
class Calibrated:
    """Result of `calibrate`."""

    directory: Path
    reused: bool
    summary: Mapping[str, Any]
    """Replay errors before and after (`real2sim.calibrate.Comparison`) [rad]."""
    not_estimated: Mapping[str, str] = field(default_factory=dict)
    """What the demonstrations cannot tell, {parameter: why, and what the twin has}."""

    @property
    def twin(self) -> Path:
        """The calibrated twin, a world."""
        return self.directory / DOMAIN_FILE


@dataclass(frozen=True)
class Steered:
    """Result of `steer`; the run directory is what `evaluate` and `bundle` take as steering."""

    directory: Path
    reused: bool
    summary: Mapping[str, Any]
    """`control_steps`, `iterations`, `wall_s`; of score what it was compared with, see docs/metrics.md."""


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
    validate(settings)
    routines = routine_names()
    if settings.task not in routines:
        raise unknown_choice("task with a demonstrator", settings.task, routines)
    check_world(settings.world, settings.task)
    if not is_domain(settings.world):
        raise ScoreError(f"demonstrators act in a task's own scene: {settings.world} is no domain (twin, PATH.toml)")
    with optional("recording demonstrations"):
        from score_rl.tasks.people import collect as people

    views = views_of(settings.observation, settings.cloud, len(get_task(settings.task).observed))
    with closing(open_world(settings.world, 1, settings.task, settings.robot_seed, threads=1, views=views)):
        pass  # what cannot be simulated is refused before there is a run
    seeds = {"robot": settings.robot_seed, "collect": settings.demonstrations.seed}
    inputs = {"world": settings.world}
    run = open_run(Path(out), "collect", settings, world_hashes(settings.world), inputs, overwrite, seeds, notify)
    if not run.finished:
        how = {"nan_dump_dir": run.path("nan"), "views": views}
        world = open_world(settings.world, settings.num_envs, settings.task, settings.robot_seed, **how)
        with closing(world):
            rate = round(world.spec.interface.control_rate_hz)
            writer = DatasetWriter(run.path(DATASET), rate, people.features(world), world.robot.name)
            with progress("collect", settings.demonstrations.episodes, done=writer.num_episodes) as advance:
                people.collect(world, settings.demonstrations, writer, advance)
        dataset = load_dataset(run.path(DATASET))
        success_rate = float(dataset.extra["success"].mean())
        run.finish({"episodes": dataset.num_episodes, "frames": dataset.num_frames, "success_rate": success_rate})
        return Collected(run.directory, False, run.summary)
    return Collected(run.directory, True, run.summary)


def pretrain(
    settings: PretrainSettings, dataset: Datasets, out: str | Path, *,
    overwrite: bool = False, notify: Notify = silent, wandb: str = "",
) -> Pretrained:  # fmt: skip
    """Train the base policy on demonstrations: LeRobot datasets of one robot, or run directories of `collect`."""
    validate(settings)
    roots = dataset_roots(dataset)
    demonstrations = load_datasets(roots)
    train.check_config(settings.training)
    spec = train.policy_spec(demonstrations, settings.training)
    check_representation(spec, settings.training.policy.representation)
    warnings = check_demonstrations(demonstrations, spec, settings.training.policy.representation)
    seeds = {"training": settings.training.seed}
    inputs = dataset_inputs(roots)
    given = (settings, dataset_hashes(roots), inputs, overwrite, seeds, notify)
    run = open_run(Path(out), "pretrain", *given, wandb=wandb)
    tell_unread(demonstrations, notify)
    for line in warnings:
        notify(f"  warning: {line}")
    reused = run.finished
    if not reused:
        train.pretrain(demonstrations, settings.training, run)
    return Pretrained(run.directory, reused, run.summary, None if reused else propose(demonstrations))


def calibrate(
    settings: CalibrateSettings, dataset: Datasets, out: str | Path, *, overwrite: bool = False,
    notify: Notify = silent,
) -> Calibrated:  # fmt: skip
    """Fit the simulated twin to the robot that recorded the demonstrations: one dataset, or several of it."""
    validate(settings)
    with optional("calibration"):
        from score_rl.real2sim import calibrate as real2sim
        from score_rl.real2sim.replay import require_features

    task, roots = get_task(settings.task), dataset_roots(dataset)
    twin = load_domain(settings.world, task.parameters)
    if settings.camera:  # where it is, not how wrong it is
        twin = replace(twin, camera=load_domain(settings.camera).camera)
    demonstrations = load_datasets(roots)
    require_features(demonstrations, task.robot)
    hashes = dataset_hashes(roots) | world_hashes(*filter(None, (settings.world, settings.camera)))
    inputs = dataset_inputs(roots) | {"world": settings.world, "camera": settings.camera or None}
    run = open_run(Path(out), "calibrate", settings, hashes, inputs, overwrite, notify=notify)
    reused = run.finished
    if not reused:
        real2sim.calibrate(demonstrations, task, twin, settings.fit, run)
    return Calibrated(run.directory, reused, run.summary, read_estimates(run.directory).not_estimated)


def steer(
    settings: SteerSettings, policy: str | Path, out: str | Path, *, dataset: Datasets | None = None,
    start: str | Path | None = None, overwrite: bool = False, notify: Notify = silent, wandb: str = "",
) -> Steered:  # fmt: skip
    """Learn to choose the latent of a frozen base policy, or what another method learns, in simulation.

    dataset: demonstrations, one or several, for the methods and options that read them. start: where score starts in
    place of the base policy: a run directory of this stage (a ticket, another steering), or the trained policy in it.
    Under torchrun the ranks learn together.
    """
    validate(settings)
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
        hashes |= dataset_hashes(dataset_roots(dataset))
    elif settings.learner.start.demonstrations > 0:
        raise ScoreError("--learner.start.demonstrations clones demonstrations: give them (--dataset)")
    initial, started = open_trained("start", start, base)
    hashes |= started
    dumps = out / "nan" if ranks.rank() == 0 else None
    how = {"nan_dump_dir": dumps, "views": base.spec.interface.views, "device": settings.device}
    worlds = [open_world(world, settings.num_envs, settings.task, **how) for world in settings.worlds]
    try:
        plan = [Stage(world, steps) for world, steps in zip(worlds, settings.control_steps)]
        device = worlds[0].spec.device
        base, initial = on_device(device, base, initial)
        share, recorded = settings.learner.start.demonstrations, dataset is not None
        asked = (settings.learner, method, settings.options(), initial)
        spec = check(base, plan, *asked, recorded, share > 0)
        check_learner(base, plan, settings.learner, method, spec)
        inputs = {"policy": policy, "start": start} | dataset_inputs(dataset_roots(dataset or ()))
        inputs |= {f"world {number}": world for number, world in enumerate(settings.worlds)}
        seeds = {"training": settings.learner.seed}
        given = (settings, hashes, inputs, overwrite, seeds, notify)
        run = open_run(out, "steer", *given, distributed=True, wandb=wandb)
        reused = run.finished
        if not reused:
            torch.set_num_threads(settings.threads)
            shown = all_windows(base.spec, dataset, device) if recorded else None
            loop.steer(
                base,
                plan,
                settings.learner,
                run,
                method=method,
                options=spec.options,
                demonstrations=shown,
                initial=initial,
                examples=all_windows(base.spec, dataset, device, share) if share > 0 else None,
                notify=notify,
            )
        return Steered(run.directory, reused, run.summary)
    finally:
        for world in worlds:
            world.close()


def evaluate(
    settings: EvaluateSettings, policy: str | Path, out: str | Path, *, steering: str | Path | None = None,
    ticket: str | Path | None = None, ranker: str | Path | None = None, guard: bool = False, overwrite: bool = False,
    notify: Notify = silent,
) -> Evaluated:  # fmt: skip
    """Compare the base policy, the base policy at z = 0 and the steered policies, on the same seeds.

    steering: run directory of `steer`, or the trained policy in it; None evaluates the base policy alone. ticket:
    that of the best constant latent, to compare with too. ranker: that of a best_of_n, which also ranks draws of the
    steering. guard: send every command through the guard of deployment, with the robot's limits.
    """
    validate(settings)
    check_world(settings.world, settings.task)
    base, steered, hashes = open_parts(policy, steering)
    found, more = open_ticket(ticket, base)
    ranks, further = open_trained("ranker", ranker, base)
    hashes |= world_hashes(settings.world) | more | further
    steps = settings.execute_steps or default_steps(base.spec, steered or found)
    with closing(_evaluation_world(settings, base.spec, Path(out), steps if guard else None)) as world:
        base, found, steered, ranks = on_device(world.spec.device, base, found, steered, ranks)
        deciders = chosen(all_deciders(settings, base, found, steered, ranks), settings.policies)
        check_fit(base.spec, world.spec, steps)
        config = settings.evaluation
        meter = support_meter(base, steered, world, config.support_test) if config.support else None
        stage, seeds = "evaluate guarded" if guard else "evaluate", {"robot": settings.robot_seed}
        inputs = {"policy": policy, "steering": steering, "ticket": ticket, "ranker": ranker, "world": settings.world}
        run = open_run(Path(out), stage, settings, hashes, inputs, overwrite, seeds, notify)
        if run.finished:
            return Evaluated(run.directory, True, read_evaluation(run.directory))
        labels = labels_of(settings, world, deciders, base, ((found, ticket), (steered, steering)))
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
    return SupportMeter(base, world.spec.action_low, world.spec.action_high, config, latent, world.spec.device)


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


def _evaluation_world(settings: EvaluateSettings, policy: PolicySpec, out: Path, guarded_steps: int | None) -> World:
    """The world to evaluate a policy in; guarded_steps: steps of a chunk that a guard watches, None without one."""
    amount = settings.evaluation
    envs = max(1, min(amount.num_envs, amount.episodes))
    how = {"nan_dump_dir": out / "nan", "views": policy.interface.views, "device": settings.device}
    world = open_world(settings.world, envs, settings.task, settings.robot_seed, **how)
    if guarded_steps is None:
        return world
    limits = robot_limits(settings.task, settings.world, world.spec)
    return GuardedWorld(world, guard_limits(limits), chunk_steps=guarded_steps)
