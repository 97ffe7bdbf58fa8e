"""A recipe: one value of every stage's settings, for one task. Every task has some, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import get_args

from score_rl.core import plugins
from score_rl.core.clouds import CLOUD, CLOUD_SEEN, CloudConfig, Sight
from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.policies.flow.augmentation import AugmentConfig
from score_rl.policies.flow.networks import NetworkConfig
from score_rl.policies.flow.pointnet import PALM_POSE
from score_rl.policies.flow.policy import FlowConfig, PolicyConfig
from score_rl.policies.flow.representation import RepresentationConfig
from score_rl.policies.flow.train import PretrainConfig
from score_rl.sim.task import TASKS
from score_rl.tasks.settings import (
    CalibrateSettings,
    CollectSettings,
    EvaluateSettings,
    PretrainSettings,
    SteerSettings,
)

FULL, DEBUG, PAPER = "full", "debug", "paper"
"""The recipe of a task's real job, which is the default, the same loop in seconds, and the same with the paper's base
policy. A task may have others."""


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
    observation: Sight = "pose"
    """What its policies see of objects where nobody says otherwise, see `seeing`."""
    real_to_sim: bool = True
    """Whether the loop records its demonstrations in a proxy and calibrates a twin from them; otherwise the
    demonstrations are given and the world is the same throughout."""

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.steer.task


def for_task(recipe: Recipe, task: str, description: str, *sees: str, observation: Sight = "pose") -> Recipe:
    """The same settings for another task, whose policy reads the keys `sees` too: poses of its other objects.

    What it sees by default is its own, since that is measured task by task (`docs/clouds.md`).
    """
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
        observation=observation,
    )


def seeing(recipe: Recipe, observation: Sight) -> Recipe:
    """The recipe whose policies see objects so, whose settings are given for poses.

    Clouds replace every pose of an object by an encoder of the points of the newest look; a step has half as many
    examples, each with two flow times. Raises ScoreError for a recipe that cannot be had otherwise.
    """
    training = recipe.pretrain.training
    representation = training.policy.representation
    if CLOUD in representation.views:
        if observation != "cloud":
            raise ScoreError(f"this recipe of {recipe.task} sees clouds alone; --recipe {FULL} has both")
        return recipe
    if observation == "pose":
        return replace(recipe, observation="pose")
    if not recipe.real_to_sim:
        raise ScoreError(f"{recipe.task} has no scene of its own that a camera could see; its keys are what it shows")
    representation = replace(
        representation,
        # Poses by the names that `Task.observed` gives them: a recipe can be had where nothing simulates its scene.
        keys=tuple(key for key in representation.keys if key == PALM_POSE or not key.endswith("_pose")),
        views=(CLOUD, CLOUD_SEEN),
        encoders={**representation.encoders, CLOUD: "pointnet", CLOUD_SEEN: "raw"},
    )
    training = replace(
        training,
        policy=replace(training.policy, representation=representation),
        batch_size=max(1, training.batch_size // 2),
        draws=2,
    )
    return replace(
        recipe,
        collect=replace(recipe.collect, observation="cloud"),
        pretrain=replace(recipe.pretrain, training=training),
        observation="cloud",
    )


def paper(full: Recipe) -> Recipe:
    """The paper's base policy in place of a recipe's own; demonstrations, calibration and steering stay.

    512 points of objects and hand in the base frame, four frames of joints and of past actions, chunks of 16
    absolute targets, the U-Net, no analytic skip, its optimiser and its augmentation. 80,000 steps are about 1000
    epochs of 300 demonstrations: a job for a GPU. That joints and the cloud's features are standardised is ours.
    """
    policy = PolicyConfig(
        representation=RepresentationConfig(
            keys=("state", "command"),
            views=(CLOUD, CLOUD_SEEN),
            history=4,
            horizon=16,
            encoders={CLOUD: "pointnet_base", CLOUD_SEEN: "raw"},
        ),
        network=NetworkConfig(kind="unet", widths=(256, 512, 1024)),
        flow=FlowConfig(width=None),
    )
    training = PretrainConfig(
        policy=policy,
        steps=80_000,
        learning_rate=1e-4,
        warmup_steps=500,
        observation_noise={"state": 0.05},
        augmentation=AugmentConfig(jitter_m=0.02, shift_m=0.05, turn_rad=0.2),
    )
    cloud = CloudConfig(points=512, hand=True, hand_points=full.collect.cloud.hand_points)
    return replace(
        full,
        description=f"the same with the paper's base policy: {full.description}",
        collect=replace(full.collect, observation="cloud", cloud=cloud),
        pretrain=PretrainSettings(training),
        observation="cloud",
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


def recipes_of(full: Callable[[], Recipe]) -> dict[str, Callable[[], Recipe]]:
    """The recipes of a task that has a scene and a demonstrator, by name."""
    return {FULL: full, DEBUG: lambda: debug(full()), PAPER: lambda: paper(full())}


def task_names() -> tuple[str, ...]:
    """Installed tasks that have recipes: all that `--task` takes."""
    return plugins.names(TASKS, "recipe")


def recipe_names(task: str) -> tuple[str, ...]:
    """Names of a task's recipes. Raises ScoreError for an unknown task, or one that is broken."""
    return tuple(_recipes(task))


def get_recipe(task: str, name: str = FULL, observation: str = "") -> Recipe:
    """A recipe of a task, whose policies see objects as `observation` says ("": as the recipe does by itself).

    Raises ScoreError that lists the choices, or says what is broken.
    """
    if observation and observation not in get_args(Sight):
        raise unknown_choice("observation", observation, get_args(Sight))
    recipes = _recipes(task)
    if name not in recipes:
        if name in task_names():
            raise ScoreError(f"unknown recipe '{name}' of {task}: that is a task, --task {name} selects it")
        raise unknown_choice(f"recipe of {task}", name, recipes)
    recipe = plugins.call(recipes[name], f"recipe '{name}' of task '{task}'", {}, {})
    if not isinstance(recipe, Recipe) or recipe.task != task:
        found = f"one of {recipe.task}" if isinstance(recipe, Recipe) else repr(recipe)
        raise ScoreError(f"recipe '{name}' of task '{task}' must return a Recipe of that task, not {found}")
    return seeing(recipe, observation or recipe.observation)


def _recipes(task: str) -> Mapping:
    return plugins.load_part(TASKS, task, "recipe", "RECIPES", "task", Mapping)
