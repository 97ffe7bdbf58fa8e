"""Grasp Cup with a Franka arm and a LEAP hand: Pinch Cube's recipe on another task."""

from __future__ import annotations

from dataclasses import replace

from score_rl.tasks.pinch_cube.recipe import pinch_cube
from score_rl.tasks.recipe import Recipe, for_task, recipes_of

DESCRIPTION = "Franka + LEAP grasps a standing cup; demonstrations, calibration and verdict on one proxy robot"


def grasp_cup() -> Recipe:
    """What a cup changes: it is larger, so that a hand at its side or over it may touch it."""
    recipe = for_task(pinch_cube(), "grasp_cup", DESCRIPTION, observation="cloud")
    fit = replace(recipe.calibrate.fit, object_distance_m=0.12, touching_m=0.075)
    return replace(recipe, calibrate=replace(recipe.calibrate, fit=fit))


RECIPES = recipes_of(grasp_cup)
