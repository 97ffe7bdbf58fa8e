"""A method: a head, and where it needs them further losses, a learner or a way to decide of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor, nn

from score_rl.contracts import FlowPolicy, PolicySpec, Window
from score_rl.core.errors import unknown_choice
from score_rl.data.windows import WindowBatch
from score_rl.steering.heads import Decision, Head, LatentHead
from score_rl.steering.latent import LatentConfig, LatentMap
from score_rl.steering.penalties import Penalty

if TYPE_CHECKING:  # a robot decides without what learns
    from score_rl.steering.ppo import PPOConfig, Sizes


@dataclass(frozen=True)
class SteeringSpec:
    """Everything that determines a trained policy but its weights."""

    context_dim: int
    """c: width of the base policy's context."""
    latent_shape: tuple[int, int]
    """(h, a) of the base policy."""
    latent: LatentConfig
    """Parametrisation of the latent."""
    hidden: tuple[int, ...]
    """Widths of the actor."""
    activation: str
    """Activation of the actor."""
    execute_steps: int
    """Control steps that were run of every chunk in training."""
    base: str
    """Fingerprint of the base policy that it belongs to; it means nothing to any other."""
    method: str = "score"
    """Name of the method."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The method's own settings, plain values."""


class Decider(Protocol):
    """Anything that decides from what a robot sees."""

    spec: PolicySpec

    def decide(self, window: Window, noise: Tensor) -> Decision:
        """Chunks for windows {key: (n, history, d)}; noise (n, h, a) ~ N(0, I) is the only source of chance."""
        ...


class Trained(Protocol):
    """A trained policy, as its bundle holds it."""

    spec: SteeringSpec
    actor: nn.Module
    """What was learned: its state is the bundle's weights."""

    def deciders(self, policy: FlowPolicy) -> dict[str, Decider]:
        """The ways to deploy it on its base policy, by their names in result files."""
        ...


class Learns(Protocol):
    """What the training loop needs of a learner; `steering.ppo.Learner` is the model of it."""

    actor: nn.Module

    def resize(self, sizes: Sizes) -> None:
        """Continue with another number of environments or decisions."""
        ...

    def act(self, context: Tensor, critic: Tensor) -> Tensor:
        """Choose w (n, d) for contexts (n, c); critic inputs (n, p) are kept for the update."""
        ...

    def record(self, reward: Tensor, done: Tensor, truncated: Tensor, steps: Tensor, final_critic: Tensor) -> None:
        """Store what became of the last `act`, per row: see `chunks.ChunkResult`."""
        ...

    def update(self, last_critic: Tensor, elapsed: float = 0.0) -> dict[str, float]:
        """Learn from the full rollout, return metrics. `elapsed`, 0 to 1: share of training that lies behind."""
        ...

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that learning changes: tensors, and plain settings."""
        ...

    def load_state(self, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], source: object) -> None:
        """Put back a `state`; raises ScoreError where it does not fit."""
        ...


def no_check(policy: FlowPolicy, spec: SteeringSpec, demonstrations: bool) -> None:
    """For methods whose options cannot be wrong."""


def no_penalties(
    policy: FlowPolicy, head: Head, spec: SteeringSpec, demonstrations: WindowBatch | None
) -> tuple[Penalty, ...]:
    """For methods whose only loss is PPO's."""
    return ()


@dataclass(frozen=True)
class Method:
    """What distinguishes one method from another; the loop in `steering.loop` is the same for all."""

    name: str
    """As in `score steer --method NAME`, bundles and result files."""
    make_head: Callable[[SteeringSpec, str], Head]
    """(spec, device) -> head."""
    check: Callable[[FlowPolicy, SteeringSpec, bool], None] = no_check
    """(base policy, spec, whether demonstrations are given): raises ScoreError for what cannot work."""
    make_penalties: Callable[[FlowPolicy, Head, SteeringSpec, WindowBatch | None], tuple[Penalty, ...]] = no_penalties
    """Further losses of the actor; the demonstrations are windows and the chunks executed there."""
    make_learner: Callable[[Sizes, PPOConfig, Sequence[Penalty], FlowPolicy, SteeringSpec, str], Learns] | None = None
    """Who learns; its initial weights come from torch's global generator. None: a `steering.ppo.Learner`."""
    make_trained: Callable[[SteeringSpec, Head, str], Trained] | None = None
    """(spec, head, device) -> the trained policy with blank weights; None: a `steering.policy.SteeringPolicy`."""
    searches: bool = False
    """Draws further noise for every decision, which no graph of fixed operations can: not for `score export`."""


def latent_head(spec: SteeringSpec, device: str = "cpu") -> LatentHead:
    """SCORE's head."""
    return LatentHead(LatentMap(spec.latent, spec.latent_shape, device))


SCORE = Method("score", make_head=latent_head)


def find_method(name: str, methods: Mapping[str, Method]) -> Method:
    """The method of that name. Raises ScoreError that lists the choices."""
    if name not in methods:
        raise unknown_choice("method", name, methods)
    return methods[name]
