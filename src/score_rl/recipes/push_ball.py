"""Push Soccer Ball with a Franka arm and a LEAP hand: Pinch Cube's recipe on another task."""

from __future__ import annotations

from dataclasses import replace

from score_rl.learning.ppo import PPOConfig
from score_rl.recipes.pinch_cube import pinch_cube
from score_rl.recipes.recipe import Recipe

TASK = "push_ball"
SCHEDULE = PPOConfig(learning_rate=2e-3, final_learning_rate=0.1, clip=0.3)
"""Large steps at first and small ones at the end; in the twin of a development robot 800,000 control steps did."""


def push_ball() -> Recipe:
    """Nothing is lifted here: calibration learns of the camera from balls at rest, and keeps its prior otherwise."""
    cube = pinch_cube()
    return replace(
        cube,
        name=TASK,
        description="Franka + LEAP pushes a ball into a goal; demonstrations, calibration and verdict on one robot",
        collect=replace(cube.collect, task=TASK),
        calibrate=replace(cube.calibrate, task=TASK),
        steer=replace(cube.steer, task=TASK, learner=replace(cube.steer.learner, ppo=SCHEDULE)),
        evaluate=replace(cube.evaluate, task=TASK),
    )
