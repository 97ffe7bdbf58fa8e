"""Settings: Pinch Cube's, with a policy that sees the drawer too."""

from __future__ import annotations

from dataclasses import replace

from score_rl.tasks.pinch_cube.recipe import pinch_cube
from score_rl.tasks.recipe import DEBUG, FULL, Recipe, debug, for_task


def stow_cube() -> Recipe:
    """Calibration learns from the hand's free motion, which ends above the handle: the first thing it touches."""
    recipe = for_task(pinch_cube(), "stow_cube", "Franka + LEAP puts a cube into a drawer", "drawer_pose")
    fit = replace(recipe.calibrate.fit, table_clearance_m=0.12)
    return replace(recipe, calibrate=replace(recipe.calibrate, fit=fit))


RECIPES = {FULL: stow_cube, DEBUG: lambda: debug(stow_cube())}
