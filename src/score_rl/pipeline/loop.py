"""The whole loop on one robot: real -> sim -> real, stage after stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from score_rl.core.errors import ScoreError
from score_rl.core.outputs import check_folder
from score_rl.pipeline.inputs import Notify, silent
from score_rl.pipeline.stages import (
    Calibrated,
    Collected,
    Evaluated,
    Pretrained,
    Steered,
    calibrate,
    collect,
    evaluate,
    pretrain,
    steer,
)
from score_rl.sim.open import check_world
from score_rl.tasks.recipe import Recipe
from score_rl.tasks.settings import EvaluateSettings


@dataclass(frozen=True)
class Loop:
    """What every stage of a loop left."""

    collected: Collected
    pretrained: Pretrained
    calibrated: Calibrated
    steered: Steered
    uncalibrated: Evaluated
    """The base policy in the twin as it was before calibration."""
    twin: Evaluated
    """All policies in the calibrated twin."""
    proxy: Evaluated
    """All policies where the recipe takes its verdict."""


def run_loop(
    recipe: Recipe, out: str | Path, *, hardware: str = "", robot_seed: int = 0, seed: int = 0,
    twin_episodes: int = 100, overwrite: bool = False, notify: Notify = silent,
    done: Callable[[Any], None] = lambda result: None,
) -> Loop:  # fmt: skip
    """Run all stages of a recipe, each into its own run directory below OUT.

    hardware: world of demonstrations and verdict; "": the recipe's. robot_seed: the robot that is demonstrated on,
    calibrated and judged. seed: of demonstrations, pretraining and steering. twin_episodes: at most as many of every
    policy in the twin. done: hears every stage's result at once.
    Raises ScoreError for a recipe that needs demonstrations from elsewhere, and an OUT that is a run directory.
    """
    check_folder(out)
    recipe, out = of_robot(recipe, robot_seed, seed), Path(out)
    if hardware:
        recipe = on_hardware(recipe, hardware)

    def then(result: Any) -> Any:
        done(result)
        return result

    how: dict[str, Any] = {"overwrite": overwrite, "notify": notify}
    collected = then(collect(recipe.collect, out / "demonstrations", **how))
    pretrained = then(pretrain(recipe.pretrain, collected.dataset, out / "base", **how))
    calibrated = then(calibrate(recipe.calibrate, collected.dataset, out / "calibration", **how))
    twin, policy = str(calibrated.twin), pretrained.directory
    # In a loop, "twin" means the calibrated one.
    learn = replace(recipe.steer, worlds=tuple(twin if world == "twin" else world for world in recipe.steer.worlds))
    steered = then(steer(learn, policy, out / "steering", **how))
    evaluations, before = out / "evaluation", in_twin(recipe, recipe.calibrate.world, twin_episodes)
    how["steering"] = steered.directory
    return Loop(
        collected,
        pretrained,
        calibrated,
        steered,
        then(evaluate(before, policy, evaluations / "uncalibrated", **how | {"steering": None})),
        then(evaluate(in_twin(recipe, twin, twin_episodes), policy, evaluations / "twin", **how)),
        then(evaluate(recipe.evaluate, policy, evaluations / "proxy", **how)),
    )


def of_robot(recipe: Recipe, robot_seed: int, seed: int) -> Recipe:
    """The recipe on one robot and with one seed throughout. Raises ScoreError for one that collects nothing."""
    if not recipe.real_to_sim:
        raise ScoreError(f"{recipe.task} needs demonstrations from elsewhere: run its stages one by one")
    demonstrations = replace(recipe.collect.demonstrations, seed=seed)
    return replace(
        recipe,
        collect=replace(recipe.collect, robot_seed=robot_seed, demonstrations=demonstrations),
        pretrain=replace(recipe.pretrain, training=replace(recipe.pretrain.training, seed=seed)),
        steer=replace(recipe.steer, learner=replace(recipe.steer.learner, seed=seed)),
        evaluate=replace(recipe.evaluate, robot_seed=robot_seed),
    )


def on_hardware(recipe: Recipe, world: str) -> Recipe:
    """The recipe with demonstrations and verdict in another world; policies that see clouds have a twin whose camera
    stands where that world's does. Raises ScoreError for an unknown one."""
    check_world(world, recipe.task)
    if recipe.observation == "cloud":
        recipe = replace(recipe, calibrate=replace(recipe.calibrate, camera=world))
    return replace(
        recipe, collect=replace(recipe.collect, world=world), evaluate=replace(recipe.evaluate, world=world)
    )


def in_twin(recipe: Recipe, world: str, episodes: int) -> EvaluateSettings:
    """The recipe's evaluation in a twin, which is one robot by itself; chunks run as in steering."""
    amount = replace(recipe.evaluate.evaluation, episodes=min(episodes, recipe.evaluate.evaluation.episodes))
    steps = recipe.steer.learner.execute_steps
    return replace(recipe.evaluate, world=world, robot_seed=0, execute_steps=steps, evaluation=amount)
