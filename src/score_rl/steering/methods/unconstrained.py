"""`unconstrained`: reinforcement learning that may leave the support: a free shift of the base policy's best guess.

    x = normalise(f(o, 0)) + std * B w,    a = denormalise(x)

f(o, 0), the chunk of latent 0, is the base policy without its chance: what behaviour cloning would do. w has the
same dimensions as SCORE's (B: the same temporal modes), the same scale (normalised actions have the prior's), the
same start at N(0, I) and the same learner; only nothing keeps the chunk near what was ever demonstrated.

The form `per_step` decides anew at every control step and shifts the one action that is sent. It is the usual
formulation of RL on a cloned policy, and weaker: its exploration is white noise that cancels from step to step.
With `centre` "noise" the chunk of a fresh random latent is shifted instead of f(o, 0).

With `centre` "data" there is no base policy at all: x = std * B w, learned from scratch around the mean of the
demonstrations' actions, of which only the normalisation is used. `observes` "privileged" lets the actor read the
simulator's state, as the paper's unconstrained RL does; what it learns can act in simulation only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from score_rl.contracts import Context, FlowPolicy
from score_rl.core.errors import ScoreError
from score_rl.core.ranges import Positive
from score_rl.steering.heads import Decision, Head, more_noise
from score_rl.steering.latent import LatentMap
from score_rl.steering.learning import Sizes
from score_rl.steering.method import Learns, Method, Observes, SteeringSpec, Trained
from score_rl.steering.policy import steering_policy
from score_rl.steering.privileged import PrivilegedLearner, PrivilegedPolicy

if TYPE_CHECKING:
    from score_rl.steering.ppo import PPOConfig

Form = Literal["chunk", "per_step"]
Centre = Literal["zero", "noise", "data"]


@dataclass(frozen=True)
class UnconstrainedConfig:
    """The free shift."""

    form: Form = "chunk"
    """chunk: shift the modes of a chunk that SCORE would choose in the latent (--learner.latent). per_step: shift the
    one action of every control step; it needs --learner.execute-steps 1."""
    std: Positive = 1.0
    """Shift per unit of the actor's output, in normalised actions; 1 is the prior's scale."""
    centre: Centre = "zero"
    """What is shifted: the chunk of latent 0, (noise) the base policy's chunk of a fresh random latent, or (data) 0
    in normalised coordinates: no base policy, the mean of the demonstrations' actions."""
    observes: Observes = "actor"
    """What the actor reads: what the robot sees, or what only the simulator knows."""


class ShiftHead:
    """w moves a chunk of the base policy, in its normalised coordinates, without a bound."""

    def __init__(self, basis: Tensor, config: UnconstrainedConfig, action_dim: int, latent_bound: float) -> None:
        """basis (h, K): orthonormal modes over the horizon that are shifted."""
        self.basis, self.std, self.centre, self.latent_bound = basis, config.std, config.centre, latent_bound
        self.dim = basis.shape[1] * action_dim

    def start(self, noise: Tensor) -> Tensor:
        """Latent (n, h, a) of the chunk that is shifted; 0 where there is none."""
        if self.centre != "noise":
            return torch.zeros_like(noise)
        return noise.clamp(-self.latent_bound, self.latent_bound)

    def started(self, policy: FlowPolicy, context: Context, latent: Tensor) -> Tensor:
        """The chunk (n, h, a) that is shifted, normalised, for the latent of `start`."""
        if self.centre == "data":
            return torch.zeros_like(latent)
        return policy.normalize(context, policy.decode(context, latent))

    def shift(self, w: Tensor) -> Tensor:
        """Change (n, h, a) of the normalised chunk for w (n, d)."""
        return self.std * torch.einsum("hk,nka->nha", self.basis, w.view(len(w), self.basis.shape[1], -1))

    def act(self, policy: FlowPolicy, context: Context, w: Tensor, noise: Tensor) -> Decision:
        """See `steering.heads.Head`."""
        latent = self.start(noise)
        x = self.started(policy, context, latent) + self.shift(w)
        return Decision(policy.denormalize(context, x), latent)

    def exploration(self, noise: Tensor) -> Tensor:
        """See `steering.heads.Head`: from further draws, since `act` may spend the noise itself on the latent."""
        return torch.einsum("hk,nha->nka", self.basis, more_noise(noise, 1)[:, 0]).flatten(1)

    def at_rest(self, noise: Tensor) -> Tensor:
        """See `steering.heads.Head`: what `start` makes of it."""
        return noise


def shift_head(spec: SteeringSpec, config: UnconstrainedConfig, device: str) -> ShiftHead:
    """The head of a form, for the modes of the spec's latent."""
    horizon, action_dim = spec.chunk_shape
    if config.form == "per_step":
        basis = torch.eye(horizon, 1, device=device)
    else:
        basis = LatentMap(spec.latent, spec.chunk_shape, device).basis
    return ShiftHead(basis, config, action_dim, spec.latent.bound)


def check_coordinates(policy: FlowPolicy) -> None:
    """Raise ScoreError where a policy has no normalised coordinates."""
    if not (hasattr(policy, "normalize") and hasattr(policy, "denormalize")):
        raise ScoreError(
            f"{type(policy).__name__} has no `normalize` and `denormalize` (see contracts.FlowPolicy), "
            "and this method works on normalised actions"
        )


def check_shift(policy: FlowPolicy, config: UnconstrainedConfig, spec: SteeringSpec) -> None:
    """Raise ScoreError for settings that cannot work."""
    check_coordinates(policy)
    execute_steps = spec.execute_steps
    if spec.latent_shape != spec.chunk_shape:
        raise ScoreError(
            f"a shift of chunks {spec.chunk_shape} along the latent's modes needs latents of the same shape, "
            f"not {spec.latent_shape}"
        )
    if config.form == "per_step" and execute_steps != 1:
        raise ScoreError(
            f"the per_step form decides anew at every step: it needs --learner.execute-steps 1 (not {execute_steps}) "
            "and --learner.decisions that cover the time limit"
        )


def _check(policy: FlowPolicy, spec: SteeringSpec, demonstrations: bool) -> None:
    check_shift(policy, spec.own(UnconstrainedConfig), spec)


def _head(spec: SteeringSpec, device: str) -> ShiftHead:
    return shift_head(spec, spec.own(UnconstrainedConfig), device)


def _learner(sizes: Sizes, ppo: PPOConfig, policy: FlowPolicy, spec: SteeringSpec, device: str) -> Learns:
    from score_rl.steering.ppo import Learner  # a robot decides without what learns

    if spec.privileged:
        return PrivilegedLearner(sizes, ppo, spec.execute_steps, device)
    return Learner(sizes, ppo, spec.execute_steps, device=device)


def _trained(policy: FlowPolicy, spec: SteeringSpec, head: Head, device: str) -> Trained:
    make = PrivilegedPolicy if spec.privileged else steering_policy
    return make(policy, spec, head, device)


UNCONSTRAINED = Method("unconstrained", make_head=_head, check=_check, make_learner=_learner, make_trained=_trained)
