"""Grasp Bottle with a Franka arm and a LEAP hand: Pinch Cube's recipe on another task."""

from __future__ import annotations

from dataclasses import replace

from score_rl.tasks.pinch_cube.recipe import pinch_cube
from score_rl.tasks.recipe import Recipe
from score_rl.tasks.settings import FALLING_STEPS

TASK = "grasp_bottle"


def grasp_bottle() -> Recipe:
    """What a bottle changes: it is longer, so that a hand near its middle or its ends may touch it."""
    cube = pinch_cube()
    return replace(
        cube,
        name=TASK,
        description="Franka + LEAP grasps a lying bottle; demonstrations, calibration and verdict on one proxy robot",
        collect=replace(cube.collect, task=TASK),
        calibrate=replace(
            cube.calibrate, task=TASK, fit=replace(cube.calibrate.fit, object_distance_m=0.12, touching_m=0.075)
        ),
        steer=replace(cube.steer, task=TASK, learner=replace(cube.steer.learner, ppo=FALLING_STEPS)),
        evaluate=replace(cube.evaluate, task=TASK),
    )
