"""Arms of an experiment: one deployed policy each, with its records in every evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from score_rl.evaluation.results import policy_name
from score_rl.pipeline.experiment.definition import EVALUATIONS, REFERENCE_POLICIES, REFERENCES
from score_rl.pipeline.experiment.summary import mean_rate
from score_rl.steering.controls import CONTROLS

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Arm:
    """A policy that is compared with others."""

    variant: str
    """Method of the experiment; `base` or `base_z0` for the references."""
    policy: str
    """Name in the records, e.g. `score_det`."""
    label: str
    role: str
    sweep: str | None
    sweep_value: float | str | None
    records: Mapping[str, Sequence[Record]]
    """Evaluation -> records, one per task, robot and training seed."""

    def of(self, evaluation: str, task: str | None = None) -> list[Record]:
        """Records of one evaluation, and of one task where it is given."""
        return [r for r in self.records.get(evaluation, ()) if task in (None, r["task"])]

    @property
    def ours(self) -> bool:
        """Whether the experiment is about this arm, or one like it."""
        return self.role == "ours"


def arms(records: Iterable[Record], stochastic: bool = False) -> list[Arm]:
    """The arms in the order of the records; policies that sample their latents only where asked for."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if stochastic or not record["policy"].endswith("_stoch"):
            groups.setdefault((record["variant"], record["policy"]), []).append(record)
    return [_arm(policy, found) for (_, policy), found in groups.items()]


def _arm(policy: str, records: Sequence[Record]) -> Arm:
    first, reference = records[0], records[0]["variant"] == REFERENCES.name
    sampled = ", sampled" if policy.endswith("_stoch") else ""
    drawn = policy in (REFERENCE_POLICIES[1], *CONTROLS)
    other = policy_name(policy).removeprefix("base") if drawn else ""  # of a base policy that was made in another way
    return Arm(
        variant=policy if reference else first["variant"],
        policy=policy,
        label=policy_name(policy) if reference else first["label"] + other + sampled,
        role=first["role"],
        sweep=first["sweep"],
        sweep_value=first["sweep_value"],
        records={e: [r for r in records if r["evaluation"] == e] for e in EVALUATIONS},
    )


def tasks_of(records: Iterable[Record]) -> list[str]:
    """Tasks in the order of the records."""
    return list(dict.fromkeys(record["task"] for record in records))


def our_arm(all_arms: Sequence[Arm]) -> Arm | None:
    """The arm that rivals are compared with."""
    return next((arm for arm in all_arms if arm.ours and arm.of("proxy")), None)


def best_rival(all_arms: Sequence[Arm]) -> Arm | None:
    """The rival with the highest mean success in the proxy; chosen with hindsight, in its favour.

    Rivals that were tried on a part of the tasks and robots only count where there are no others.
    """
    rivals = [arm for arm in all_arms if arm.role == "rival" and arm.of("proxy")]
    rivals = [arm for arm in rivals if complete(arm, all_arms, "proxy")] or rivals
    return max(rivals, key=lambda arm: mean_rate(arm.of("proxy")).value, default=None)


def complete(arm: Arm, all_arms: Sequence[Arm], evaluation: str) -> bool:
    """Whether an arm was evaluated on every task and robot that any arm was."""
    cells = {(r["task"], r["robot_seed"]) for other in all_arms for r in other.of(evaluation)}
    return {(r["task"], r["robot_seed"]) for r in arm.of(evaluation)} == cells
