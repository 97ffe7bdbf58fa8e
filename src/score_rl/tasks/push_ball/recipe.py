"""Push Soccer Ball with a Franka arm and a LEAP hand: Pinch Cube's recipe on another task."""

from __future__ import annotations

from dataclasses import replace

from score_rl.tasks.pinch_cube.recipe import pinch_cube
from score_rl.tasks.recipe import Recipe
from score_rl.tasks.settings import FALLING_STEPS

TASK = "push_ball"


def push_ball() -> Recipe:
    """Nothing is lifted here: calibration learns of the camera from balls at rest, and keeps its prior otherwise."""
    cube = pinch_cube()
    return replace(
        cube,
        name=TASK,
        description="Franka + LEAP pushes a ball into a goal; demonstrations, calibration and verdict on one robot",
        collect=replace(cube.collect, task=TASK),
        calibrate=replace(cube.calibrate, task=TASK),
        steer=replace(cube.steer, task=TASK, learner=replace(cube.steer.learner, ppo=FALLING_STEPS)),
        evaluate=replace(cube.evaluate, task=TASK),
    )
