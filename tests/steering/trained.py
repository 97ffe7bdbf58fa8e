"""A small flow policy, trained in seconds: smooth motions that depend on what is seen, with a little spread."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from score_rl.contracts import ArraySpec
from score_rl.core.runs import start_run
from score_rl.data.dataset import Dataset
from score_rl.policies.flow.networks import NetworkConfig
from score_rl.policies.flow.policy import ConditionalFlow, FlowConfig, PolicyConfig
from score_rl.policies.flow.representation import RepresentationConfig
from score_rl.policies.flow.train import PretrainConfig, pretrain

ACTIONS, HORIZON, FRAMES, SPREAD = 6, 8, 16, 0.03
CONFIG = PretrainConfig(
    policy=PolicyConfig(
        RepresentationConfig(keys=("state",), horizon=HORIZON, action_scale="standard"),
        NetworkConfig(widths=(64, 64), time_features=8),
        FlowConfig(width=0.04),
    ),
    steps=600,
    batch_size=128,
    learning_rate=4e-3,
    warmup_steps=50,
    ema_power=0.6,
    validate_every=600,
    checkpoint_every=600,
)


def states(n: int, seed: int) -> np.ndarray:
    """(n, 3): a goal in the plane, and the phase of the motion in [0, 1]."""
    return np.random.default_rng(seed).uniform([-1, -1, 0], [1, 1, 1], (n, 3)).astype(np.float32)


def motion(state: np.ndarray) -> np.ndarray:
    """(*, ACTIONS) of states (*, 3): each action follows the goal in its own direction, in its own rhythm."""
    angle = np.arange(ACTIONS) * math.pi / ACTIONS
    reach = state[..., :1] * np.cos(angle) + state[..., 1:2] * np.sin(angle)
    return reach * (0.6 + 0.4 * np.sin(2 * state[..., 2:] + angle))


def demonstrations(episodes: int = 150) -> Dataset:
    """Episodes of `FRAMES` frames, whose phase runs from 0 to 1."""
    state = np.repeat(states(episodes, 0)[:, None], FRAMES, axis=1)
    state[..., 2] = np.linspace(0, 1, FRAMES)
    jitter = SPREAD * np.random.default_rng(1).standard_normal((episodes, FRAMES, ACTIONS))
    columns = {"observation.state": state, "action": motion(state) + jitter}
    ends = FRAMES * np.arange(1, episodes + 1)
    return Dataset(
        root=Path("motions"),
        fps=10.0,
        robot_type="none",
        columns={name: values.reshape(-1, values.shape[-1]).astype(np.float32) for name, values in columns.items()},
        features={name: ArraySpec(values.shape[2:]) for name, values in columns.items()},
        starts=ends - FRAMES,
        ends=ends,
        tasks=("",) * episodes,
        extra={},
    )


def train(directory: Path) -> ConditionalFlow:
    """The policy; the same for every test."""
    torch.set_num_threads(1)
    return pretrain(demonstrations(), CONFIG, start_run(directory, "pretrain", CONFIG, {}))
