"""A base policy of somebody else: any object that does what `score_rl.contracts.FlowPolicy` says."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from score_rl.contracts import ArraySpec, Interface, PlainContext, PolicySpec, Window
from score_rl.core.fingerprint import fingerprint


class HesitantPolicy(nn.Module):
    """Goes left or right, by the sign of its latent and whatever it sees: it wanders, and rarely arrives."""

    def __init__(self, speed: float = 1.0) -> None:
        """speed: of its motion [m/s]."""
        super().__init__()
        velocity = ArraySpec((1,), unit="m/s", names=("velocity",))
        seen = {"state": ArraySpec((2,), unit="m"), "command": velocity}
        interface = Interface(seen, velocity, control_rate_hz=10.0)
        self.spec = PolicySpec(interface, history=1, horizon=4, latent_shape=(4, 1))
        self.speed = nn.Parameter(torch.tensor(float(speed)))

    def fingerprint(self) -> str:
        """Of the weights, which is the speed."""
        return fingerprint(self.spec, self.state_dict())

    def encode(self, window: Window) -> PlainContext:
        """Features (n, 3): position, goal and last command, which are small and centred as they are."""
        return PlainContext(torch.cat([window[key].flatten(1) for key in self.spec.window], dim=1))

    @torch.no_grad()
    def decode(self, context: PlainContext, latent: Tensor) -> Tensor:
        """Chunk (n, 4, 1): full speed to the side of the latent's mean, a little unsteady."""
        side = torch.where(latent.mean(dim=1, keepdim=True) >= 0, 1.0, -1.0)
        return side * self.speed + 0.05 * latent
