"""Actors that read what only a simulator knows: for rivals that are trained, and can act, in simulation alone.

The actor's input is the world's critic group, normalised by the moments of the first rollout, in which its mean is
0 whatever it reads. They stay, so that what is deployed reads what the last update learned from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from score_rl.contracts import ArraySpec, Context, FlowPolicy, PlainContext, Window
from score_rl.core.checkpoints import load_module, take_prefix, with_prefix
from score_rl.core.chunks import ChunkResult
from score_rl.steering.heads import Decision, Head
from score_rl.steering.learning import Sizes
from score_rl.steering.method import Decider, SteeringSpec
from score_rl.steering.networks import Activation, GaussianActor, Moments

if TYPE_CHECKING:
    from score_rl.steering.ppo import PPOConfig


class PrivilegedActor(nn.Module):
    """A diagonal Gaussian over w at privileged inputs (n, p)."""

    def __init__(
        self, inputs: int, outputs: int, hidden: tuple[int, ...], activation: Activation, layer_norm: bool = False
    ) -> None:
        super().__init__()
        self.moments = Moments(inputs)
        self.gaussian = GaussianActor(inputs, outputs, hidden, activation, layer_norm)

    def mean_std(self, critic: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (n, d) and standard deviation (d,) at privileged inputs (n, p)."""
        return self.gaussian.mean_std(self.moments.normalize(critic))


class PrivilegedLearner:
    """PPO whose actor reads the critic's input; see `steering.method.Learns`."""

    def __init__(self, sizes: Sizes, ppo: PPOConfig, execute_steps: int, device: str) -> None:
        from score_rl.steering.ppo import Learner  # a robot decides without what learns

        self.learner = Learner(self._inner(sizes), ppo, execute_steps, (), device)
        self.actor = PrivilegedActor(sizes.critic, sizes.action, *ppo.network).to(device)
        self.actor.gaussian = self.learner.actor

    @staticmethod
    def _inner(sizes: Sizes) -> Sizes:
        return replace(sizes, context=sizes.critic)

    def resize(self, sizes: Sizes) -> None:
        """See `steering.method.Learns`."""
        self.learner.resize(self._inner(sizes))

    @torch.no_grad()
    def act(self, context: Context, critic: Tensor, window: Window | None = None) -> Tensor:
        """See `steering.method.Learns`; the context is not read."""
        return self.learner.act(PlainContext(self.actor.moments.normalize(critic)), critic)

    def record(self, result: ChunkResult, final_critic: Tensor) -> None:
        """See `steering.method.Learns`."""
        self.learner.record(result, final_critic)

    def update(self, last_critic: Tensor, elapsed: float = 0.0) -> dict[str, float]:
        """See `steering.method.Learns`."""
        moments, rollout = self.actor.moments, self.learner.rollout
        if not moments.count:
            moments.observe(rollout["critic"].flatten(0, 1))
            for step in rollout.steps:
                step["context"] = moments.normalize(step["critic"])
        return self.learner.update(last_critic, elapsed)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `steering.method.Learns`."""
        tensors, settings = self.learner.state()
        return tensors | with_prefix("actor_moments", self.actor.moments.state_dict()), settings

    def load_state(self, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], source: object) -> None:
        """See `steering.method.Learns`."""
        load_module(self.actor.moments, take_prefix("actor_moments", tensors), source)
        self.learner.load_state(tensors, settings, source)


class PrivilegedPolicy:
    """A trained privileged actor and its head; see `steering.method.Trained`."""

    def __init__(self, policy: FlowPolicy, spec: SteeringSpec, head: Head, device: str = "cpu") -> None:
        width = sum(spec.privileged.values())
        actor = PrivilegedActor(width, head.dim, *spec.network)
        self.spec, self.head, self.actor = spec, head, actor.requires_grad_(False).eval().to(device)

    def deciders(self, policy: FlowPolicy) -> dict[str, Decider]:
        """Sampled and at its mean, by their names in result files."""
        return {
            f"{self.spec.method}_stoch": PrivilegedDecider(policy, self, deterministic=False),
            f"{self.spec.method}_det": PrivilegedDecider(policy, self, deterministic=True),
        }


class PrivilegedDecider:
    """Decides from windows that hold the privileged keys too, which only `evaluation` can give it."""

    def __init__(self, policy: FlowPolicy, trained: PrivilegedPolicy, deterministic: bool) -> None:
        spec = policy.spec
        shown = {key: ArraySpec((width,)) for key, width in trained.spec.privileged.items()}
        interface = replace(spec.interface, observation={**spec.interface.observation, **shown})
        self.spec = replace(spec, interface=interface)
        self.policy, self.trained, self.deterministic = policy, trained, deterministic

    @torch.no_grad()
    def decide(self, window: Window, noise: Tensor) -> Decision:
        """See `steering.method.Decider`."""
        head, trained = self.trained.head, self.trained
        mean, std = trained.actor.mean_std(torch.cat([window[key][:, -1] for key in trained.spec.privileged], dim=1))
        context = self.policy.encode({key: window[key] for key in self.policy.spec.window})
        if self.deterministic:
            return head.act(self.policy, context, mean, head.at_rest(noise))
        return head.act(self.policy, context, mean + std * head.exploration(noise), noise)
