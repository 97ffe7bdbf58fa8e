"""Pour Ball with a Franka arm and a LEAP hand: Grasp Cup's recipe on another task."""

from __future__ import annotations

from score_rl.tasks.grasp_cup.recipe import grasp_cup
from score_rl.tasks.recipe import Recipe, for_task, recipes_of

DESCRIPTION = "Franka + LEAP pours a ball from cup to cup; demonstrations, calibration and verdict on one proxy robot"


def pour_ball() -> Recipe:
    """The policy sees the cup that it pours into as well."""
    return for_task(grasp_cup(), "pour_ball", DESCRIPTION, "large_cup_pose", observation="cloud")


RECIPES = recipes_of(pour_ball)
