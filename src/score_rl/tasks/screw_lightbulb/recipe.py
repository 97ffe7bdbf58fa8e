"""Screw Lightbulb with a Franka arm and a LEAP hand: Pinch Cube's recipe on another task."""

from __future__ import annotations

from score_rl.tasks.pinch_cube.recipe import pinch_cube
from score_rl.tasks.recipe import Recipe, for_task, recipes_of

DESCRIPTION = "Franka + LEAP screws a bulb into a lamp; demonstrations, calibration and verdict on one robot"


def screw_lightbulb() -> Recipe:
    """Nothing is lifted here: calibration learns of the camera from bulbs at rest, and keeps its prior otherwise."""
    return for_task(pinch_cube(), "screw_lightbulb", DESCRIPTION, observation="cloud")


RECIPES = recipes_of(screw_lightbulb)
