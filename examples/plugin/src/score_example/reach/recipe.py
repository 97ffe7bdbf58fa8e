"""Settings for a small world that exists once: no demonstrations are recorded in it and no twin is fitted."""

from __future__ import annotations

from dataclasses import replace

from score_rl.evaluation.run import EvaluateConfig
from score_rl.steering.config import SteerConfig
from score_rl.steering.latent import LatentConfig
from score_rl.steering.ppo import PPOConfig
from score_rl.tasks.recipe import DEBUG, FULL, Recipe
from score_rl.tasks.settings import (
    CalibrateSettings,
    CollectSettings,
    EvaluateSettings,
    PretrainSettings,
    SteerSettings,
)

TASK = WORLD = "reach"


def reach() -> Recipe:
    """Steering chooses the mean of the latent, which is the side to go to."""
    learner = SteerConfig(
        execute_steps=4,
        decisions=4,
        latent=LatentConfig(kind="subspace", modes=1),
        ppo=PPOConfig(learning_rate=3e-3, hidden=(32,), minibatches=2),
    )
    return Recipe(
        description="a point on a line reaches its goal, by a base policy that does not look where that is",
        collect=CollectSettings(task=TASK, world=WORLD),
        pretrain=PretrainSettings(),
        calibrate=CalibrateSettings(task=TASK, world=WORLD),
        steer=SteerSettings(task=TASK, worlds=(WORLD,), control_steps=(8_000,), num_envs=32, learner=learner),
        evaluate=EvaluateSettings(task=TASK, world=WORLD, evaluation=EvaluateConfig(episodes=100, traced=1)),
        real_to_sim=False,
    )


def small() -> Recipe:
    """One iteration, too few to learn anything."""
    full = reach()
    amount = replace(full.evaluate.evaluation, episodes=4)
    return replace(
        full,
        steer=replace(full.steer, control_steps=(100,), num_envs=4),
        evaluate=replace(full.evaluate, evaluation=amount),
    )


RECIPES = {FULL: reach, DEBUG: small}
