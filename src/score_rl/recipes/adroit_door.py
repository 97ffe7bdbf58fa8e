"""Adroit door from human demonstrations: a 24-joint hand opens a door, 100 Hz, sparse reward."""

from __future__ import annotations

from score_rl.base.policy import FlowConfig, PolicyConfig
from score_rl.base.representation import RepresentationConfig
from score_rl.base.train import PretrainConfig
from score_rl.recipes.recipe import Recipe
from score_rl.recipes.settings import (
    CalibrateSettings,
    CollectSettings,
    EvaluateSettings,
    PretrainSettings,
    SteerSettings,
)
from score_rl.steering.score import SteerConfig


def adroit_door() -> Recipe:
    """Demonstrations are given (see docs/quickstart.md); one world for steering and evaluation."""
    policy = PolicyConfig(representation=RepresentationConfig(keys=("state",), horizon=8), flow=FlowConfig(width=0.1))
    return Recipe(
        name="adroit_door",
        description="Adroit hand opens a door, from 25 human demonstrations (gymnasium-robotics)",
        collect=CollectSettings(task="adroit_door"),
        pretrain=PretrainSettings(
            PretrainConfig(policy=policy, steps=5000, loss_weighting="network", action_units="normalised")
        ),
        calibrate=CalibrateSettings(task="adroit_door", world="gymnasium"),
        steer=SteerSettings(
            task="adroit_door",
            worlds=("gymnasium",),
            control_steps=(400_000,),
            num_envs=64,
            learner=SteerConfig(execute_steps=8, decisions=38),
        ),
        evaluate=EvaluateSettings(task="adroit_door", world="gymnasium"),
        real_to_sim=False,
    )
