"""A toy world that is seen: marks in space at every control step, a picture when one looks; and its encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from toys import ToyWorld

from score_rl.contracts import ArraySpec, Frame, Interface, Observation, PolicySpec, Window
from score_rl.core.interfaces import action_spec
from score_rl.core.seeding import rng
from score_rl.data.dataset import Dataset, load_dataset
from score_rl.data.writer import DatasetWriter

PUSH = action_spec(("push",), "normalised")
INTERFACE = Interface(
    observation={"position": ArraySpec((1,)), "command": PUSH, "marks": ArraySpec((16, 3), unit="m", frame="base")},
    action=PUSH,
    control_rate_hz=10.0,
    views={"picture": ArraySpec((8, 8, 3), "uint8")},
)


class SeeingWorld(ToyWorld):
    """`toys.ToyWorld`, whose goal is seen as 16 marks around it and as the bright side of a noisy picture."""

    def __init__(self, num_envs: int = 4, time_limit: int = 16) -> None:
        super().__init__(num_envs, time_limit, "seeing")
        self.spec = type(self.spec)(**{**vars(self.spec), "interface": INTERFACE})
        self.looks = 0
        """Rows that were looked at."""

    def look(self, keys: Sequence[str], rows: Tensor | None = None) -> Frame:
        """See `contracts.World`."""
        chosen = range(self.spec.num_envs) if rows is None else rows.tolist()
        self.looks += len(chosen)
        return {key: torch.from_numpy(np.stack([self._picture(row) for row in chosen])) for key in keys}

    def _picture(self, row: int) -> np.ndarray:
        noise = rng("picture", self.seeds[row], self.episode[row], int(self.age[row]))
        picture = noise.integers(0, 50, (8, 8, 3), dtype=np.uint8)
        picture[:, 4:] += 200 if self.goal[row] > 0 else 0
        return picture

    def _observe(self) -> Observation:
        seen = super()._observe()
        offset = torch.linspace(-0.1, 0.1, 48).view(16, 3)
        marks = self.goal.view(-1, 1, 1) * torch.tensor([1.0, 0.0, 0.0]) + offset
        actor = {"position": self.position[:, None].clone(), "command": seen.actor["command"], "marks": marks}
        return Observation(actor, {"truth": seen.critic["truth"]})


class Points(nn.Module):
    """A learned encoder: a small network on every point of the newest frame, and the maximum over the points."""

    def __init__(self, spec: PolicySpec, keys: tuple[str, ...], floor: float) -> None:
        super().__init__()
        (self.key,) = keys
        self.points = nn.Sequential(nn.Linear(spec.window[self.key].shape[-1], 16), nn.SiLU(), nn.Linear(16, 8))
        self.norm = nn.LayerNorm(8, elementwise_affine=False)

    def fit(self, window: Window) -> None:
        """Nothing to fit."""

    def forward(self, window: Window) -> Tensor:
        """(n, 1, 8)."""
        return self.norm(self.points(window[self.key][:, -1:]).amax(dim=2))


def write_demonstrations(root: Path, episodes: int = 6) -> Dataset:
    """Somebody pushes towards the goal, at 0.5; marks are stored in half precision, views at every frame."""
    world = SeeingWorld(num_envs=1, time_limit=12)
    features = {f"observation.{key}": array for key, array in (INTERFACE.observation | INTERFACE.views).items()}
    features["observation.marks"] = ArraySpec((16, 3), "float16", "m", "base")
    writer = DatasetWriter(root, 10, {**features, "action": PUSH}, "toy")
    for seed in range(episodes):
        observation, frames = world.reset([seed]), {name: [] for name in writer.features}
        for _ in range(10):
            action = 0.5 * world.goal.view(1, 1)
            shown = {**observation.actor, **world.look(("picture",))}
            for key, value in shown.items():
                frames[f"observation.{key}"].append(value[0].numpy())
            frames["action"].append(action[0].numpy())
            observation = world.step(action).observation
        writer.add_episode({name: np.stack(values) for name, values in frames.items()}, "push")
    writer.finalize()
    return load_dataset(root)
