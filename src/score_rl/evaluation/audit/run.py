"""Running the panel: the same episodes in every variation, one line of a log per virtual robot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from score_rl.contracts import World
from score_rl.core.errors import ScoreError
from score_rl.core.files import JsonLines
from score_rl.core.progress import progress
from score_rl.core.ranges import Count, Length, Natural, Positive, Seed
from score_rl.core.records import parse, shown, validate
from score_rl.core.runs import Run
from score_rl.evaluation.audit.panel import JOINT, NOMINAL, Mismatch, Variation, panel
from score_rl.evaluation.evaluate import evaluate
from score_rl.evaluation.results import Episode
from score_rl.evaluation.support.measure import measure
from score_rl.evaluation.support.meter import SupportMeter
from score_rl.sim.domain import Domain
from score_rl.steering.method import Decider

LOG = "panel.jsonl"


@dataclass(frozen=True)
class AuditConfig:
    """How much is asked."""

    sizes: Annotated[tuple[Positive, ...], Length(1)] = (0.5, 1.0, 2.0, 4.0, 8.0)
    """Sizes of every mismatch, in its unit."""
    episodes: Count = 48
    """Episodes of every mismatch and size."""
    joint_episodes: Count = 96
    """Episodes of all mismatches together, per size."""
    robots: Count = 12
    """Virtual robots of the joint variations; half as many for a mismatch with a direction per joint or axis."""
    only: tuple[str, ...] = ()
    """Only these mismatches (names of domain parameters, physics_step, joint); by default all."""
    support: bool = True
    """Also measure support, in the nominal twin and in the joint variations."""
    first_seed: Seed = 2_000_000
    """Episodes have the seeds first_seed, first_seed + 1, ..., the same in every variation."""


@dataclass(frozen=True)
class Outcome:
    """What became of a policy in one variation."""

    variation: Variation
    episodes: Mapping[int, Sequence[Episode]]
    """Virtual robot -> its episodes."""

    @property
    def all(self) -> list[Episode]:
        """The episodes of all virtual robots, by seed."""
        return sorted((e for episodes in self.episodes.values() for e in episodes), key=lambda e: e.seed)

    @property
    def success(self) -> float:
        """Success rate."""
        return sum(e.success_end for e in self.all) / len(self.all)


def check(domain: Domain, config: AuditConfig) -> None:
    """Raise ScoreError for settings out of range, or for the proxy, which an audit must not know."""
    if domain.name.startswith("proxy"):
        raise ScoreError(f"{domain.name} is the robot's stand-in: an audit asks in the calibrated twin (--domain)")
    validate(config)
    if list(config.sizes) != sorted(set(config.sizes)):
        raise ScoreError(f"sizes is {config.sizes}, expected increasing numbers")
    if min(config.episodes, config.joint_episodes) < config.robots:
        raise ScoreError(
            f"every virtual robot needs an episode: robots is {config.robots}, episodes {config.episodes}"
        )


def run_panel(
    decider: Decider,
    domain: Domain,
    mismatches: Sequence[Mismatch],
    world_of: Callable[[Domain, int], World],
    execute_steps: int,
    config: AuditConfig,
    run: Run,
    meter: SupportMeter | None = None,
) -> list[Outcome]:
    """Play all variations; a resumed run goes on behind its last virtual robot.

    mismatches: what is varied. world_of: makes a world of a domain with a number of environments. meter: measures
    support, where it is asked for.
    """
    cells = [
        (variation, robot, seeds)
        for variation in panel(domain, mismatches, config.sizes, config.robots, config.only)
        for robot, seeds in enumerate(_seeds(variation, config))
    ]
    log = JsonLines(run.path(LOG))
    with progress("audit", len(cells), done=len(log)) as advance:
        for variation, robot, seeds in cells[len(log) :]:
            measured = meter if variation.mismatch in (NOMINAL, JOINT) else None
            played = _play(world_of(variation.robots[robot], len(seeds)), decider, seeds, execute_steps, measured)
            log.append(
                {
                    **_label(variation),
                    "robot": robot,
                    "episodes": [_without_none(vars(episode)) for episode in played],
                }
            )
            advance(note=f"{variation.mismatch} {variation.direction} {variation.text}")
    records = iter(log.read())
    outcomes: dict[int, Outcome] = {}
    for number, (variation, robot, _) in enumerate(cells, start=1):
        found = outcomes.setdefault(id(variation), Outcome(variation, {}))
        line = f"{log.path}, line {number}"
        cell = parse(Cell, next(records), line)
        if (cell.mismatch, cell.direction, cell.size, cell.robot) != (*_label(variation).values(), robot):
            raise ScoreError(f"{line} is another variation than the panel's: {shown(cell.mismatch)}")
        kept = [parse(Episode, {**MISSING, **episode}, line, defaults=True) for episode in cell.episodes]
        found.episodes[robot] = kept  # type: ignore[index]
    return list(outcomes.values())


@dataclass(frozen=True)
class Cell:
    """One line of the log: a virtual robot of a variation."""

    mismatch: str
    direction: str
    size: float
    robot: Natural
    episodes: tuple[dict[str, Any], ...]
    """Fields of `Episode` that have a value."""


MISSING = {"steps_to_success": None, "peak_force_n": None}
"""Fields of an episode without a default, as they are where they were left out of the log."""


def _label(variation: Variation) -> dict[str, Any]:
    return {"mismatch": variation.mismatch, "direction": variation.direction, "size": variation.size}


def _play(
    world: World, decider: Decider, seeds: Sequence[int], execute_steps: int, meter: SupportMeter | None
) -> list[Episode]:
    """One episode per seed, with support figures where there is a meter."""
    outcome = evaluate(world, decider, seeds, execute_steps, reader=meter.policy.spec if meter is not None else None)
    world.close()
    return outcome.episodes if meter is None else measure(meter, outcome)[0]


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _seeds(variation: Variation, config: AuditConfig) -> list[list[int]]:
    """Seeds of every virtual robot: together the same ones in every variation of a kind.

    The nominal twin plays those of the joint variations too, which are at least as many.
    """
    many = max(config.episodes, config.joint_episodes)
    n = many if variation.mismatch == NOMINAL else config.episodes
    n = config.joint_episodes if variation.mismatch == JOINT else n
    robots = len(variation.robots)
    return [list(range(config.first_seed + robot, config.first_seed + n, robots)) for robot in range(robots)]
