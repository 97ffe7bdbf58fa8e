"""A small DDIM diffusion policy of the real lerobot, for `lerobot_policy.py`; imported in lerobot's environment."""

from __future__ import annotations

import torch
from lerobot.configs.types import FeatureType, NormalizationMode, PolicyFeature
from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy
from lerobot.policies.factory import make_pre_post_processors
from score_client.lerobot_policy import wrap
from score_client.policy_server import NoisePolicy

HORIZON, CHUNK, STEPS, BATCH = 8, 4, 600, 256


def make() -> NoisePolicy:
    """Chunks go left or right at speed 1, either with probability 1/2, whatever is observed."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = DiffusionConfig(
        input_features={
            "observation.state": PolicyFeature(FeatureType.STATE, (2,)),
            "observation.environment_state": PolicyFeature(FeatureType.ENV, (1,)),
        },
        output_features={"action": PolicyFeature(FeatureType.ACTION, (1,))},
        normalization_mapping={kind: NormalizationMode.IDENTITY for kind in ("STATE", "ENV", "ACTION")},
        n_obs_steps=2, horizon=HORIZON, n_action_steps=CHUNK, down_dims=(16, 32), diffusion_step_embed_dim=16,
        noise_scheduler_type="DDIM", num_train_timesteps=50, num_inference_steps=8, clip_sample_range=1.5,
        device="cpu",
    )  # fmt: skip
    policy = DiffusionPolicy(config)
    optimizer = torch.optim.Adam(policy.parameters(), lr=2e-3)
    for _ in range(STEPS):
        direction = torch.where(torch.rand(BATCH, 1, 1) < 0.5, -1.0, 1.0)
        batch = {
            "observation.state": 2 * torch.rand(BATCH, 2, 2) - 1,
            "observation.environment_state": 2 * torch.rand(BATCH, 2, 1) - 1,
            "action": direction + 0.05 * torch.randn(BATCH, HORIZON, 1),
            "action_is_pad": torch.zeros(BATCH, HORIZON, dtype=torch.bool),
        }
        loss, _ = policy.forward(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    before, after = make_pre_post_processors(config, dataset_stats={})
    served = wrap(policy, before, after, control_rate_hz=10.0)
    # The toy calls its second array the command, not the state of its surroundings.
    observation = served.spec["interface"]["observation"]
    observation["command"] = observation.pop("environment_state")
    sample, embed = served._sample, served._embed

    def renamed(window: dict) -> dict:
        return {"state": window["state"], "environment_state": window["command"]}

    return NoisePolicy(
        served.spec, lambda window, noise: sample(renamed(window), noise), served.fingerprint,
        lambda window: embed(renamed(window)),
    )  # fmt: skip
