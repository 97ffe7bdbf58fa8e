"""A world on another device than its simulator computes on: a large base policy decides on a GPU, physics stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from score_rl.contracts import Frame, Observation, StepResult, World
from score_rl.core.frames import to_device


class MovedWorld:
    """A `World` whose tensors are all on a torch device, and otherwise those of the world that it stands for.

    What else that world has is there too.
    """

    def __init__(self, world: World, device: str) -> None:
        self.world, self.spec = world, replace(world.spec, device=device)

    def reset(self, seeds: Sequence[int]) -> Observation:
        """See `World.reset`."""
        return self._observation(self.world.reset(seeds))

    def step(self, action: Tensor) -> StepResult:
        """See `World.step`."""
        result = self.world.step(action.to(self.world.spec.device))
        shown = self._observation(result.observation)
        same = result.final_observation is result.observation
        return StepResult(
            observation=shown,
            reward=result.reward.to(self.spec.device),
            terminated=result.terminated.to(self.spec.device),
            truncated=result.truncated.to(self.spec.device),
            success=result.success.to(self.spec.device),
            final_observation=shown if same else self._observation(result.final_observation),
            info=to_device(result.info, self.spec.device),
        )

    def look(self, keys: Sequence[str], rows: Tensor | None = None) -> Frame:
        """See `World`; of worlds with views."""
        chosen = None if rows is None else rows.to(self.world.spec.device)
        return to_device(self.world.look(keys, chosen), self.spec.device)

    def close(self) -> None:
        """See `World.close`."""
        self.world.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.world, name)

    def _observation(self, observation: Observation) -> Observation:
        device = self.spec.device
        return Observation(to_device(observation.actor, device), to_device(observation.critic, device))
