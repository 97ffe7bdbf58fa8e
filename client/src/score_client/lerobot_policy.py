"""lerobot's policies behind `score_client.policy_server`; written against the signatures of lerobot 0.4.4.

    python -m score_client.policy_server score_client.lerobot_policy:load \\
        --option path=MODEL --option control_rate_hz=10

Diffusion (with the DDIM scheduler, whose steps add no noise of their own) takes noise (n, horizon, a) and returns
`n_action_steps` actions from the newest frame on. SmolVLA, pi0 and pi0.5 take noise (n, chunk_size, max_action_dim)
and return `chunk_size` actions without the padding. Every other type is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from score_client.policy_server import NoisePolicy, hash_arrays, policy_spec

PREFIX = "observation."
FLOWS = ("smolvla", "pi0", "pi05")
"""Types whose `predict_action_chunk` takes `noise`."""


def load(path: str, control_rate_hz: float, device: str = "cpu", task: str = "", max_rows: int = 256) -> NoisePolicy:
    """A pretrained policy with the processors beside it. path: folder or hub name. task: what a language policy is
    told."""
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors

    config = PreTrainedConfig.from_pretrained(path)
    config.device = device
    policy = get_policy_class(config.type).from_pretrained(path, config=config)
    before, after = make_pre_post_processors(
        config, pretrained_path=path, preprocessor_overrides={"device_processor": {"device": device}}
    )
    return wrap(policy, before, after, control_rate_hz, task, max_rows)


def wrap(
    policy: Any, before: Callable, after: Callable, control_rate_hz: float, task: str = "", max_rows: int = 256
) -> NoisePolicy:
    """A policy in memory. before, after: its processors (`make_pre_post_processors`)."""
    config = policy.config
    policy.eval()
    actions = next(iter(config.output_features.values())).shape[0]
    diffusion = config.type == "diffusion"
    if diffusion and config.noise_scheduler_type != "DDIM":
        raise ValueError(
            f"noise_scheduler_type is {config.noise_scheduler_type}, which adds noise at every step: set DDIM"
        )
    if not diffusion and config.type not in FLOWS:
        raise ValueError(f"policies of type {config.type} take no noise; served are diffusion, {', '.join(FLOWS)}")
    spec = policy_spec(
        {_key(name): _array(feature.shape) for name, feature in config.input_features.items()},
        [f"action_{k}" for k in range(actions)],
        control_rate_hz,
        history=config.n_obs_steps,
        horizon=config.n_action_steps if diffusion else config.chunk_size,
        latent_shape=(config.horizon, actions) if diffusion else (config.chunk_size, config.max_action_dim),
    )
    prepare = _Prepared(config, before, task)

    @torch.no_grad()
    def sample(window: Mapping[str, np.ndarray], noise: np.ndarray) -> np.ndarray:
        batch, given = prepare(window), torch.from_numpy(noise.astype(np.float32)).to(config.device)
        if diffusion:
            chunk = policy.diffusion.generate_actions(batch, noise=given)
        else:
            chunk = policy.predict_action_chunk(batch, noise=given)
        return after(chunk).cpu().numpy()

    @torch.no_grad()
    def embed(window: Mapping[str, np.ndarray]) -> np.ndarray:
        batch = prepare(window)
        if diffusion:  # what its network is conditioned on: images pooled, states normalised
            return policy.diffusion._prepare_global_conditioning(batch).float().cpu().numpy()
        return batch["observation.state"].flatten(1).float().cpu().numpy()

    weights = {name: value.detach().float().cpu().numpy() for name, value in policy.state_dict().items()}
    return NoisePolicy(spec, sample, f"{config.type}/{hash_arrays(weights)}", embed, max_rows)


class _Prepared:
    """Window {key: (n, frames, *shape)} -> the batch that a policy's network reads."""

    def __init__(self, config: Any, before: Callable, task: str) -> None:
        self._config, self._before, self._task = config, before, task

    def __call__(self, window: Mapping[str, np.ndarray]) -> dict[str, Any]:
        batch: dict[str, Any] = {name: self._tensor(window[_key(name)]) for name in self._config.input_features}
        if self._config.type != "diffusion":
            batch = {name: value[:, -1] for name, value in batch.items()}  # these read one frame
        if self._task:
            batch["task"] = [self._task] * len(next(iter(window.values())))
        batch = dict(self._before(batch))
        if self._config.type == "diffusion" and self._config.image_features:
            batch["observation.images"] = torch.stack([batch[key] for key in self._config.image_features], dim=-4)
        return batch

    @staticmethod
    def _tensor(values: np.ndarray) -> torch.Tensor:
        if values.dtype == np.uint8:  # (n, frames, height, width, channel) -> channels first, 0 to 1
            return torch.from_numpy(np.ascontiguousarray(np.moveaxis(values, -1, -3))).float() / 255.0
        return torch.from_numpy(values)


def _key(name: str) -> str:
    """The key of a feature: lerobot's without its prefix."""
    return name[len(PREFIX) :] if name.startswith(PREFIX) else name


def _array(shape: Any) -> dict[str, Any]:
    """Numbers as they are; images (channel, height, width) as pixels (height, width, channel)."""
    if len(shape) == 3:
        channels, height, width = shape
        return {"shape": [height, width, channels], "dtype": "uint8"}
    return {"shape": list(shape)}
