"""Place in Dishrack with a Franka arm and a LEAP hand: Pinch Cube's recipe on another task."""

from __future__ import annotations

from dataclasses import replace

from score_rl.tasks.pinch_cube.recipe import pinch_cube
from score_rl.tasks.recipe import Recipe, for_task, recipes_of

DESCRIPTION = "Franka + LEAP puts a plate into a dishrack; demonstrations, calibration and verdict on one robot"


def place_dishrack() -> Recipe:
    """What a plate changes: where the rack is, and fingers that touch it 60 mm from its middle."""
    recipe = for_task(pinch_cube(), "place_dishrack", DESCRIPTION, "rack_pose")
    fit = replace(recipe.calibrate.fit, object_distance_m=0.11, touching_m=0.085)
    return replace(recipe, calibrate=replace(recipe.calibrate, fit=fit))


RECIPES = recipes_of(place_dishrack)
