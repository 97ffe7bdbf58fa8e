"""A world that shows what only a simulator knows, to policies that cannot act without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from score_rl.contracts import ArraySpec, Observation, PolicySpec, StepResult, World


class ExposedWorld:
    """A `World` whose actor group also holds keys of its critic group; everything else is the world's."""

    def __init__(self, world: World, keys: Sequence[str]) -> None:
        self.world, self.keys = world, tuple(keys)
        shown = {key: ArraySpec((world.spec.critic[key].size,)) for key in keys}
        interface = world.spec.interface
        interface = replace(interface, observation={**interface.observation, **shown})
        self.spec = replace(world.spec, interface=interface)

    def reset(self, seeds: Sequence[int]) -> Observation:
        """See `World.reset`."""
        return self._shown(self.world.reset(seeds))

    def step(self, action: Tensor) -> StepResult:
        """See `World.step`."""
        result = self.world.step(action)
        final = self._shown(result.final_observation)
        return replace(result, observation=self._shown(result.observation), final_observation=final)

    def close(self) -> None:
        """See `World.close`."""
        self.world.close()

    def __getattr__(self, name: str) -> object:
        return getattr(self.world, name)

    def _shown(self, observation: Observation) -> Observation:
        return Observation(
            {**observation.actor, **{key: observation.critic[key].flatten(1) for key in self.keys}},
            observation.critic,
        )


def exposed(world: World, policy: PolicySpec) -> World:
    """The world as a policy needs it: itself, or with those of its privileged keys that the policy reads."""
    seen = world.spec.interface.observation
    hidden = [key for key in policy.interface.observation if key not in seen and key in world.spec.critic]
    return ExposedWorld(world, hidden) if hidden else world
