"""Steer a base policy in a world and compare it with what it was; any other two names will do.

pip install ./examples/plugin
python examples/steer.py runs/reach
"""

import sys

from score_rl.core.runs import start_run
from score_rl.evaluation.evaluate import evaluate
from score_rl.policies.open import open_policy
from score_rl.sim.open import open_world
from score_rl.steering.config import Stage, SteerConfig
from score_rl.steering.latent import LatentConfig
from score_rl.steering.loop import steer
from score_rl.steering.policy import compulsory_deciders
from score_rl.steering.ppo import PPOConfig


def main(out: str) -> dict[str, float]:
    """Success of the base policy, of its mean action, and of the steered policy."""
    policy, world = open_policy("hesitant"), open_world("reach", num_envs=32)
    ppo = PPOConfig(learning_rate=3e-3, hidden=(32,), minibatches=2)
    config = SteerConfig(execute_steps=4, decisions=4, latent=LatentConfig(modes=1), ppo=ppo)
    run = start_run(out, "steer", config, seeds={"training": config.seed})
    steered = steer(policy, [Stage(world, control_steps=8_000)], config, run)
    rates = {}
    for name, decider in compulsory_deciders(policy, steered).items():
        episodes = evaluate(world, decider, range(1_000, 1_100), config.execute_steps).episodes
        rates[name] = sum(episode.success_end for episode in episodes) / len(episodes)
    return rates


if __name__ == "__main__":
    print(main(sys.argv[1]))
