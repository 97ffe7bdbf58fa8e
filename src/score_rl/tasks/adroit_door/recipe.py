"""Adroit door from human demonstrations: a 24-joint hand opens a door, 100 Hz, sparse reward."""

from __future__ import annotations

from dataclasses import replace

from score_rl.policies.flow.policy import FlowConfig, PolicyConfig
from score_rl.policies.flow.representation import RepresentationConfig
from score_rl.policies.flow.train import PretrainConfig
from score_rl.steering.config import SteerConfig
from score_rl.steering.latent import LatentConfig
from score_rl.tasks.recipe import DEBUG, FULL, Recipe, debug
from score_rl.tasks.settings import (
    FALLING_STEPS,
    CalibrateSettings,
    CollectSettings,
    EvaluateSettings,
    PretrainSettings,
    SteerSettings,
)


def adroit_door() -> Recipe:
    """Demonstrations are given (see docs/quickstart.md); one world for steering and evaluation.

    Chunks of 8 steps as temporal modes from one frame; steering chooses the slowest mode of every action dimension.
    An iteration covers at least two episodes of 300 steps, so that few steps are spent on episodes that it cuts, in
    few environments, so that there are 40 updates.
    """
    representation = RepresentationConfig(
        keys=("state",), horizon=8, action="modes", action_scale="standard", per_step=True, action_floor=0.01
    )
    return Recipe(
        description="Adroit hand opens a door, from 25 human demonstrations (gymnasium-robotics)",
        collect=CollectSettings(task="adroit_door", world="adroit_door"),
        pretrain=PretrainSettings(
            PretrainConfig(
                policy=PolicyConfig(representation=representation, flow=FlowConfig(width=None)),
                steps=5000,
                action_units="normalised",
            )
        ),
        calibrate=CalibrateSettings(task="adroit_door", world="adroit_door"),
        steer=SteerSettings(
            task="adroit_door",
            worlds=("adroit_door",),
            control_steps=(400_000,),
            num_envs=16,
            learner=SteerConfig(
                execute_steps=8,
                decisions=76,
                latent=LatentConfig(kind="leading", modes=1),
                ppo=replace(FALLING_STEPS, gamma=0.998),
            ),
        ),
        evaluate=EvaluateSettings(task="adroit_door", world="adroit_door"),
        real_to_sim=False,
    )


RECIPES = {FULL: adroit_door, DEBUG: lambda: debug(adroit_door())}
