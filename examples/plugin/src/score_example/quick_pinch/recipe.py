"""Settings: Pinch Cube's."""

from __future__ import annotations

from score_rl.tasks.pinch_cube.recipe import pinch_cube
from score_rl.tasks.recipe import DEBUG, FULL, Recipe, debug, for_task


def quick_pinch() -> Recipe:
    """Nothing else changes."""
    return for_task(pinch_cube(), "quick_pinch", "Franka + LEAP pinches a cube and raises it")


RECIPES = {FULL: quick_pinch, DEBUG: lambda: debug(quick_pinch())}
