"""`bc_regularized`: unconstrained RL that is pulled back to the demonstrations by a behaviour-cloning loss.

    loss = PPO's + coefficient * mean | mean_chunk(o_demo) - a_demo |^2        (normalised actions)

The policy is that of `unconstrained`: it starts at f(o, 0), a cloned policy. Nothing forces it to stay near data
where the demonstrations have none, and near them it inherits their failures. Coefficient 0 is `unconstrained`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.distributions import Normal

from score_rl.contracts import FlowPolicy
from score_rl.core.errors import ScoreError
from score_rl.core.ranges import Count, NonNegative
from score_rl.core.seeding import torch_generator
from score_rl.data.windows import WindowBatch
from score_rl.steering.method import Method, SteeringSpec
from score_rl.steering.methods.unconstrained import ShiftHead, UnconstrainedConfig, check_shift, shift_head
from score_rl.steering.networks import GaussianActor
from score_rl.steering.penalties import Penalty


@dataclass(frozen=True)
class BCConfig:
    """The free shift and what pulls it back."""

    coefficient: NonNegative = 100.0
    """Weight of the cloning loss, the mean square error of an action in normalised units. 0: none."""
    batch: Count = 256
    """Windows of the demonstrations per gradient step."""
    shift: UnconstrainedConfig = field(default_factory=UnconstrainedConfig)
    """The policy."""


def cloning_penalty(
    policy: FlowPolicy, head: ShiftHead, demonstrations: WindowBatch, coefficient: float, batch: int
) -> Penalty:
    """Cloning loss of the actor's mean on random windows.

    Padding behind an episode's end is left out, and so are steps that the head cannot shift.
    """
    with torch.no_grad():
        context = policy.encode(demonstrations.observation)
        features = context.features
        noise = torch.randn(demonstrations.action.shape, generator=torch_generator("cloning")).to(features.device)
        started = head.started(policy, context, head.start(noise))
        missing = policy.normalize(context, demonstrations.action) - started
    movable = head.basis.abs().sum(dim=1) > 0
    counted = (~demonstrations.is_pad & movable).unsqueeze(-1).expand_as(missing)

    def loss(actor: GaussianActor, policy: Normal) -> Tensor:
        rows = torch.randint(len(features), (batch,), device=features.device)
        error = (head.shift(actor.mean_std(features[rows])[0]) - missing[rows]).square()
        return (error * counted[rows]).sum().view(1) / counted[rows].sum()

    return Penalty("bc_loss", coefficient, loss)


def _config(spec: SteeringSpec) -> BCConfig:
    return spec.own(BCConfig)


def _head(spec: SteeringSpec, device: str) -> ShiftHead:
    return shift_head(spec, _config(spec).shift, device)


def _check(policy: FlowPolicy, spec: SteeringSpec, demonstrations: bool) -> None:
    config = _config(spec)
    check_shift(policy, config.shift, spec)
    if config.shift.observes != "actor":
        raise ScoreError(
            "bc_regularized clones demonstrations, which hold what the actor sees: observes must be actor"
        )
    if config.coefficient > 0 and not demonstrations:
        raise ScoreError("bc_regularized reads the demonstrations: give them (--dataset), or coefficient 0")


def _penalties(
    policy: FlowPolicy, head: ShiftHead, spec: SteeringSpec, demonstrations: WindowBatch | None
) -> tuple[Penalty, ...]:
    config = _config(spec)
    if config.coefficient == 0:
        return ()
    return (cloning_penalty(policy, head, demonstrations, config.coefficient, config.batch),)


BC_REGULARIZED = Method("bc_regularized", make_head=_head, check=_check, make_penalties=_penalties)
