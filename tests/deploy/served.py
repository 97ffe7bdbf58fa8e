"""A policy to serve, small enough to work out by hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from toys import vectors

from score_rl.contracts import Interface, PolicySpec
from score_rl.core.interfaces import action_spec
from score_rl.policies.flow.networks import NetworkConfig
from score_rl.policies.flow.policy import ConditionalFlow, FlowConfig, PolicyConfig
from score_rl.policies.flow.representation import RepresentationConfig, fit_representation
from score_rl.steering.policy import BaseDecider, Decision

POLICY = PolicySpec(
    Interface(vectors(state=2, command=1), action_spec(("push", "pull"), "rad"), 10.0), 2, 4, latent_shape=(4, 2)
)


@dataclass(frozen=True)
class ToySpec:
    """Two keys, two frames, chunks of four."""

    policy: PolicySpec = POLICY
    execute_steps: int = 3
    action_low: tuple[float, ...] = (-100.0, -100.0)
    action_high: tuple[float, ...] = (100.0, 100.0)
    task: str = "toy"
    method: str = "score"


class ToyServed:
    """action[j] = (newest state[0] + 10 j, oldest state[0]) + noise[j] * `spread`."""

    digest = "toy"

    def __init__(self, spread: float = 0.0, delay_s: float = 0.0) -> None:
        self.spec, self.spread, self.delay_s = ToySpec(), spread, delay_s
        self.fails_at: float | None = None
        """A row whose newest state[0] is this makes the whole batch fail."""
        self.batches: list[int] = []
        self.entered, self.gate = threading.Event(), threading.Event()
        self.gate.set()  # cleared by tests that want a decision to last until they say so

    def decide(self, window: Mapping[str, Tensor], noise: Tensor) -> Decision:
        self.entered.set()
        assert self.gate.wait(60)
        time.sleep(self.delay_s)
        state = window["state"]
        if self.fails_at is not None and (state[:, -1, 0] == self.fails_at).any():
            raise RuntimeError("secret of the server")
        self.batches.append(len(state))
        newest = state[:, -1:, 0] + 10.0 * torch.arange(4.0)
        chunk = torch.stack((newest, state[:, :1, 0].expand(-1, 4)), dim=2)
        return Decision(chunk + self.spread * noise, noise)


class NetworkServed:
    """The base policy of a network with random weights, for the toy's observation."""

    digest = "network"

    def __init__(self) -> None:
        self.spec, spec = ToySpec(), POLICY
        config = RepresentationConfig(keys=tuple(spec.window), history=2, horizon=4)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            window = {key: torch.randn(100, *array.shape) for key, array in spec.window.items()}
            fitted = fit_representation(spec, config, window, torch.randn(100, 4, 2))
            policy = ConditionalFlow(spec, PolicyConfig(config, NetworkConfig(widths=(64, 64)), FlowConfig()), fitted)
            for parameter in policy.network.head.parameters():  # zero at the start, which would test nothing
                torch.nn.init.normal_(parameter, std=0.1)
        self._decider = BaseDecider(policy.requires_grad_(False).eval())

    def decide(self, window: Mapping[str, Tensor], noise: Tensor) -> Decision:
        return self._decider.decide(window, noise)
