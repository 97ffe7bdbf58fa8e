"""openpi's policies behind `score_client.policy_server`: what has `infer(obs, noise=(l, w)) -> {"actions": ...}`.

    def factory():
        policy = openpi.policies.policy_config.create_trained_policy(config, checkpoint)
        return wrap(policy, {"observation/state": {"shape": [8]}, "observation/image": IMAGE}, actions=7, horizon=10,
                    latent_shape=(config.model.action_horizon, config.model.action_dim), control_rate_hz=20,
                    fingerprint="pi05_libero", constant={"prompt": "put the mug on the plate"})

`infer` takes one observation and no batch, so rows run one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from score_client.policy_server import NoisePolicy, policy_spec

IMAGE = {"shape": [224, 224, 3], "dtype": "uint8"}


def wrap(
    policy: Any,
    observation: Mapping[str, dict[str, Any]],
    actions: int,
    horizon: int,
    latent_shape: tuple[int, int],
    control_rate_hz: float,
    fingerprint: str,
    constant: Mapping[str, Any] = {},
) -> NoisePolicy:
    """A policy that reads one frame.

    observation: openpi's key -> fields of `policy_server.array`. horizon: actions of a chunk that `infer` returns.
    fingerprint: names the checkpoint. constant: further entries of every observation.
    """
    names = [f"action_{k}" for k in range(actions)]
    spec = policy_spec(observation, names, control_rate_hz, 1, horizon, latent_shape)

    def sample(window: Mapping[str, np.ndarray], noise: np.ndarray) -> np.ndarray:
        chunks = []
        for row in range(len(noise)):
            seen = {key: values[row, -1] for key, values in window.items()}
            chunks.append(policy.infer({**seen, **constant}, noise=noise[row].astype(np.float32))["actions"])
        return np.stack(chunks)[:, :horizon, :actions]

    return NoisePolicy(spec, sample, fingerprint)
