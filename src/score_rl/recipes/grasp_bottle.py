"""Grasp Bottle with a Franka arm and a LEAP hand: Pinch Cube's recipe on another task."""

from __future__ import annotations

from dataclasses import replace

from score_rl.learning.ppo import PPOConfig
from score_rl.recipes.pinch_cube import pinch_cube
from score_rl.recipes.recipe import Recipe

TASK = "grasp_bottle"
SCHEDULE = PPOConfig(learning_rate=2e-3, final_learning_rate=0.1, clip=0.3)
"""Large steps at first and small ones at the end; in the twin of a development robot 800,000 control steps did."""


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
        steer=replace(cube.steer, task=TASK, learner=replace(cube.steer.learner, ppo=SCHEDULE)),
        evaluate=replace(cube.evaluate, task=TASK),
    )
