"""An environment in rsl_rl's interface (places.py): somebody heads for any of four places, and changes his mind."""

import numpy as np
import torch
from places import PLACES, Places

from score_rl.cli.main import main
from score_rl.contracts import ArraySpec
from score_rl.data.writer import DatasetWriter

env, draw = Places(100), np.random.default_rng(0)
env.reset()
states, actions = [], []
for step in range(40):
    if step % 8 == 0:  # every so often somebody heads for any of the places
        heading = PLACES[draw.integers(4, size=100)]
    actions.append((heading - env.point).clamp(-1, 1) + 0.1 * torch.from_numpy(draw.normal(size=(100, 2))).float())
    states.append(env.get_observations()["policy"].clone())
    env.point += 0.05 * actions[-1]
writer = DatasetWriter(
    "demonstrations", 10, {"observation.policy": ArraySpec((4,)), "action": ArraySpec((2,))}, "point"
)
for row in range(100):
    frames = {"observation.policy": torch.stack(states)[:, row], "action": torch.stack(actions)[:, row]}
    writer.add_episode({key: values.numpy() for key, values in frames.items()}, "go there")
writer.finalize()
WORLD = "--world vecenv:places:Places?success=success&low=-1&high=1"
for command in (
    "pretrain --dataset demonstrations --training.policy.representation.keys policy --training.steps 2000 --out base",
    f"steer --policy base {WORLD} --learner.decisions 5 --num-envs 128 --control-steps 100000 --out steering",
    f"evaluate --policy base --steering steering {WORLD} --out evaluation",
):
    if main(f"--task generic {command}".split()):
        raise SystemExit(command)
