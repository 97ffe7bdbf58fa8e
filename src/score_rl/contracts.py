"""The two contracts that everything else is written against: `FlowPolicy` and `World`.

A frozen generative policy and a world meet in the steering room; nothing else touches both.
The docstrings in this file ARE the specification; `score_rl.core.testing` checks an implementation against them.

Conventions used everywhere: n environments, h chunk horizon, a action dimension; SI units, radians,
quaternions wxyz; batched values are torch tensors, float32 unless said otherwise, whose first dimension is the
environment.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:  # a robot's driver and an exported policy know interfaces, and run without torch
    from torch import Tensor

COMMAND = "command"
"""Actor key of the command that the robot is tracking when it observes: the last action sent (at the start of
an episode the posture that is being held, or zeros where a world has no such posture). Its history is the
history of past actions, so no other channel carries them."""

Frame = Mapping[str, "Tensor"]
"""One observed frame of one group: key -> (n, *shape), in the type of the key's `ArraySpec`."""

Accumulation = Literal["max", "mean", "sum"]
"""How one value per control step becomes one per decision or episode."""

Window = Mapping[str, "Tensor"]
"""What one decision reads: key -> (n, frames, *shape). Of an observed key a history of frames, oldest first, the
episode's first frame repeated as padding; of a view its newest look alone (one frame)."""

DTYPES = ("float32", "uint8")
"""Types of observed arrays: numbers, and pixels. Actions and critic inputs are float32."""


@dataclass(frozen=True)
class ArraySpec:
    """One array of one environment at one instant."""

    shape: tuple[int, ...]
    """(23,), (512, 3) or (96, 96, 3); a single number is (1,)."""
    dtype: str = "float32"
    """As numpy and torch call it; one of `DTYPES` in an interface. Datasets also store other types."""
    unit: str = ""
    """Unit of the numbers, e.g. "rad", "normalised" for [-1, 1], "m, quaternion wxyz" for a pose; "" where nobody
    said."""
    frame: str = ""
    """Frame of positions and orientations, e.g. "base"; "" where there is none."""
    names: tuple[str, ...] = ()
    """One name per entry of the last axis, e.g. the joints; empty where nobody said."""

    @property
    def size(self) -> int:
        """Numbers in the array."""
        return math.prod(self.shape)

    def __str__(self) -> str:
        return f"{self.shape} {self.dtype}"


@dataclass(frozen=True)
class Interface:
    """What is seen and done at one control step. Worlds, policies, datasets, bundles, robots and servers share it."""

    observation: Mapping[str, ArraySpec]
    """Keys of every frame: what the real robot can observe at every control step."""
    action: ArraySpec
    """One action: (a,) float32, with its unit and one name per dimension."""
    control_rate_hz: float
    """Control steps, and so frames and actions, per second."""
    views: Mapping[str, ArraySpec] = field(default_factory=dict)
    """Expensive keys (point clouds, images), looked at for a decision only; see `World`. Disjoint from the others."""

    @property
    def action_dim(self) -> int:
        """a: width of one action."""
        return self.action.size

    @property
    def action_names(self) -> tuple[str, ...]:
        """One name per action dimension."""
        return self.action.names


@dataclass(frozen=True)
class PolicySpec:
    """What a flow policy reads and writes."""

    interface: Interface
    """Keys and views that the policy reads, a subset of the world's; the actions of its chunks."""
    history: int
    """Consecutive frames (at the control rate) of every observed key that one decision reads."""
    horizon: int
    """h: control steps in one action chunk."""
    latent_shape: tuple[int, int]
    """Shape of one latent: latent steps and latent width. Usually (h, a); the policy's own, since some pad their
    actions or flow over more steps than they return."""

    @property
    def chunk_shape(self) -> tuple[int, int]:
        """(h, a): shape of one action chunk."""
        return (self.horizon, self.interface.action_dim)

    @property
    def window(self) -> dict[str, ArraySpec]:
        """One row of what a decision reads: key -> (frames, *shape), observed keys before views."""
        frames = dict.fromkeys(self.interface.observation, self.history) | dict.fromkeys(self.interface.views, 1)
        arrays = {**self.interface.observation, **self.interface.views}
        return {key: replace(array, shape=(frames[key], *array.shape)) for key, array in arrays.items()}


@runtime_checkable
class Context(Protocol):
    """What a policy knows after it has read n windows. Beside the features it may keep whatever it decodes with (the
    command that is held, tokens, a remote handle); nobody else looks at that."""

    features: Tensor
    """(n, c) float32, roughly zero-mean and of unit scale: all that steering reads, so everything that the policy
    sees must be in them."""

    def rows(self, index: Tensor) -> Context:
        """The contexts of rows `index` (m,) int64; rows may be left out and repeated."""
        ...


@dataclass(frozen=True)
class PlainContext:
    """A `Context` that is its features and nothing else."""

    features: Tensor

    def rows(self, index: Tensor) -> PlainContext:
        """See `Context.rows`."""
        return PlainContext(self.features[index])


@runtime_checkable
class FlowPolicy(Protocol):
    """A frozen generative policy a = f(observation, z) with z ~ N(0, I) of shape `spec.latent_shape` (l, w).

    Optional capability: `velocity(context, x, t) -> (n, l, w)`, the flow field in the policy's own normalised
    coordinates (t = 0 noise, t = 1 data), which enables `invert(context, chunk, tolerance, max_iterations)`: the
    latents that `decode` maps to a chunk (a `core.flow.Inversion`), for measuring support. It needs latents of the
    chunk's shape.

    Optional capability: `normalize(context, chunk)` and its inverse `denormalize(context, x)`, (n, h, a) each,
    between physical units and those coordinates, which lets rivals change a chunk in the scale of the data.

    Optional capability, of torch modules: `matching_error(context, x, noise, t) -> (n, h)`, the flow-matching loss
    of normalised chunks x with gradients, and `fresh()`, a policy of the same kind whose flow has initial
    weights, which let rivals fine-tune a copy of the policy or distil into a new one. `encode` keeps no gradients, so
    what is learned in it stays as it is. The policy itself stays frozen.
    """

    spec: PolicySpec

    def encode(self, window: Window) -> Context:
        """Context of a window {key: (n, frames, *shape)} of the arrays in `spec.window`; called once per decision."""
        ...

    def decode(self, context: Context, latent: Tensor) -> Tensor:
        """Action chunk (n, h, a) in physical units for latents (n, l, w). Deterministic; no gradient is kept."""
        ...

    def fingerprint(self) -> str:
        """Names spec and weights: equal only where `encode` and `decode` are (`core.checkpoints.fingerprint`)."""
        ...


@dataclass(frozen=True)
class WorldSpec:
    """What a world shows and takes."""

    num_envs: int
    """n: environments stepped together."""
    interface: Interface
    """The actor group (only what the real robot can observe), the views that the world can show, and the actions."""
    critic: Mapping[str, ArraySpec]
    """Keys of the critic group: privileged, exists in simulation only. May equal the actor group."""
    action_low: tuple[float, ...]
    """Lower bound of every action dimension; actions are clipped to the bounds by the world."""
    action_high: tuple[float, ...]
    """Upper bound of every action dimension."""
    time_limit: int
    """Control steps after which an episode is truncated."""
    device: str = "cpu"
    """Torch device of every tensor that the world returns."""
    name: str = "world"
    """Short label for logs and result files, e.g. "pinch_cube/twin"."""
    row_seeds: bool = True
    """Whether environment i's episodes depend on seeds[i] and their number alone, see `World.reset`. False where only
    all environments together can be seeded: policies are then not compared on the same episodes."""
    info: Mapping[str, Accumulation] = field(default_factory=dict)
    """How entries of `StepResult.info` add up over the steps of a decision and of an episode; "max" (of flags: any)
    for every entry that is not named here."""


@dataclass(frozen=True)
class Observation:
    """What is seen at one instant: one frame per group, without views. A world may compute a group when it is read
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
    """n environments stepped together at the control rate.

    Capability of worlds with views: `look(keys, rows=None) -> Frame`, those views of the present state, {key: (m,
    *shape)} of the environments `rows` (m,) int64, of all where None. What is seen depends on the seed, the episode
    and the time in it alone, so it does not matter whether, how often and for which rows one looks. Views are in no
    `Observation`: the critic is privileged and needs none.
    """

    spec: WorldSpec

    def reset(self, seeds: Sequence[int]) -> Observation:
        """Start a new episode in every environment; `seeds` has length n.

        The seeds determine everything that follows: environment i's k-th episode since the reset depends only on
        seeds[i], k and the actions sent, not on the other environments. Two worlds of the same configuration
        reset with the same seeds therefore show the same objects, poses and disturbances to every policy.
        Of a world without `spec.row_seeds` all of them together determine what follows.
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
