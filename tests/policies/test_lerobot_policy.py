"""lerobot's policies behind `score_client.lerobot_policy`, on stand-ins with the signatures of lerobot 0.4.4."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from score_client.lerobot_policy import wrap
from torch import Tensor, nn


def feature(*shape: int) -> SimpleNamespace:
    return SimpleNamespace(shape=shape)


def config(kind: str, **options) -> SimpleNamespace:
    given = {
        "type": kind,
        "device": "cpu",
        "n_obs_steps": 1,
        "n_action_steps": 3,
        "input_features": {"observation.state": feature(2)},
        "output_features": {"action": feature(1)},
        "image_features": {},
    }
    return SimpleNamespace(**given | options)


class Diffusion(nn.Module):
    """Actions: the noise from the newest frame on, plus the newest state."""

    def __init__(self, **options) -> None:
        super().__init__()
        self.config = config("diffusion", n_obs_steps=2, horizon=8, noise_scheduler_type="DDIM", **options)
        self.weight = nn.Parameter(torch.ones(1))

    @property
    def diffusion(self) -> Diffusion:
        return self

    def _prepare_global_conditioning(self, batch: dict[str, Tensor]) -> Tensor:
        parts = [batch["observation.state"]]
        if "observation.images" in batch:  # (n, frames, cameras, channels, height, width)
            parts.append(batch["observation.images"].mean(dim=(2, 4, 5)))
        return torch.cat(parts, dim=-1).flatten(start_dim=1)

    def generate_actions(self, batch: dict[str, Tensor], noise: Tensor | None = None) -> Tensor:
        assert batch["observation.state"].shape[1:] == (2, 2)
        return noise[:, 1:4] + batch["observation.state"][:, -1:, :1]


class Flow(nn.Module):
    """Actions: the noise without its padding, plus the state."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.config = config(kind, chunk_size=5, max_action_dim=4)
        self.weight = nn.Parameter(torch.ones(1))

    def predict_action_chunk(self, batch: dict[str, Tensor], noise: Tensor | None = None) -> Tensor:
        assert batch["observation.state"].shape[1:] == (2,) and batch["task"] == ["lift"] * len(noise)
        return noise[:, :, :1] + batch["observation.state"][:, None, :1]


def halved(batch: dict) -> dict:
    """A processor that normalises: states in units of 2."""
    return batch | {"observation.state": batch["observation.state"] / 2}


def test_diffusion_by_hand() -> None:
    served = wrap(Diffusion(), halved, lambda chunk: chunk * 10, 10.0)
    assert (served.spec["history"], served.spec["horizon"], served.spec["latent_shape"]) == (2, 3, [8, 1])
    assert served.spec["interface"]["observation"]["state"]["shape"] == [2]
    state = np.array([[[0, 0], [2, 4]], [[1, 1], [6, 8]]], np.float32)
    context, features = served.encode({"state": state})
    assert features.tolist() == [[0, 0, 1, 2], [0.5, 0.5, 3, 4]]
    noise = np.zeros((2, 8, 1), np.float32)
    noise[:, :, 0] = np.arange(8)
    chunk = served.decode(context, np.array([1, 0]), noise)
    assert chunk[..., 0].tolist() == [[40, 50, 60], [20, 30, 40]]


def test_pixels_come_as_bytes_and_reach_the_network_as_shares() -> None:
    images = {"observation.images.wrist": feature(3, 4, 5)}
    policy = Diffusion(input_features={"observation.state": feature(2), **images}, image_features=images)
    served = wrap(policy, lambda batch: batch, lambda chunk: chunk, 10.0)
    assert served.spec["interface"]["observation"]["images.wrist"]["shape"] == [4, 5, 3]
    assert served.spec["interface"]["observation"]["images.wrist"]["dtype"] == "uint8"
    pixels = np.zeros((1, 2, 4, 5, 3), np.uint8)
    pixels[..., 1] = 51
    _, features = served.encode({"state": np.zeros((1, 2, 2), np.float32), "images.wrist": pixels})
    assert features.tolist() == [pytest.approx([0, 0, 0, 0.2, 0] * 2)]


@pytest.mark.parametrize("kind", ["smolvla", "pi0", "pi05"])
def test_flows_have_padded_latents(kind: str) -> None:
    served = wrap(Flow(kind), halved, lambda chunk: chunk * 10, 10.0, task="lift", max_rows=2)
    assert (served.spec["horizon"], served.spec["latent_shape"]) == (5, [5, 4])
    context, features = served.encode({"state": np.full((3, 1, 2), 4, np.float32)})
    assert features.tolist() == [[2, 2]] * 3
    chunk = served.decode(context, np.arange(3), np.ones((3, 5, 4), np.float32))
    assert chunk.shape == (3, 5, 1) and (chunk == 30).all()


def test_what_draws_noise_of_its_own_or_takes_none_is_refused() -> None:
    policy = Diffusion()
    policy.config.noise_scheduler_type = "DDPM"
    with pytest.raises(ValueError, match="DDPM, which adds noise at every step: set DDIM"):
        wrap(policy, halved, halved, 10.0)
    with pytest.raises(ValueError, match="type act take no noise"):
        wrap(SimpleNamespace(config=config("act"), eval=lambda: policy), halved, halved, 10.0)


def test_fingerprints_see_the_weights() -> None:
    one, other = Diffusion(), Diffusion()
    names = [wrap(policy, halved, halved, 10.0).fingerprint for policy in (one, other)]
    assert names[0] == names[1]
    with torch.no_grad():
        other.weight += 1e-6
    assert wrap(other, halved, halved, 10.0).fingerprint != names[0]
