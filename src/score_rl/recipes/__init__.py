"""Recipes: named compositions that return frozen settings; no inheritance, no mutation."""

from collections.abc import Callable

from score_rl.foundation.errors import unknown_choice
from score_rl.recipes.adroit_door import adroit_door
from score_rl.recipes.grasp_bottle import grasp_bottle
from score_rl.recipes.pinch_cube import debug, pinch_cube
from score_rl.recipes.push_ball import push_ball
from score_rl.recipes.recipe import Recipe

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
