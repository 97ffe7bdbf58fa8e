"""What an evaluation compares: the base policy's ways to decide and what was trained, by their names in results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from score_rl.contracts import FlowPolicy, World
from score_rl.core.errors import ScoreError
from score_rl.core.outputs import RECORD
from score_rl.core.ranges import Natural, Seed
from score_rl.core.records import parse
from score_rl.core.run_record import read_run
from score_rl.evaluation.results import Labels
from score_rl.pipeline.inputs import content_hash, steering_bundle
from score_rl.sim.open import is_domain, world_label
from score_rl.steering.controls import control, ranked
from score_rl.steering.method import Decider, Trained
from score_rl.steering.methods import METHODS, load_trained
from score_rl.steering.policy import compulsory_deciders, moved, read_description
from score_rl.steering.ticket import TicketPolicy
from score_rl.tasks.settings import EvaluateSettings


def open_trained(role: str, path: str | Path | None, base: FlowPolicy) -> tuple[Trained | None, dict[str, str]]:
    """What was trained at a path, and its hash by role; nothing where there is none. Raises ScoreError."""
    if path is None:
        return None, {}
    bundle = steering_bundle(path)
    return load_trained(bundle, base), {role: content_hash(bundle)}


def open_ticket(path: str | Path | None, base: FlowPolicy) -> tuple[TicketPolicy | None, dict[str, str]]:
    """The ticket at a path, and its hash. Raises ScoreError for another policy."""
    found, hashes = open_trained("ticket", path, base)
    if found is not None and not isinstance(found, TicketPolicy):
        raise ScoreError(f"{path} holds a policy of {found.spec.method}, no ticket: search one with `score ticket`")
    return found, hashes


def on_device(
    device: str, base: FlowPolicy, *trained: Trained | None
) -> tuple[FlowPolicy, *tuple[Trained | None, ...]]:
    """A base policy and what was trained for it where a world computes. What is no torch module stays where it is,
    and answers on the device that it is asked on."""
    if torch.device(device).type == "cpu":
        return base, *trained
    base = base.to(device) if isinstance(base, nn.Module) else base
    return base, *(one and moved(one, base, METHODS[one.spec.method], device) for one in trained)


def all_deciders(
    settings: EvaluateSettings,
    base: FlowPolicy,
    ticket: Trained | None,
    steered: Trained | None,
    ranker: Trained | None,
) -> dict[str, Decider]:
    """Every decider that is asked for; base, z = 0 and the ticket, where there is one, always are."""
    deciders = compulsory_deciders(base, ticket, steered)
    deciders |= {name: control(name, base, settings.control) for name in settings.controls}
    if ranker is not None and steered is None:
        raise ScoreError("a ranker ranks draws of a steering policy: give one (--steering)")
    return deciders | (ranked(base, steered, ranker) if ranker is not None else {})


def labels_of(
    settings: EvaluateSettings,
    world: World,
    deciders: Mapping[str, Decider],
    base: FlowPolicy,
    trained: Sequence[tuple[Trained | None, str | Path | None]],
) -> dict[str, Labels]:
    """Labels of every policy's record: where it was evaluated, and how it came about.

    trained: policies and where they are from; what is none of theirs is the base policy's.
    """
    own_scene = is_domain(settings.world)
    stop = getattr(getattr(world, "domain", None), "protective_stop", None)
    where = {
        "task": settings.task if own_scene else world.spec.name,
        "world": world_label(settings.world),
        "robot_seed": settings.robot_seed if own_scene else None,
        "protective_stop_n": stop.force_n or None if stop else None,
        "not_applied": tuple(getattr(world, "not_applied", ())),
        "row_seeds": world.spec.row_seeds,
    }
    labels = {name: Labels(method="base", policy=name, **where) for name in deciders}
    for policy, path in trained:
        if policy is not None:
            made = {"method": policy.spec.method, **_training(steering_bundle(path))}
            own = {*policy.deciders(base), f"{policy.spec.method}_best_of_n"} & set(labels)
            labels |= {name: Labels(policy=name, **where, **made) for name in own}
    return labels


def _training(bundle: Path) -> dict[str, Any]:
    """How a steering policy was trained: from its bundle, and from the run directory around it if it is there."""
    description = read_description(bundle)
    trained = parse(_Training, dict(description.provenance), f"the provenance in {bundle}", others=True)
    run = bundle.parent
    summary = read_run(run)[0].summary if (run / RECORD).exists() else {}
    wall_s = parse(_Timed, dict(summary), run / RECORD, defaults=True, others=True).wall_s
    return {
        "training_seed": trained.config.seed,
        "control_steps_trained": trained.control_steps,
        "train_wall_s": None if wall_s is None else round(wall_s, 1),
    }


@dataclass(frozen=True)
class _Seeded:
    seed: Seed


@dataclass(frozen=True)
class _Training:
    """What is read of a trained policy's provenance."""

    config: _Seeded
    control_steps: Natural


@dataclass(frozen=True)
class _Timed:
    """What is read of a steering run's summary."""

    wall_s: float | None = None
