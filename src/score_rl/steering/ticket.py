"""A ticket: ONE constant latent of the base policy, as a trained policy like any other.

`methods.base_ticket` finds it, `start` lets steering begin there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from score_rl.contracts import FlowPolicy, Window
from score_rl.steering.heads import Decision
from score_rl.steering.method import Decider, SteeringSpec

NAME = "base_ticket"


class Ticket(nn.Module):
    """The latent itself, as the weights of a bundle."""

    def __init__(self, latent_shape: tuple[int, int]) -> None:
        super().__init__()
        self.latent = nn.Parameter(torch.zeros(latent_shape), requires_grad=False)


class TicketPolicy:
    """The base policy at one latent; see `steering.method.Trained`."""

    def __init__(self, spec: SteeringSpec, device: str = "cpu") -> None:
        self.spec, self.actor = spec, Ticket(spec.latent_shape).to(device)

    @property
    def latent(self) -> Tensor:
        """z (l, w)."""
        return self.actor.latent

    def deciders(self, policy: FlowPolicy) -> dict[str, Decider]:
        """There is one way to deploy it."""
        return {NAME: TicketDecider(policy, self)}


class TicketDecider:
    """Every decision decodes the same latent; nothing is left to chance."""

    def __init__(self, policy: FlowPolicy, ticket: TicketPolicy) -> None:
        self.spec, self.policy, self.ticket = policy.spec, policy, ticket

    def decide(self, window: Window, noise: Tensor) -> Decision:
        """See `steering.method.Decider`."""
        latent = torch.zeros_like(noise) + self.ticket.latent
        return Decision(self.policy.decode(self.policy.encode(window), latent), latent)
