"""Fetch pushes a block to its goal; the demonstrator often pushes from a wrong side. Needs mujoco 3.3."""

import gymnasium
import gymnasium_robotics
import numpy as np

from score_rl.cli.main import main
from score_rl.contracts import ArraySpec
from score_rl.data.writer import DatasetWriter

gymnasium.register_envs(gymnasium_robotics)
env, draw = gymnasium.make("FetchPush-v4"), np.random.default_rng(0)
features = {f"observation.{key}": ArraySpec((size,)) for key, size in (("observation", 25), ("desired_goal", 3))}
writer = DatasetWriter("demonstrations", 25, features | {"action": ArraySpec((4,))}, "fetch")
for episode in range(150):
    seen, frames = env.reset(seed=episode)[0], {key: [] for key in [*features, "action"]}
    turn = draw.choice([0.0, 0.6, -0.6])  # radians between where it pushes and where the goal is
    for step in range(50):
        hand, block, goal = seen["observation"][:3], seen["observation"][3:6], seen["desired_goal"]
        angle = np.arctan2(*(goal - block)[1::-1]) + turn
        way = np.array([np.cos(angle), np.sin(angle)])
        behind = np.append(block[:2] - 0.08 * way, block[2])
        pushes = step >= 20 or np.linalg.norm(hand - behind) < 0.02
        target = np.append(goal[:2] - 0.05 * way, block[2]) if pushes else behind + [0, 0, max(0, 0.1 - 0.01 * step)]
        action = np.append(8 * (target - hand) + draw.normal(0, 0.1, 3), -1.0).clip(-1, 1)
        for key, value in (("observation.observation", seen["observation"]), ("observation.desired_goal", goal)):
            frames[key].append(np.float32(value))
        frames["action"].append(np.float32(action))
        seen = env.step(action)[0]
    writer.add_episode({key: np.stack(values) for key, values in frames.items()}, "push")
writer.finalize()
KEYS = "--training.policy.representation.keys observation desired_goal"
WORLD = "--world gymnasium:gymnasium_robotics:FetchPush-v4?success=is_success"
for command in (
    f"pretrain --dataset demonstrations {KEYS} --training.steps 3000 --out base",
    f"steer --policy base {WORLD} --learner.decisions 7 --num-envs 32 --control-steps 60000 --out steering",
    f"evaluate --policy base --steering steering {WORLD} --evaluation.episodes 100 --out evaluation",
):
    if main(f"--task generic {command}".split()):
        raise SystemExit(command)
