"""A recipe: one value of every stage's settings, for one task. Every task has some, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from score_rl.core import plugins
from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.policies.flow.networks import NetworkConfig
from score_rl.sim.task import TASKS
from score_rl.tasks.settings import (
    CalibrateSettings,
    CollectSettings,
    EvaluateSettings,
    PretrainSettings,
    SteerSettings,
)

FULL, DEBUG = "full", "debug"
"""The recipe of a task's real job, which is the default, and the same loop in seconds. A task may have others."""


GENERIC = "generic"
"""The task of whoever brings a world and demonstrations of their own."""


@dataclass(frozen=True)
class Recipe:
    """Settings of the whole loop."""

    description: str
    """One line for people."""
    collect: CollectSettings
    pretrain: PretrainSettings
    calibrate: CalibrateSettings
    steer: SteerSettings
    evaluate: EvaluateSettings
    real_to_sim: bool = True
    """Whether the loop records its demonstrations in a proxy and calibrates a twin from them; otherwise the
    demonstrations are given and the world is the same throughout."""

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.steer.task


def for_task(recipe: Recipe, task: str, description: str, *sees: str) -> Recipe:
    """The same settings for another task, whose policy reads the keys `sees` too: poses of its other objects."""
    policy = recipe.pretrain.training.policy
    representation = replace(policy.representation, keys=(*policy.representation.keys, *sees))
    training = replace(recipe.pretrain.training, policy=replace(policy, representation=representation))
    return replace(
        recipe,
        description=description,
        pretrain=replace(recipe.pretrain, training=training),
        collect=replace(recipe.collect, task=task),
        calibrate=replace(recipe.calibrate, task=task),
        steer=replace(recipe.steer, task=task),
        evaluate=replace(recipe.evaluate, task=task),
    )


def debug(full: Recipe) -> Recipe:
    """Everything that a recipe does, too small to learn anything: the loop as a test, in seconds."""
    policy = replace(full.pretrain.training.policy, network=NetworkConfig(widths=(32,)))
    return replace(
        full,
        description=f"the same in seconds, too small to learn anything: {full.description}",
        collect=replace(
            full.collect,
            world="twin" if full.real_to_sim else full.collect.world,
            num_envs=20,
            demonstrations=replace(full.collect.demonstrations, episodes=20),
        ),
        pretrain=replace(
            full.pretrain,
            training=replace(
                full.pretrain.training,
                policy=policy,
                steps=60,
                batch_size=64,
                warmup_steps=10,
                validate_every=30,
                checkpoint_every=30,
                log_every=10,
            ),
        ),
        calibrate=replace(full.calibrate, fit=replace(full.calibrate.fit, fit_episodes=6)),
        steer=replace(full.steer, control_steps=(2_000,) * len(full.steer.worlds), num_envs=8),
        evaluate=replace(
            full.evaluate,
            world="twin" if full.real_to_sim else full.evaluate.world,
            evaluation=replace(full.evaluate.evaluation, episodes=4, num_envs=4, traced=1),
        ),
    )


def task_names() -> tuple[str, ...]:
    """Installed tasks that have recipes: all that `--task` takes."""
    return plugins.names(TASKS, "recipe")


def recipe_names(task: str) -> tuple[str, ...]:
    """Names of a task's recipes. Raises ScoreError for an unknown task, or one that is broken."""
    return tuple(_recipes(task))


def get_recipe(task: str, name: str = FULL) -> Recipe:
    """A recipe of a task. Raises ScoreError that lists the choices, or says what is broken."""
    recipes = _recipes(task)
    if name not in recipes:
        if name in task_names():
            raise ScoreError(f"unknown recipe '{name}' of {task}: that is a task, --task {name} selects it")
        raise unknown_choice(f"recipe of {task}", name, recipes)
    recipe = recipes[name]()
    if not isinstance(recipe, Recipe) or recipe.task != task:
        found = f"one of {recipe.task}" if isinstance(recipe, Recipe) else repr(recipe)
        raise ScoreError(f"recipe '{name}' of task '{task}' must return a Recipe of that task, not {found}")
    return recipe


def _recipes(task: str) -> Mapping:
    return plugins.load_part(TASKS, task, "recipe", "RECIPES", "task", Mapping)
