"""Small base policies and steerings on disk, as the stages leave them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from toys import interface_of, policy_spec, vectors

from score_rl.contracts import Window, WorldSpec
from score_rl.policies.flow.networks import NetworkConfig
from score_rl.policies.flow.policy import ConditionalFlow, FlowConfig, PolicyConfig, save_policy
from score_rl.policies.flow.representation import RepresentationConfig, fit_representation
from score_rl.steering.latent import LatentConfig
from score_rl.steering.method import SteeringSpec, Trained
from score_rl.steering.methods import METHODS
from score_rl.steering.policy import blank_policy, save_steering

KEYS, NAMES = {"state": 4, "command": 2}, ("left", "right")

WORLD = WorldSpec(
    num_envs=1,
    interface=interface_of(KEYS, NAMES),
    critic=vectors(**KEYS),
    action_low=(-1.5, -0.5),
    action_high=(1.5, 0.5),
    time_limit=20,
    name="toy",
)
"""A world that the small policies fit into."""


def windows(n: int, keys: dict[str, int] = KEYS, history: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    """Standard normal windows."""
    generator = torch.Generator().manual_seed(seed)
    return {key: torch.randn(n, history, width, generator=generator) for key, width in keys.items()}


def save_base(
    folder: Path,
    examples: Window | None = None,
    names: tuple[str, ...] = NAMES,
    network: NetworkConfig | None = None,
    steps: int = 1,
    seed: int = 0,
    **representation: Any,
) -> ConditionalFlow:
    """Write a base policy with random weights, its normalisers fitted to the example windows."""
    examples = examples or windows(100)
    keys = {key: value.shape[2] for key, value in examples.items()}
    history = next(iter(examples.values())).shape[1]
    config = RepresentationConfig(keys=tuple(keys), history=history, **({"horizon": 4} | representation))
    spec = policy_spec(keys, names, history, config.horizon)
    chunk = torch.randn(len(examples["command"]), *spec.latent_shape, generator=torch.Generator().manual_seed(1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy = ConditionalFlow(
            spec,
            PolicyConfig(config, network or NetworkConfig(widths=(16,)), FlowConfig(steps=steps, width=0.3)),
            fit_representation(spec, config, examples, chunk),
        )
        for parameter in policy.network.head.parameters():  # zero at the start, which would test nothing
            torch.nn.init.normal_(parameter, std=0.1)
    policy.requires_grad_(False).eval()
    save_policy(folder, policy, {"dataset": {"sha256": "d" * 64}})
    return policy


def save_steered(
    folder: Path,
    policy: ConditionalFlow,
    method: str = "score",
    latent: LatentConfig | None = None,
    options: dict[str, Any] | None = None,
    execute_steps: int = 3,
    privileged: dict[str, int] | None = None,
) -> Trained:
    """Write a steering of random weights for a base policy."""
    width = policy.representation.context_width
    latent = latent or LatentConfig()
    spec = SteeringSpec(
        width,
        policy.spec.chunk_shape,
        policy.spec.latent_shape,
        latent,
        (8,),
        "elu",
        execute_steps,
        policy.fingerprint(),
        method,
        options or {},
        privileged=privileged or {},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        steering = blank_policy(policy, spec, METHODS[method])
        for parameter in steering.actor.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    save_steering(folder, steering, {"config": {"seed": 3}, "control_steps": 1000})
    return steering
