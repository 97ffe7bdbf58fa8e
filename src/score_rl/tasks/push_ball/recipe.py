"""Push Soccer Ball with a Franka arm and a LEAP hand: Pinch Cube's recipe on another task."""

from __future__ import annotations

from score_rl.tasks.pinch_cube.recipe import pinch_cube
from score_rl.tasks.recipe import Recipe, for_task, recipes_of

DESCRIPTION = "Franka + LEAP pushes a ball into a goal; demonstrations, calibration and verdict on one robot"


def push_ball() -> Recipe:
    """Nothing is lifted here: calibration learns of the camera from balls at rest, and keeps its prior otherwise.

    An iteration of steering covers 128 of the task's 160 control steps (32 decisions of 4) and begins all episodes
    anew, so that rewards of the last 32 steps are never seen: the critic's value stands for them. Episodes cut there
    that would have succeeded count as failures in the log. 40 decisions, which cover the task, are no better
    in its twins (`docs/levers.md`).
    """
    return for_task(pinch_cube(), "push_ball", DESCRIPTION, observation="cloud")


RECIPES = recipes_of(push_ball)
