"""A tiny dataset and a tiny policy of the two kinds of robots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from toys import policy_spec

from score_rl.contracts import ArraySpec
from score_rl.data.dataset import Dataset
from score_rl.policies.flow.networks import NetworkConfig
from score_rl.policies.flow.policy import ConditionalFlow, FlowConfig, PolicyConfig
from score_rl.policies.flow.representation import RepresentationConfig, fit_representation

HAND = {"state": 23, "command": 23, "object_pose": 7, "palm_pose": 7, "fingertip_pos": 12}


@pytest.fixture
def dataset() -> Dataset:
    """Five episodes of a plain robot: 4 observed numbers, 2 actions, 10 Hz."""
    rng = np.random.default_rng(0)
    lengths = np.array([12, 9, 15, 11, 13])
    ends = lengths.cumsum()
    frames = int(ends[-1])
    columns = {
        "observation.state": rng.normal(size=(frames, 4)).astype(np.float32),
        "observation.command": rng.normal(size=(frames, 2)).astype(np.float32),
        "action": rng.normal(size=(frames, 2)).astype(np.float32),
    }
    return Dataset(
        root=Path("tiny"),
        fps=10.0,
        robot_type="tiny",
        columns=columns,
        features={name: ArraySpec(column.shape[1:]) for name, column in columns.items()},
        starts=ends - lengths,
        ends=ends,
        tasks=("",) * 5,
        extra={},
    )


def random_window(keys: dict[str, int], n: int, history: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Window with standard normal entries; poses have unit quaternions."""
    generator = torch.Generator().manual_seed(seed)
    window = {key: torch.randn(n, history, width, generator=generator) for key, width in keys.items()}
    for key in ("object_pose", "palm_pose"):
        if key in window:
            window[key][..., 3:] /= window[key][..., 3:].norm(dim=-1, keepdim=True)
    return window


@pytest.fixture
def make_policy():
    """Policy with random weights: `make_policy(keys, action_dim, network, flow, **representation)`."""

    def make(
        keys: dict[str, int],
        action_dim: int,
        network: NetworkConfig | None = None,
        flow: FlowConfig | None = None,
        **representation,
    ) -> ConditionalFlow:
        config = RepresentationConfig(keys=tuple(keys), **representation)
        names = tuple(f"joint_{i}" for i in range(action_dim))
        spec = policy_spec(keys, names, config.history, config.horizon)
        window = random_window(keys, 200, config.history)
        chunk = torch.randn(200, *spec.latent_shape, generator=torch.Generator().manual_seed(1))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            policy = ConditionalFlow(
                spec,
                PolicyConfig(config, network or NetworkConfig(widths=(32, 32)), flow or FlowConfig(width=None)),
                fit_representation(spec, config, window, chunk),
            )
            for parameter in policy.network.head.parameters():  # zero at the start, which would test nothing
                torch.nn.init.normal_(parameter, std=0.1)
        return policy.requires_grad_(False).eval()

    return make


@pytest.fixture
def make_window():
    """`make_window(keys, n, history, seed)`."""
    return random_window


@pytest.fixture
def hand() -> dict[str, int]:
    """Keys of a Franka + LEAP world."""
    return dict(HAND)
