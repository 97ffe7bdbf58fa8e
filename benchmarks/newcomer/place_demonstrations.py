"""Somebody heads for any of four places, whatever he is shown, and changes his mind; recorded in LeRobot's format."""

import numpy as np
import torch
from places import PLACES, Places

from score_rl.contracts import ArraySpec
from score_rl.data.writer import DatasetWriter


def record(folder, *groups):
    env, draw = Places(100), np.random.default_rng(0)
    env.reset()
    steps = []
    for step in range(env.max_episode_length):
        if step % 8 == 0:
            heading = PLACES[draw.integers(4, size=100)]
        noise = torch.from_numpy(draw.normal(0, 0.1, (100, 2))).float()
        action = (heading - env.point).clamp(-1, 1) + noise
        seen = {f"observation.{group}": env.get_observations()[group].clone() for group in groups}
        steps.append(seen | {"action": action})
        env.point += 0.05 * action
    features = {key: ArraySpec(tuple(values.shape[1:])) for key, values in steps[0].items()}
    writer = DatasetWriter(folder, 10, features, "point")
    for row in range(100):
        episode = {key: torch.stack([step[key][row] for step in steps]).numpy() for key in features}
        writer.add_episode(episode, "go there")
    writer.finalize()
