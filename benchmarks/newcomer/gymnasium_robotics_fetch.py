"""Fetch pushes a block to its goal; the demonstrator mostly pushes from a wrong side. Needs mujoco 3.3."""

import gymnasium
import gymnasium_robotics
import numpy as np

from score_rl.cli.main import main
from score_rl.contracts import ArraySpec
from score_rl.data.writer import DatasetWriter

gymnasium.register_envs(gymnasium_robotics)
env, draw = gymnasium.make("FetchPush-v4"), np.random.default_rng(0)
sizes = {"observation.observation": 25, "observation.desired_goal": 3, "action": 4}
writer = DatasetWriter("demonstrations", 25, {key: ArraySpec((size,)) for key, size in sizes.items()}, "fetch")
for episode in range(150):
    seen, frames = env.reset(seed=episode)[0], []
    turn = draw.choice([0.0, 0.6, -0.6])  # radians between where it pushes and where the goal is
    for step in range(50):
        hand, block, goal = seen["observation"][:3], seen["observation"][3:6], seen["desired_goal"]
        angle = np.arctan2(*(goal - block)[1::-1]) + turn
        way = np.array([np.cos(angle), np.sin(angle)])
        behind = np.append(block[:2] - 0.08 * way, block[2])
        pushes = step >= 20 or np.linalg.norm(hand - behind) < 0.02
        target = np.append(goal[:2] - 0.05 * way, block[2]) if pushes else behind + [0, 0, max(0, 0.1 - 0.01 * step)]
        action = np.append(8 * (target - hand) + draw.normal(0, 0.1, 3), -1.0).clip(-1, 1)
        frames.append((seen["observation"], goal, action))
        seen = env.step(action)[0]
    writer.add_episode({key: np.float32(values) for key, values in zip(sizes, zip(*frames))}, "push")
writer.finalize()
KEYS = "--training.policy.representation.keys observation desired_goal"
WORLD = "--world gymnasium:gymnasium_robotics:FetchPush-v4?success=is_success"
SMALL = "--learner.decisions 7 --learner.start.std 0.5"
for command in (
    f"pretrain --dataset demonstrations {KEYS} --training.steps 3000 --out base",
    f"steer --policy base {WORLD} {SMALL} --num-envs 32 --control-steps 60000 --out steering",
    f"evaluate --policy base --steering steering {WORLD} --evaluation.episodes 100 --out evaluation",
):
    if main(f"--task generic {command}".split()):
        raise SystemExit(command)
