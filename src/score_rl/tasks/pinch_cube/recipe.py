"""Pinch Cube with a Franka arm and a LEAP hand: the recipe that the other tasks of this robot start from."""

from __future__ import annotations

from dataclasses import replace

from score_rl.policies.flow.networks import NetworkConfig
from score_rl.policies.flow.policy import FlowConfig, PolicyConfig
from score_rl.policies.flow.representation import RepresentationConfig
from score_rl.policies.flow.train import PretrainConfig
from score_rl.real2sim.settings import CalibrateConfig
from score_rl.steering.config import SteerConfig
from score_rl.steering.latent import LatentConfig
from score_rl.tasks.people.settings import CollectConfig
from score_rl.tasks.recipe import Recipe, recipes_of
from score_rl.tasks.settings import (
    FALLING_STEPS,
    CalibrateSettings,
    CollectSettings,
    EvaluateSettings,
    PretrainSettings,
    SteerSettings,
)


def pinch_cube() -> Recipe:
    """The demo: demonstrations in the proxy, steering in the calibrated twin, the verdict in the proxy.

    Half of a chunk runs before the next decision, exploration holds on over some ten decisions, and a hinge keeps the
    latent near the prior's typical set, for calibrated twins: `docs/levers.md` has what each is worth. The comparison
    with z = 0 may take a roll-out of the longest task, Screw Lightbulb.
    """
    policy = PolicyConfig(
        representation=RepresentationConfig(
            keys=("state", "command", "object_pose", "palm_pose", "fingertip_pos"),
            history=2,
            horizon=8,
            observation="palm",
            action="relative",
            action_scale="standard",
            per_step=True,
        ),
        network=NetworkConfig(kind="mlp", widths=(384, 384, 384)),
        flow=FlowConfig(width=0.03),
    )
    return Recipe(
        description="Franka + LEAP pinches a cube; demonstrations, calibration and verdict on one proxy robot",
        collect=CollectSettings(
            task="pinch_cube", world="proxy", num_envs=60, demonstrations=CollectConfig(episodes=300)
        ),
        pretrain=PretrainSettings(PretrainConfig(policy=policy, steps=8000, loss_weighting="network")),
        calibrate=CalibrateSettings(task="pinch_cube", world="twin", fit=CalibrateConfig(protective_stop_n=30.0)),
        steer=SteerSettings(
            task="pinch_cube",
            worlds=("twin",),
            control_steps=(400_000,),
            num_envs=128,
            learner=SteerConfig(
                execute_steps=4,
                decisions=32,
                latent=LatentConfig(kind="subspace", modes=1),
                between_decisions="hold",
                ppo=replace(FALLING_STEPS, noise_correlation=0.9),
                hinge_coefficient=0.3,
                reference_share=0.09,
            ),
        ),
        evaluate=EvaluateSettings(task="pinch_cube", world="proxy"),
        observation="cloud",
    )


RECIPES = recipes_of(pinch_cube)
