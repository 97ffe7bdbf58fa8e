"""Somebody's own world and demonstrations: raw keys, absolute actions, small steps of the learner."""

from __future__ import annotations

from dataclasses import replace

from score_rl.policies.flow.policy import PolicyConfig
from score_rl.policies.flow.representation import RepresentationConfig
from score_rl.policies.flow.train import PretrainConfig
from score_rl.steering.latent import LatentConfig
from score_rl.steering.loop import SteerConfig
from score_rl.steering.ppo import PPOConfig
from score_rl.tasks.recipe import DEBUG, FULL, GENERIC, Recipe, debug
from score_rl.tasks.settings import (
    CalibrateSettings,
    CollectSettings,
    EvaluateSettings,
    PretrainSettings,
    SteerSettings,
)

CONTROL_STEPS = (200_000,)


def generic() -> Recipe:
    """Demonstrations are given and `--world` names the world.

    The key `state` as it is, absolute actions, chunks of 8 steps. Steering chooses the slowest temporal mode; 16
    environments and 40 decisions of 8 steps an iteration, with falling steps. The discount per control step keeps
    half of a reward that is 350 steps away.
    """
    representation = RepresentationConfig(keys=("state",), horizon=8, action="absolute", action_scale="min_max")
    return Recipe(
        description="a world and demonstrations of your own (--world gymnasium:ENV_ID?success=KEY, ...)",
        collect=CollectSettings(task=GENERIC, world=""),
        pretrain=PretrainSettings(
            PretrainConfig(policy=PolicyConfig(representation=representation), steps=5000, action_units="")
        ),
        calibrate=CalibrateSettings(task=GENERIC, world=""),
        steer=SteerSettings(
            task=GENERIC,
            worlds=(),
            control_steps=CONTROL_STEPS,
            num_envs=16,
            learner=SteerConfig(
                execute_steps=8,
                decisions=40,
                latent=LatentConfig(kind="subspace", modes=1),
                ppo=PPOConfig(learning_rate=1e-3, final_learning_rate=0.1, clip=0.2, gamma=0.998),
            ),
        ),
        evaluate=EvaluateSettings(task=GENERIC, world=""),
        real_to_sim=False,
    )


def small() -> Recipe:
    """See `tasks.recipe.debug`; the budget is of the one world that `--worlds` names."""
    recipe = debug(generic())
    return replace(recipe, steer=replace(recipe.steer, control_steps=(2_000,)))


RECIPES = {FULL: generic, DEBUG: small}
