"""A policy to serve, small enough to work out by hand, and a server in a thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from score_rl.contracts import PolicySpec
from score_rl.deploy.server.config import ServerConfig
from score_rl.deploy.server.server import PolicyServer
from score_rl.policies.flow.networks import NetworkConfig
from score_rl.policies.flow.policy import ConditionalFlow, FlowConfig, PolicyConfig
from score_rl.policies.flow.representation import RepresentationConfig, fit_representation
from score_rl.steering.policy import BaseDecider, Decision


@dataclass(frozen=True)
class ToyField:
    width: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class ToySpec:
    """Two keys, two frames, chunks of four."""

    observation: Mapping[str, ToyField] = field(
        default_factory=lambda: {"state": ToyField(2), "command": ToyField(1)}
    )
    history: int = 2
    horizon: int = 4
    execute_steps: int = 3
    action_names: tuple[str, ...] = ("push", "pull")
    action_unit: str = "rad"
    action_low: tuple[float, ...] = (-100.0, -100.0)
    action_high: tuple[float, ...] = (100.0, 100.0)
    control_rate_hz: float = 10.0
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
        self.spec = ToySpec()
        widths = {key: field.width for key, field in self.spec.observation.items()}
        config = RepresentationConfig(keys=tuple(widths), history=2, horizon=4)
        spec = PolicySpec(widths, 2, 4, self.spec.action_names, "rad", 10.0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            window = {key: torch.randn(100, 2, width) for key, width in widths.items()}
            fitted = fit_representation(spec, config, window, torch.randn(100, 4, 2))
            policy = ConditionalFlow(spec, PolicyConfig(config, NetworkConfig(widths=(64, 64)), FlowConfig()), fitted)
            for parameter in policy.network.head.parameters():  # zero at the start, which would test nothing
                torch.nn.init.normal_(parameter, std=0.1)
        self._decider = BaseDecider(policy.requires_grad_(False).eval())

    def decide(self, window: Mapping[str, Tensor], noise: Tensor) -> Decision:
        return self._decider.decide(window, noise)


@contextmanager
def running(policy: Any, api_key: str | None = None, **settings: Any) -> Iterator[PolicyServer]:
    """A server of `policy` on a free port, in a thread with its own event loop."""
    started, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    held: list[PolicyServer] = []

    async def main() -> None:
        async with PolicyServer(policy, ServerConfig(**{"port": 0, **settings}), api_key) as server:
            held.append(server)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield held[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        assert not thread.is_alive()
        loop.close()
