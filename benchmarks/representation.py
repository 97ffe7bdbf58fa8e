"""What the base policy sees and says, compared: the same demonstrations, network and budget, other coordinates.

    python benchmarks/representation.py --demonstrations RUN --calibration RUN

Every variant of the Pinch Cube recipe changes one thing. Base policy and z = 0 are evaluated in the calibrated twin,
never in the proxy: this comparison chose the recipe.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from score_rl.core.files import read_json
from score_rl.evaluation.results import write_results
from score_rl.pipeline.stages import evaluate, pretrain
from score_rl.policies.flow.policy import PolicyConfig
from score_rl.policies.flow.representation import PALM_KEYS
from score_rl.policies.flow.train import PretrainConfig
from score_rl.tasks.recipe import get_recipe
from score_rl.tasks.settings import EvaluateSettings, PretrainSettings


@dataclass(frozen=True)
class Benchmark:
    """Representations of the base policy."""

    demonstrations: Path
    """Run directory of `score collect` on a development robot, or a dataset."""
    calibration: Path
    """Run directory of `score calibrate` on the same."""
    robot: int = 101
    """Seed of that robot, for the records."""
    episodes: int = 100
    """Episodes of every variant and policy."""
    runs: Path = Path("runs/representation")
    """Folder of the run directories, one per variant."""
    result: Path = Path("benchmarks/results/representation.json")
    """Result file to write."""


def variants(recipe: PretrainConfig) -> dict[str, PretrainConfig]:
    """Name -> training; the first is the recipe itself."""
    policy = recipe.policy
    chunk = policy.representation

    def changed(**values: object) -> PretrainConfig:
        return replace(recipe, policy=replace(policy, representation=replace(chunk, **values)))

    return {
        "recipe": recipe,
        "half the steps": replace(recipe, steps=recipe.steps // 2),
        "absolute targets": changed(action="absolute"),
        "raw observations": changed(observation="identity", keys=PALM_KEYS),
        "min-max scale": changed(action_scale="min_max"),
        "one frame": changed(history=1),
        "chunk of 16": changed(horizon=16),
        "no analytic skip": replace(recipe, policy=_with_width(policy, None), loss_weighting="velocity"),
        "loss of the velocity": replace(recipe, loss_weighting="velocity"),
    }


def _with_width(policy: PolicyConfig, width: float | None) -> PolicyConfig:
    return replace(policy, flow=replace(policy.flow, width=width))


def main() -> None:
    """Run the comparison; finished variants are reused."""
    benchmark = tyro.cli(Benchmark, description=__doc__)
    recipe = get_recipe("pinch_cube")
    twin = str(benchmark.calibration / "domain.toml")
    records = []
    for name, training in variants(recipe.pretrain.training).items():
        out = benchmark.runs / name.replace(" ", "-")
        policy = pretrain(PretrainSettings(training), benchmark.demonstrations, out / "base").directory
        amount = replace(recipe.evaluate.evaluation, episodes=benchmark.episodes, traced=0)
        where = EvaluateSettings(world=twin, execute_steps=8, evaluation=amount)
        found = evaluate(where, policy, out / "evaluation").records
        errors = read_json(out / "base" / "run.json")["summary"]
        extra = {key: errors[key] for key in ("held_out_loss", "action_error", "action_error_z0")}
        records += [{**record, "variant": name, "robot_seed": benchmark.robot, **extra} for record in found]
        write_results(benchmark.result, records)


if __name__ == "__main__":
    main()
