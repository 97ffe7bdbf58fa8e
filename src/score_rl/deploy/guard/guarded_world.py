"""The guard in simulation: a world whose every command passes through one, as it would on hardware."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from score_rl.contracts import COMMAND, Observation, StepResult, World
from score_rl.deploy.guard.guard import Guard, GuardConfig
from score_rl.deploy.guard.limits import GuardLimits


class GuardedWorld:
    """A `World` behind one guard per environment; `counts` says what they did.

    Alarms on sensors need a clock and have nothing to do here; limits, and blending where `chunk_steps` says that a
    new chunk begins every so many steps, are those of the runtime. What else the world has is there too.
    """

    def __init__(
        self, world: World, limits: GuardLimits, config: GuardConfig | None = None, chunk_steps: int = 0
    ) -> None:
        """chunk_steps: control steps of a chunk; 0: steps are not blended. The world must show `command`."""
        self.world, self.spec, self.chunk_steps = world, world.spec, chunk_steps
        self._guards = [Guard(limits, config) for _ in range(world.spec.num_envs)]
        self._step = 0

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        """(action, reason) -> how often, over all environments."""
        return sum((guard.counts for guard in self._guards), Counter())

    def reset(self, seeds: Sequence[int]) -> Observation:
        """See `World.reset`."""
        observation = self.world.reset(seeds)
        self._start(observation, range(len(self._guards)))
        self._step = 0
        return observation

    def step(self, action: Tensor) -> StepResult:
        """See `World.step`; the guards hold where an action is not finite."""
        fresh = bool(self.chunk_steps) and self._step % self.chunk_steps == 0
        asked = action.detach().cpu().numpy()
        sent = [guard.step(row, fresh=fresh).command for guard, row in zip(self._guards, asked, strict=True)]
        self._step += 1
        result = self.world.step(torch.from_numpy(np.stack(sent)).to(action.device))
        self._start(result.observation, result.done.nonzero().flatten().tolist())
        return result

    def close(self) -> None:
        """See `World.close`."""
        self.world.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.world, name)

    def _start(self, observation: Observation, rows: Sequence[int]) -> None:
        held = observation.actor[COMMAND].cpu().numpy()
        for row in rows:
            self._guards[row].start(held[row])
