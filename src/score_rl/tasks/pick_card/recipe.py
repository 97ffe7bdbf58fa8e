"""Pick Credit Card with a Franka arm and a LEAP hand: Pinch Cube's recipe on another task."""

from __future__ import annotations

from dataclasses import replace

from score_rl.tasks.pinch_cube.recipe import pinch_cube
from score_rl.tasks.recipe import Recipe, for_task, recipes_of

DESCRIPTION = "Franka + LEAP picks a card from a block; demonstrations, calibration and verdict on one proxy robot"


def pick_card() -> Recipe:
    """What a card changes: the policy sees the block, and hands over the block's height are free of contact.

    Steering has two modes, so that what it chooses may change within a chunk: see docs/tasks.md.
    """
    recipe = for_task(pinch_cube(), "pick_card", DESCRIPTION, "block_pose")
    fit = replace(recipe.calibrate.fit, table_clearance_m=0.14, touching_m=0.06)
    learner = recipe.steer.learner
    learner = replace(learner, latent=replace(learner.latent, modes=2))
    return replace(recipe, calibrate=replace(recipe.calibrate, fit=fit), steer=replace(recipe.steer, learner=learner))


RECIPES = recipes_of(pick_card)
