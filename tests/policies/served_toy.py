"""A policy that another process serves: `toys.ToyPolicy` in numpy, with padded latents of its own shape."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
from score_client.openpi_policy import wrap
from score_client.policy_server import NoisePolicy, hash_arrays, policy_spec

HORIZON, LATENT = 4, (6, 3)
OBSERVATION = {"state": {"shape": [2]}, "command": {"shape": [1]}}


def sample(window: Mapping[str, np.ndarray], noise: np.ndarray) -> np.ndarray:
    """Left or right by the sign of the mean of the first 4 rows of column 0; the rest of the noise is padding."""
    own = noise[:, :HORIZON, :1]
    direction = np.where(own.mean(axis=1, keepdims=True) >= 0, 1.0, -1.0)
    return (direction + 0.05 * own).astype(np.float32)


def make(weights: float = 1.0) -> NoisePolicy:
    spec = policy_spec(OBSERVATION, ["push"], 10.0, 2, HORIZON, LATENT, "normalised")
    return NoisePolicy(spec, sample, hash_arrays({"weights": np.float32(weights)}), max_rows=100)


class Openpi:
    """As openpi's policies are called: one observation, noise without a batch, a longer chunk than is run."""

    def infer(self, obs: dict, *, noise: np.ndarray | None = None) -> dict:
        assert obs["prompt"] == "go" and obs["state"].shape == (2,) and noise.shape == LATENT
        return {"actions": np.repeat(sample({}, noise[None])[0], 2, axis=1), "policy_timing": {}}


def openpi() -> NoisePolicy:
    return wrap(Openpi(), OBSERVATION, 1, HORIZON, LATENT, 10.0, "toy", {"prompt": "go"})


class Stubborn(NoisePolicy):
    """Fails where the state is beyond 100, and dies where it is beyond 1000."""

    def encode(self, window: Mapping[str, np.ndarray]) -> tuple:
        if (window["state"] > 1000).any():
            os._exit(1)
        if (window["state"] > 100).any():
            raise ValueError("the state is out of its range")
        return super().encode(window)


def stubborn() -> Stubborn:
    made = make()
    return Stubborn(made.spec, sample, made.fingerprint)
