"""Adroit door: from 25 human demonstrations to a steered policy, on one core.

    python benchmarks/adroit_door.py --dataset PATH/TO/adroit_door_human

For every training seed: pretrain the base policy, steer it in `AdroitHandDoorSparse-v1` from sparse reward, and
evaluate base, z = 0 and SCORE on the same episodes. Finished parts are reused, interrupted ones resumed; the
settings are those of `score_rl.tasks.adroit_door.recipe`. The dataset is a LeRobotDataset v3.0 with
`observation.state` (39) and `action` (28) at 100 Hz (Rajeswaran et al. 2018). Writes one flat record per
policy and seed; the base policy's training is not counted as steering.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import tyro

from score_rl.core.files import read_json, write_json
from score_rl.core.runs import start_run
from score_rl.data.dataset import load_dataset
from score_rl.evaluation.results import Labels, write_results
from score_rl.evaluation.run import EvaluateConfig, run_evaluation
from score_rl.policies.flow.policy import ConditionalFlow
from score_rl.policies.flow.train import pretrain
from score_rl.sim.adapters.gymnasium import adroit_door_world
from score_rl.steering.loop import Stage, steer
from score_rl.steering.policy import SteeringPolicy, compulsory_deciders
from score_rl.tasks.adroit_door.recipe import adroit_door

TASK, CPU_TIME = "adroit_door", "cpu_s.json"


RECIPE = adroit_door()


@dataclass(frozen=True)
class Benchmark:
    """Adroit door: pretrain, steer and evaluate over several training seeds."""

    dataset: Path
    """LeRobotDataset v3.0 of the human demonstrations."""
    runs: Path = Path("runs/adroit_door")
    """Folder of the run directories."""
    result: Path = Path("benchmarks/results/adroit_door.json")
    """Result file to write."""
    training_seeds: tuple[int, ...] = (0, 1, 2)
    """One base policy, one steering run and one evaluation each."""
    evaluate: EvaluateConfig = field(default_factory=lambda: EvaluateConfig(num_envs=50, traced=0))
    """How many episodes, on which seeds."""


def train(benchmark: Benchmark, seed: int) -> tuple[ConditionalFlow, SteeringPolicy, dict[str, Any]]:
    """Base policy, steering policy, and what steering took."""
    pretraining = replace(RECIPE.pretrain.training, seed=seed)
    run = start_run(benchmark.runs / f"base-{seed}", "pretrain", pretraining, {"training": seed})
    policy = pretrain(load_dataset(benchmark.dataset), pretraining, run)
    steering_config = replace(RECIPE.steer.learner, seed=seed)
    run = start_run(benchmark.runs / f"steer-{seed}", "steer", steering_config, {"training": seed})
    world = adroit_door_world(RECIPE.steer.num_envs)
    began = time.process_time()
    steering = steer(policy, [Stage(world, RECIPE.steer.control_steps[0])], steering_config, run)
    if not run.resumed:  # of an interrupted run only the last session's time is known
        write_json(run.path(CPU_TIME), time.process_time() - began)
    world.close()
    cpu_s = read_json(run.path(CPU_TIME)) if run.path(CPU_TIME).exists() else None
    return policy, steering, {**run.summary, "cpu_s": cpu_s}


def evaluate(benchmark: Benchmark, seed: int) -> list[dict[str, Any]]:
    """Records of one training seed."""
    policy, steering, cost = train(benchmark, seed)
    deciders = compulsory_deciders(policy, steering)
    labels = {
        name: Labels(
            task=TASK,
            method="score" if name.startswith("score") else "base",
            policy=name,
            world=TASK,
            training_seed=seed,
            control_steps_trained=cost["control_steps"] if name.startswith("score") else 0,
            train_wall_s=round(cost["wall_s"], 1) if name.startswith("score") else None,
        )
        for name in deciders
    }
    run = start_run(benchmark.runs / f"evaluate-{seed}", "evaluate", benchmark.evaluate, {"training": seed})
    world = adroit_door_world(benchmark.evaluate.num_envs)
    records = run_evaluation(world, deciders, labels, RECIPE.steer.learner.execute_steps, benchmark.evaluate, run)
    world.close()
    for record in records:
        record["train_cpu_s"] = cost["cpu_s"] if record["method"] == "score" else None
        record["torch_threads"] = torch.get_num_threads()
    return records


def main() -> None:
    """Run the benchmark and print success by seed and policy."""
    benchmark = tyro.cli(Benchmark, description=__doc__)
    torch.set_num_threads(1)
    records = [record for seed in benchmark.training_seeds for record in evaluate(benchmark, seed)]
    write_results(benchmark.result, records)
    for record in records:
        low, high = record["wilson95"]
        rate = record["successes_end"] / record["n"]
        print(f"seed {record['training_seed']}  {record['policy']:<12} {rate:.3f}  [{low:.3f}, {high:.3f}]")


if __name__ == "__main__":
    main()
