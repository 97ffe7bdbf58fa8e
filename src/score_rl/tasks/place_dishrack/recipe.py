"""Place in Dishrack with a Franka arm and a LEAP hand: Pinch Cube's recipe on another task."""

from __future__ import annotations

from dataclasses import replace

from score_rl.tasks.pinch_cube.recipe import pinch_cube
from score_rl.tasks.recipe import Recipe, for_task, recipes_of

DESCRIPTION = "Franka + LEAP puts a plate into a dishrack; demonstrations, calibration and verdict on one robot"


def place_dishrack() -> Recipe:
    """What a plate changes: where the rack is, fingers 60 mm from its middle, and how often one decides.

    Whole chunks run, explored independently, with half as many control steps again: chosen in the twins of robots 101
    and 201, see `docs/tasks.md`.
    """
    recipe = for_task(pinch_cube(), "place_dishrack", DESCRIPTION, "rack_pose", observation="cloud")
    fit = replace(recipe.calibrate.fit, object_distance_m=0.11, touching_m=0.085)
    learner = recipe.steer.learner
    learner = replace(learner, execute_steps=8, decisions=16, ppo=replace(learner.ppo, noise_correlation=0.0))
    steer = replace(recipe.steer, learner=learner, control_steps=(600_000,))
    return replace(recipe, calibrate=replace(recipe.calibrate, fit=fit), steer=steer)


RECIPES = recipes_of(place_dishrack)
