"""`score evaluate`: the base policy, z = 0 and the policies of one method on the same episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from score_rl.cli.common import (
    Flat,
    check_world_exists,
    console,
    open_run,
    open_world,
    robot_limits,
    world_files,
    world_label,
)
from score_rl.contracts import FlowPolicy, World
from score_rl.core.chunks import check_fit
from score_rl.core.errors import unknown_choice
from score_rl.core.files import read_json
from score_rl.deploy.guard.guard import guard_limits, summarize_counts
from score_rl.deploy.guard.guarded_world import GuardedWorld
from score_rl.evaluation.results import Labels
from score_rl.evaluation.run import REFERENCES, read_evaluation, run_evaluation
from score_rl.evaluation.support.meter import SupportMeter
from score_rl.policies.flow.policy import load_policy
from score_rl.report.tables import results_table, support_table
from score_rl.steering.loop import BUNDLE
from score_rl.steering.method import Decider, Trained
from score_rl.steering.methods import load_trained
from score_rl.steering.policy import DESCRIPTION, compulsory_deciders
from score_rl.tasks.settings import EvaluateSettings


@dataclass(frozen=True)
class Evaluate:
    """Compare the base policy, the base policy at z = 0 and the steered policies, on the same seeds.

    Leaves OUT/result.json (one flat record per policy), OUT/episodes.jsonl (one line per episode) and traces.
    """

    settings: Flat[EvaluateSettings]
    """Where and how much."""
    policy: Path = Path("runs/base")
    """Bundle of the base policy."""
    steering: Path | None = None
    """Run directory of `score steer`, or its bundle; without it the base policy is evaluated alone."""
    out: Path = Path("runs/evaluation")
    """Run directory to write."""
    guard: bool = False
    """Send every command through the guard of deployment, with the robot's limits. Traces hold what was asked for."""
    overwrite: bool = False
    """Replace what is there."""

    def run(self) -> list[dict[str, Any]]:
        """The records of result.json."""
        check_world_exists(self.settings.task, self.settings.world)
        base = load_policy(self.policy)
        bundle = steering_bundle(self.steering) if self.steering is not None else None
        steered = load_trained(bundle, base) if bundle is not None else None
        inputs = {"policy": Path(self.policy)} | ({"steering": bundle} if bundle is not None else {})
        inputs |= world_files(self.settings.world)
        steps = self.settings.execute_steps or _execute_steps(steered, base.spec.horizon)
        deciders = chosen(compulsory_deciders(base, steered), self.settings.policies)
        world = self._world(steps)
        check_fit(base.spec, world.spec, steps)
        seeds = {"robot": self.settings.robot_seed}
        stage = "evaluate guarded" if self.guard else "evaluate"
        run = open_run(self.out, stage, self.settings, inputs, self.overwrite, seeds)
        if run.finished:
            return read_evaluation(run.directory)
        trained = _training(bundle) if bundle is not None else {}
        labels = {
            name: self._labels("base", name, world, {})
            if name in REFERENCES
            else self._labels(steered.spec.method, name, world, trained)
            for name in deciders
        }
        meter = self._meter(base, steered, world) if self.settings.evaluation.support else None
        records = run_evaluation(world, deciders, labels, steps, self.settings.evaluation, run, meter)
        world.close()
        run.finish({record["policy"]: record["success_rate"] for record in records})
        console.print(results_table(records))
        if isinstance(world, GuardedWorld):
            console.print(f"  guard: {summarize_counts(world.counts)}", highlight=False)
        if meter is not None:
            console.print("", support_table(records))
        return records

    def _meter(self, base: FlowPolicy, steered: Trained | None, world: World) -> SupportMeter:
        latent = steered.spec.latent if steered is not None else None
        low, high = world.spec.action_low, world.spec.action_high
        return SupportMeter(base, low, high, self.settings.evaluation.support_test, latent)

    def _world(self, steps: int) -> World:
        amount = self.settings.evaluation
        envs = max(1, min(amount.num_envs, amount.episodes))
        world = open_world(
            self.settings.task, self.settings.world, envs, self.settings.robot_seed, Path(self.out) / "nan"
        )
        if not self.guard:
            return world
        names, rate = world.spec.action_names, world.spec.control_rate_hz
        return GuardedWorld(world, guard_limits(robot_limits(self.settings.task), names, rate), chunk_steps=steps)

    def _labels(self, method: str, policy: str, world: World, trained: Mapping[str, Any]) -> Labels:
        """Labels of a policy's record; `trained`: how it came about, empty for the base policy."""
        stop = getattr(getattr(world, "domain", None), "protective_stop", None)
        return Labels(
            task=self.settings.task,
            method=method,
            policy=policy,
            world=world_label(self.settings.world),
            robot_seed=None if self.settings.world == "gymnasium" else self.settings.robot_seed,
            protective_stop_n=stop.force_n or None if stop else None,
            **trained,
        )


def steering_bundle(path: Path) -> Path:
    """The bundle at a path: itself a bundle, or a run directory of `score steer`."""
    inside = Path(path) / BUNDLE
    return inside if (inside / DESCRIPTION).exists() else Path(path)


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


def _execute_steps(steered: Trained | None, horizon: int) -> int:
    return steered.spec.execute_steps if steered is not None else max(1, horizon // 2)


def _training(bundle: Path) -> dict[str, Any]:
    """How the steering policy was trained: from its bundle, and from the run directory around it if it is there."""
    provenance = read_json(bundle / DESCRIPTION)["provenance"]
    run = bundle.parent / "run.json"
    wall_s = read_json(run)["summary"].get("wall_s") if run.exists() else None
    return {
        "training_seed": provenance["config"]["seed"],
        "control_steps_trained": provenance["control_steps"],
        "train_wall_s": None if wall_s is None else round(wall_s, 1),
    }
