"""Push Soccer Ball with a Franka arm and a LEAP hand: Pinch Cube's recipe on another task."""

from __future__ import annotations

from dataclasses import replace

from score_rl.tasks.pinch_cube.recipe import pinch_cube
from score_rl.tasks.recipe import DEBUG, FULL, PAPER, Recipe, debug, for_task, paper
from score_rl.tasks.settings import FALLING_STEPS

DESCRIPTION = "Franka + LEAP pushes a ball into a goal; demonstrations, calibration and verdict on one robot"


def push_ball() -> Recipe:
    """Nothing is lifted here: calibration learns of the camera from balls at rest, and keeps its prior otherwise."""
    recipe = for_task(pinch_cube(), "push_ball", DESCRIPTION)
    return replace(recipe, steer=replace(recipe.steer, learner=replace(recipe.steer.learner, ppo=FALLING_STEPS)))


RECIPES = {FULL: push_ball, DEBUG: lambda: debug(push_ball()), PAPER: lambda: paper(push_ball())}
