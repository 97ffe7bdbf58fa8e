"""The two contracts that everything else is written against: `FlowPolicy` and `World`.

A frozen generative policy and a world meet in the steering room; nothing else touches both.
The docstrings in this file ARE the specification; `score_rl.core.testing` checks an implementation against them.

Conventions used everywhere: n environments, h chunk horizon, a action dimension; SI units, radians,
quaternions wxyz; batched values are float32 torch tensors whose first dimension is the environment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

COMMAND = "command"
"""Actor key of the command that the robot is tracking when it observes: the last action sent (at the start of
an episode the posture that is being held, or zeros where a world has no such posture). Its history is the
history of past actions, so no other channel carries them."""

Frame = Mapping[str, Tensor]
"""One observed frame of one group: key -> (n, d) float32."""

Accumulation = Literal["max", "mean", "sum"]
"""How one value per control step becomes one per decision or episode."""

Window = Mapping[str, Tensor]
"""A history of frames: key -> (n, frames, d), oldest first; the first frame is repeated as padding."""


@dataclass(frozen=True)
class PolicySpec:
    """What a flow policy reads and writes."""

    observation: Mapping[str, int]
    """Actor keys that the policy reads, with their width. A subset of the world's actor group."""
    history: int
    """Consecutive frames (at the control rate) of every key that one decision reads."""
    horizon: int
    """h: control steps in one action chunk."""
    action_names: tuple[str, ...]
    """One name per action dimension; `action_dim` is its length."""
    action_units: str
    """Units of an action, e.g. "rad" for joint position targets, "normalised" for [-1, 1]."""
    control_rate_hz: float
    """Rate at which the actions of a chunk are sent."""

    @property
    def action_dim(self) -> int:
        """a: width of one action."""
        return len(self.action_names)

    @property
    def latent_shape(self) -> tuple[int, int]:
        """Shape (h, a) of one latent."""
        return (self.horizon, self.action_dim)


@runtime_checkable
class FlowPolicy(Protocol):
    """A frozen generative policy a = f(observation, z) with z ~ N(0, I) of shape (h, a).

    Optional capability: `velocity(context, x, t) -> (n, h, a)`, the flow field in the policy's own normalised
    coordinates (t = 0 noise, t = 1 data), which enables `invert(context, chunk, tolerance, max_iterations)`: the
    latents that `decode` maps to a chunk (a `core.flow.Inversion`), for measuring support.

    Optional capability: `normalize(context, chunk)` and its inverse `denormalize(context, x)`, (n, h, a) each,
    between physical units and those coordinates, which lets rivals change a chunk in the scale of the data.
    """

    spec: PolicySpec

    def encode(self, window: Window) -> Tensor:
        """Context (n, c) of a window of frames {key: (n, history, d)}; called once per decision.

        The context is also what the steering actor reads, so it must hold everything that the policy sees,
        roughly zero-mean and of unit scale.
        """
        ...

    def decode(self, context: Tensor, latent: Tensor) -> Tensor:
        """Action chunk (n, h, a) in physical units for latents (n, h, a). Deterministic; no gradient is kept."""
        ...


@dataclass(frozen=True)
class WorldSpec:
    """What a world shows and takes."""

    num_envs: int
    """n: environments stepped together."""
    actor: Mapping[str, int]
    """Keys (with width) of the actor group: only what the real robot can observe."""
    critic: Mapping[str, int]
    """Keys (with width) of the critic group: privileged, exists in simulation only. May equal the actor group."""
    action_low: tuple[float, ...]
    """Lower bound of every action dimension; actions are clipped to the bounds by the world."""
    action_high: tuple[float, ...]
    """Upper bound of every action dimension."""
    action_names: tuple[str, ...]
    """One name per action dimension."""
    control_rate_hz: float
    """Control steps per second."""
    time_limit: int
    """Control steps after which an episode is truncated."""
    device: str = "cpu"
    """Torch device of every tensor that the world returns."""
    name: str = "world"
    """Short label for logs and result files, e.g. "pinch_cube/twin"."""
    info: Mapping[str, Accumulation] = field(default_factory=dict)
    """How entries of `StepResult.info` add up over the steps of a decision and of an episode; "max" (of flags: any)
    for every entry that is not named here."""


@dataclass(frozen=True)
class Observation:
    """What is seen at one instant: one frame per group. A world may compute a group when it is read
    (`core.frames.LazyFrame`); what it shows is the instant of the observation, whatever happened since."""

    actor: Frame
    critic: Frame


@dataclass(frozen=True)
class StepResult:
    """What one control step returned.

    Auto-reset is immediate ("same step"): where an episode ended (`done`), `observation` already is the first of
    the next episode and `final_observation` is the last of the ended one; everything else (reward, flags, info)
    belongs to the ended episode. Where no episode ended, `final_observation` equals `observation`.
    """

    observation: Observation
    reward: Tensor
    """(n,) float32, the sparse task reward of this step."""
    terminated: Tensor
    """(n,) bool: the episode ended by its own rules (held success, protective stop, NaN); no bootstrap."""
    truncated: Tensor
    """(n,) bool: the episode was cut by the time limit; its value continues beyond the cut."""
    success: Tensor
    """(n,) bool: the task's success condition holds in the state after this step (before any reset)."""
    final_observation: Observation
    info: Mapping[str, Tensor] = field(default_factory=dict)
    """Further per-environment values (n, ...); worlds with forces give `peak_force_n` (largest filtered hand
    contact force within this step, newtons), `fault` (bool, protective stop) and `nan` (bool)."""

    @property
    def done(self) -> Tensor:
        """(n,) bool: the episode ended at this step, for either reason."""
        return self.terminated | self.truncated


@runtime_checkable
class World(Protocol):
    """n environments stepped together at the control rate."""

    spec: WorldSpec

    def reset(self, seeds: Sequence[int]) -> Observation:
        """Start a new episode in every environment; `seeds` has length n.

        The seeds determine everything that follows: environment i's k-th episode since the reset depends only on
        seeds[i], k and the actions sent, not on the other environments. Two worlds of the same configuration
        reset with the same seeds therefore show the same objects, poses and disturbances to every policy.
        Raises ValueError when the number of seeds is not n.
        """
        ...

    def step(self, action: Tensor) -> StepResult:
        """Send actions (n, a), in physical units, for one control period; see `StepResult` for auto-reset.

        Raises ValueError for a wrong shape or non-finite actions, before anything moves.
        """
        ...

    def close(self) -> None:
        """Release threads and processes; calling it twice is allowed."""
        ...
