"""Result files: a list of flat records, one per policy and world (docs/metrics.md lists every field).

The schema is versioned. Fields may be added; the meaning of an existing one never changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.files import write_json
from score_rl.core.ranges import Count, Natural, NonNegative, Range, Seed, Share
from score_rl.core.records import parse, read_json
from score_rl.core.statistics import paired_difference, wilson

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Required:
    """Fields that every record has. None: does not apply (no forces, no training)."""

    schema_version: Literal[1]
    task: str
    method: str
    policy: str
    world: str
    robot_seed: int | None
    training_seed: int | None
    n: Count
    success_rate: Share
    successes_end: Natural
    successes_ever: Natural
    wilson95: tuple[Share, Share]
    steps_to_success_mean: NonNegative | None
    peak_force_p95_n: NonNegative | None
    hand_faults: Natural
    control_steps_trained: Natural
    train_wall_s: NonNegative | None
    commit: str
    command: str
    machine: str


@dataclass(frozen=True)
class Paired:
    """Fields `vs_P_*` of a record that was compared with a policy P: all of them, or none."""

    difference: Annotated[float, Range(-1, 1)]
    interval: tuple[Annotated[float, Range(-1, 1)], Annotated[float, Range(-1, 1)]]
    """The field `vs_P_95`."""
    wins: Natural
    losses: Natural
    mcnemar_p: Share
    steps_reduction: float | None


@dataclass(frozen=True)
class Supported:
    """Fields of a record whose support was measured: all of them, or none."""

    support_n: Count
    support_violation_rate: Share
    support_violation_95: tuple[Share, Share]
    support_inside_rate: Share
    support_typicality: Share
    support_auc: Share
    support_step_violation_rate: Share


COUNTS = ("successes_end", "successes_ever", "hand_faults")


@dataclass(frozen=True)
class Episode:
    """What one evaluation episode came to; one line of `episodes.jsonl`."""

    seed: int
    """Seed of the episode: the same seed shows every policy the same object, pose and disturbances."""
    success_end: bool
    """The success condition holds in the last state, and no fault ended the episode."""
    success_ever: bool
    """The success condition held at some step before any fault."""
    steps_to_success: int | None
    """Control steps until the success that lasts to the end began; None without success at the end."""
    steps: int
    """Control steps that the episode lasted."""
    truncated: bool
    """The time limit ended the episode."""
    fault: bool
    """The protective stop ended the episode."""
    nan: bool
    """A numerical failure ended the episode."""
    peak_force_n: float | None
    """Largest filtered contact force on the hand; None where the world reports no forces."""
    return_: float
    """Undiscounted sum of rewards."""
    latent_norm2: float
    """Mean of |z|^2 / (h a) over the decisions: 1 for the prior, 0 for z = 0."""
    max_jump: float
    """Largest step of one action dimension from the end of a chunk to the start of the next, action units."""
    jump: float | None = None
    """Mean over consecutive chunks of such largest steps; None for a single chunk."""
    jerk_rms: float | None = None
    """Root mean square of the commands' third derivative, action units / s^3; None for fewer than four commands."""
    peak_fingertip_force_n: float | None = None
    """Largest filtered contact force on a fingertip; None, as the next three, where the world does not say."""
    impulse_ns: float | None = None
    """Time integral of what the force on any link of the hand exceeds 15 N by, all links added up."""
    torque_limit_share: float | None = None
    """Share of time, on average over joints, at the torque limit."""
    joint_limit_share: float | None = None
    """Share of time, on average over joints, at a mechanical stop."""
    support_decisions: int | None = None
    """Executed chunks whose support was measured; None, as all below, where it was not."""
    support_violation_rate: float | None = None
    """Share of them that is off the base policy's support at the 99 % level (`evaluation.support.meter`)."""
    support_steered_violation_rate: float | None = None
    """The same, seen along the steered directions only."""
    support_step_violation_rate: float | None = None
    """Share of single actions that is off support."""
    support_inside_rate: float | None = None
    """Share of chunks that is as central as only 1 % of the base policy's own."""
    support_typicality: float | None = None
    """Two-sided: 0.5 on average for the base policy, near 0 for chunks too far out or too central."""
    support_auc: float | None = None
    """Chance that an executed chunk is farther from the base samples of its state than one of them is."""


FORCE_FIGURES = ("peak_fingertip_force_n", "impulse_ns", "torque_limit_share", "joint_limit_share")
"""Fields of an episode that come from the world's info under the same names."""


@dataclass(frozen=True)
class Labels:
    """What an evaluation was of: the descriptive fields shared by the records of one policy."""

    task: str
    method: str
    policy: str
    world: str
    robot_seed: int | None = None
    training_seed: int | None = None
    control_steps_trained: int = 0
    train_wall_s: float | None = None
    protective_stop_n: float | None = None
    """Contact force that ends an episode as a failure; None where the world has no such stop."""
    not_applied: tuple[str, ...] = ()
    """Parameters of the world's domain that its engine cannot represent, and that were therefore left out."""
    row_seeds: bool = True
    """Whether the same seed is the same episode for every policy (`WorldSpec.row_seeds`); else pairs are none."""


def summarize(labels: Labels, episodes: Sequence[Episode], provenance: Mapping[str, Any]) -> dict[str, Any]:
    """One flat record; `provenance` gives at least commit, command and machine.

    Raises ScoreError where there are no episodes.
    """
    if not episodes:
        raise ScoreError(f"no episodes of policy {labels.policy} to summarize")
    n, ends = len(episodes), sum(e.success_end for e in episodes)
    forces = [e.peak_force_n for e in episodes if e.peak_force_n is not None]
    times = [e.steps_to_success for e in episodes if e.steps_to_success is not None]
    return {
        "schema_version": SCHEMA_VERSION,
        **vars(labels),
        "not_applied": list(labels.not_applied),
        "n": n,
        "successes_end": ends,
        "successes_ever": sum(e.success_ever for e in episodes),
        "success_rate": ends / n,
        "wilson95": [round(bound, 4) for bound in wilson(ends, n)],
        "steps_to_success_mean": _rounded(np.mean, times),
        "steps_to_success_median": _rounded(np.median, times),
        "episode_steps_mean": _rounded(np.mean, [e.steps for e in episodes]),
        "peak_force_median_n": _rounded(np.median, forces),
        "peak_force_p95_n": _rounded(_p95, forces),
        "hand_faults": sum(e.fault for e in episodes),
        "nans": sum(e.nan for e in episodes),
        "timeouts": sum(e.truncated for e in episodes),
        "return_mean": _rounded(np.mean, [e.return_ for e in episodes]),
        "latent_norm2_mean": _rounded(np.mean, [e.latent_norm2 for e in episodes]),
        "max_jump_p95": _rounded(_p95, [e.max_jump for e in episodes]),
        **_motion(episodes),
        "first_seed": min(e.seed for e in episodes),
        **provenance,
    }


def _motion(episodes: Sequence[Episode]) -> dict[str, float | None]:
    """Force and continuity over episodes; None where no episode has a figure."""

    def over(statistic: Any, name: str) -> float | None:
        return _rounded(statistic, [value for e in episodes if (value := getattr(e, name)) is not None])

    return {
        "jump_mean": over(np.mean, "jump"),
        "jump_p95": over(_p95, "jump"),
        "jerk_rms_mean": over(np.mean, "jerk_rms"),
        "peak_fingertip_force_median_n": over(np.median, "peak_fingertip_force_n"),
        "peak_fingertip_force_p95_n": over(_p95, "peak_fingertip_force_n"),
        "impulse_mean_ns": over(np.mean, "impulse_ns"),
        "impulse_p95_ns": over(_p95, "impulse_ns"),
        "torque_limit_share_mean": over(np.mean, "torque_limit_share"),
        "joint_limit_share_mean": over(np.mean, "joint_limit_share"),
    }


def compare(record: dict[str, Any], episodes: Sequence[Episode], others: Mapping[str, Sequence[Episode]]) -> None:
    """Add paired differences of success at the end to a record: for each other policy P the fields `vs_P_*`.

    Raises ScoreError where the episodes are not of the same seeds in the same order.
    """
    for name, other in others.items():
        if [e.seed for e in episodes] != [e.seed for e in other]:
            raise ScoreError(f"cannot pair {record['policy']} with {name}: they were not evaluated on the same seeds")
        paired = paired_difference([e.success_end for e in episodes], [e.success_end for e in other])
        record |= {
            f"vs_{name}_difference": round(paired.difference, 4),
            f"vs_{name}_95": [round(paired.low, 4), round(paired.high, 4)],
            f"vs_{name}_wins": paired.only_a,
            f"vs_{name}_losses": paired.only_b,
            f"vs_{name}_mcnemar_p": paired.p_value,
            f"vs_{name}_steps_reduction": steps_reduction(episodes, other),
        }


def steps_reduction(episodes: Sequence[Episode], other: Sequence[Episode]) -> float | None:
    """Fraction by which the mean steps to success are fewer than the other's; None without successes."""
    mine, theirs = (
        [e.steps_to_success for e in policy if e.steps_to_success is not None] for policy in (episodes, other)
    )
    return round(1 - float(np.mean(mine) / np.mean(theirs)), 4) if mine and theirs else None


def validate(records: Any, source: str = "results") -> list[dict[str, Any]]:
    """The records, checked against the schema; raises ScoreError naming source, record and field at fault."""
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ScoreError(f"{source} is not a list of flat records")
    names = {field.name for field in fields(Required)}
    for index, record in enumerate(records):
        where = f"{source}, record {index}"
        parse(Required, {name: record[name] for name in names if name in record}, where)
        for other in {key[3 : -len("_difference")] for key in record if re.fullmatch("vs_.+_difference", key)}:
            paired = {
                field.name: f"vs_{other}_{'95' if field.name == 'interval' else field.name}"
                for field in fields(Paired)
            }
            parse(
                Paired, {name: record[key] for name, key in paired.items() if key in record}, f"{where}, vs_{other}"
            )
        if "first_seed" in record:
            parse(Seed, record["first_seed"], where, key="first_seed")
        if any(key.startswith("support_") for key in record):
            parse(Supported, record, where, others=True)
        _check_counts(record, where)
    return records


def write_results(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write a result file after checking it, atomically."""
    write_json(path, validate([dict(record) for record in records], source=str(path)))


def read_results(path: Path) -> list[dict[str, Any]]:
    """The records of a result file; raises ScoreError for a missing, corrupt or foreign file."""
    return validate(read_json(path), source=str(path))


def find_record(records: Sequence[Mapping[str, Any]], **labels: Any) -> Mapping[str, Any]:
    """The single record with these labels, e.g. `policy="base", world="proxy"`."""
    found = [record for record in records if all(record.get(key) == value for key, value in labels.items())]
    if len(found) != 1:
        known = [", ".join(f"{key}={record.get(key)}" for key in labels) for record in records]
        wanted = ", ".join(f"{key}={value}" for key, value in labels.items())
        if found:
            raise ScoreError(f"{len(found)} records match {wanted}")
        raise unknown_choice("record", wanted, known)
    return found[0]


def _check_counts(record: Mapping[str, Any], where: str) -> None:
    n = record["n"]
    for name in COUNTS:
        if record[name] > n:
            raise ScoreError(f"{where}: {name} is {record[name]}, but n is {n}")
    low, high = record["wilson95"]
    if not 0 <= low <= record["successes_end"] / n <= high <= 1:
        raise ScoreError(f"{where}: wilson95 {record['wilson95']} does not hold {record['successes_end']}/{n}")


def _p95(values: Sequence[float]) -> float:
    return float(np.percentile(values, 95))


def _rounded(statistic: Any, values: Sequence[float]) -> float | None:
    return round(float(statistic(values)), 4) if len(values) else None


POLICY_NAMES = {
    "base": "base policy",
    "base_z0": "base, z = 0",
    "base_ticket": "base, best constant z",
    "base_tiled": "base, tiled z",
    "most_supported_of_n": "base, most typical of n",
    "score_best_of_n": "SCORE, best of n",
    "score_stoch": "SCORE, sampled",
    "score_det": "SCORE",
}


def policy_name(policy: str) -> str:
    """How a policy is called in pictures and tables."""
    return POLICY_NAMES.get(policy, policy)
