"""Recipes: named compositions that return frozen settings; no inheritance, no mutation."""

from collections.abc import Callable

from score_rl.core.errors import unknown_choice
from score_rl.tasks.adroit_door.recipe import adroit_door
from score_rl.tasks.grasp_bottle.recipe import grasp_bottle
from score_rl.tasks.pinch_cube.recipe import debug, pinch_cube
from score_rl.tasks.push_ball.recipe import push_ball
from score_rl.tasks.recipe import Recipe

RECIPES: dict[str, Callable[[], Recipe]] = {
    "pinch_cube": pinch_cube,
    "grasp_bottle": grasp_bottle,
    "push_ball": push_ball,
    "adroit_door": adroit_door,
    "debug": debug,
}


def get_recipe(name: str) -> Recipe:
    """The recipe of that name; raises ScoreError that lists the choices."""
    if name not in RECIPES:
        raise unknown_choice("recipe", name, RECIPES)
    return RECIPES[name]()


__all__ = ["RECIPES", "Recipe", "get_recipe"]
