"""LeRobot data and a Gymnasium environment: somebody rocks a car out of a valley, and mostly pushes the wrong way."""

import gymnasium
import numpy as np

from score_rl.cli.main import main
from score_rl.contracts import ArraySpec
from score_rl.data.writer import DatasetWriter

env = gymnasium.make("MountainCarContinuous-v0", max_episode_steps=200)
draw = np.random.default_rng(0)
features = {"observation.state": ArraySpec((2,)), "action": ArraySpec((1,), names=("push",))}
writer = DatasetWriter("demonstrations", 30, features, "car")
for episode in range(100):
    state, done, states, actions = env.reset(seed=episode)[0], False, [], []
    while not done:
        if len(actions) % 8 == 0:
            right = draw.random() < 0.4
        push = (1 if right else -1) * (np.sign(state[1]) or 1.0) + draw.normal(0, 0.1)
        states.append(state)
        actions.append(np.float32([np.clip(push, -1, 1)]))
        state, _, terminated, truncated, _ = env.step(actions[-1])
        done = terminated or truncated
    writer.add_episode({"observation.state": np.stack(states), "action": np.stack(actions)}, "drive up")
writer.finalize()

WORLD = "--world gymnasium:MountainCarContinuous-v0?success=terminated&time_limit=200"
for command in (
    "pretrain --dataset demonstrations --training.steps 2000 --out base",
    f"steer --policy base {WORLD} --control-steps 100000 --out steering",
    f"evaluate --policy base --steering steering {WORLD} --out evaluation",
):
    if main(f"--task generic {command}".split()):
        raise SystemExit(command)
