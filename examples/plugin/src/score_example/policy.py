"""A base policy of somebody else: any object that does what `score_rl.contracts.FlowPolicy` says."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from score_rl.contracts import PolicySpec, Window


class HesitantPolicy(nn.Module):
    """Goes left or right, by the sign of its latent and whatever it sees: it wanders, and rarely arrives."""

    def __init__(self, speed: float = 1.0) -> None:
        """speed: of its motion [m/s]."""
        super().__init__()
        self.spec = PolicySpec(
            observation={"state": 2, "command": 1},
            history=1,
            horizon=4,
            action_names=("velocity",),
            action_units="m/s",
            control_rate_hz=10.0,
        )
        self.speed = nn.Parameter(torch.tensor(float(speed)))

    def encode(self, window: Window) -> Tensor:
        """Context (n, 3): position, goal and last command, which are small and centred as they are."""
        return torch.cat([window[key].flatten(1) for key in self.spec.observation], dim=1)

    @torch.no_grad()
    def decode(self, context: Tensor, latent: Tensor) -> Tensor:
        """Chunk (n, 4, 1): full speed to the side of the latent's mean, a little unsteady."""
        side = torch.where(latent.mean(dim=1, keepdim=True) >= 0, 1.0, -1.0)
        return side * self.speed + 0.05 * latent
