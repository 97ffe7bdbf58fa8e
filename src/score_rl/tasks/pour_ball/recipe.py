"""Pour Ball with a Franka arm and a LEAP hand: Grasp Cup's recipe on another task."""

from __future__ import annotations

from dataclasses import replace

from score_rl.tasks.grasp_cup.recipe import grasp_cup
from score_rl.tasks.recipe import Recipe, for_task, recipes_of

DESCRIPTION = "Franka + LEAP pours a ball from cup to cup; demonstrations, calibration and verdict on one proxy robot"


def pour_ball() -> Recipe:
    """The policy sees the cup that it pours into as well."""
    recipe = for_task(grasp_cup(), "pour_ball", DESCRIPTION)
    training = recipe.pretrain.training
    seen = training.policy.representation
    seen = replace(seen, keys=(*seen.keys, "large_cup_pose"))
    policy = replace(training.policy, representation=seen)
    return replace(recipe, pretrain=replace(recipe.pretrain, training=replace(training, policy=policy)))


RECIPES = recipes_of(pour_ball)
