"""A world and a policy small enough to follow by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from toys import policy_spec, vectors

from score_rl.contracts import Observation, PlainContext, StepResult, WorldSpec
from score_rl.core.flow import Inversion
from score_rl.steering.policy import Decision

LIMIT = 6


class Walk:
    """A point on a line that starts at 0 and moves by the action; the goal is at 2 + seed % 3, in steps of 1.

    Reward 1 and end at the goal; a fault ends the episode below -1; the force is 10 |action|.
    """

    def __init__(self, num_envs: int) -> None:
        self.spec = WorldSpec(num_envs, Step.spec.interface, vectors(state=2), (-1.0,), (1.0,), LIMIT, name="walk")

    def reset(self, seeds: Sequence[int]) -> Observation:
        self.goal = torch.tensor([2.0 + seed % 3 for seed in seeds])
        self.x, self.time = torch.zeros(len(seeds)), torch.zeros(len(seeds), dtype=torch.int64)
        return self._observe()

    def step(self, action: Tensor) -> StepResult:
        self.x, self.time = self.x + action[:, 0], self.time + 1
        success, fault = self.x >= self.goal, self.x < -1
        terminated = success | fault
        truncated = (self.time >= LIMIT) & ~terminated
        final = self._observe()
        done = terminated | truncated
        self.x, self.time = self.x.masked_fill(done, 0), self.time.masked_fill(done, 0)
        info = {"peak_force_n": 10 * action[:, 0].abs(), "fault": fault, "nan": torch.zeros_like(fault)}
        return StepResult(self._observe(), success.float(), terminated, truncated, success, final, info)

    def close(self) -> None:
        pass

    def _observe(self) -> Observation:
        frame = {"state": torch.stack((self.x, self.goal), dim=1)}
        return Observation(frame, frame)


class Step:
    """A decider whose chunks of two actions are its latent: a constant, or the noise itself."""

    spec = policy_spec({"state": 2}, ("dx",), history=1, horizon=2, unit="m")

    def __init__(self, constant: float | None = None) -> None:
        self.constant = constant

    def decide(self, window: Mapping[str, Tensor], noise: Tensor) -> Decision:
        latent = noise if self.constant is None else torch.full_like(noise, self.constant)
        return Decision(latent, latent)


class Stroll:
    """A flow policy whose chunks are 0.5 + 0.1 z whatever it sees, invertible by hand."""

    spec = Step.spec

    def encode(self, window: Mapping[str, Tensor]) -> PlainContext:
        return PlainContext(window["state"].flatten(1))

    def decode(self, context: PlainContext, latent: Tensor) -> Tensor:
        return 0.5 + 0.1 * latent

    def invert(self, context: PlainContext, chunk: Tensor, tolerance: float, max_iterations: int) -> Inversion:
        latent = (chunk - 0.5) / 0.1
        n = len(chunk)
        return Inversion(latent, torch.zeros(n), torch.zeros(n), torch.ones(n, dtype=torch.bool))


FORWARD, STILL, BACKWARD, RANDOM = Step(1.0), Step(0.0), Step(-1.0), Step()
"""Forward reaches goal g after g steps; backward faults after two."""
