"""A method: a head, and where it needs them further losses, a learner or a way to decide of its own.

What a method deploys is a `Trained`: weights that mean something together with the base policy. Most steer the frozen
base policy; some fine-tune a copy of it (`fpo`) or train a new policy of its kind (`rialto`), whose weights are then
what the bundle holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn

from score_rl.contracts import Context, FlowPolicy, PolicySpec, Window
from score_rl.core.chunks import ChunkResult
from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.ranges import Count, Length, Width
from score_rl.core.records import parse
from score_rl.data.windows import WindowBatch
from score_rl.steering.heads import Decision, Head, LatentHead
from score_rl.steering.latent import LatentConfig, LatentMap
from score_rl.steering.learning import Sizes
from score_rl.steering.networks import Activation
from score_rl.steering.penalties import Penalty

if TYPE_CHECKING:  # a robot decides without what learns
    from score_rl.steering.ppo import PPOConfig

COMPLEMENT = "complement"
"""Option of SCORE: the latent (h, a), as lists, whose unchosen modes every decision keeps."""

OBSERVES = "observes"
"""Option of methods whose actor can read what only a simulator knows."""
Observes = Literal["actor", "privileged"]
"""What it reads: what the robot sees, or the simulator's state."""

T = TypeVar("T")


@dataclass(frozen=True)
class SteeringSpec:
    """Everything that determines a trained policy but its weights."""

    context_dim: Count
    """c: width of the base policy's features."""
    chunk_shape: tuple[Count, Count]
    """(h, a) of the base policy."""
    latent_shape: tuple[int, int]
    """(l, w) of the base policy."""
    latent: LatentConfig
    """Parametrisation of the latent."""
    hidden: Annotated[tuple[Width, ...], Length(1, 64)]
    """Widths of the actor."""
    activation: Activation
    """Activation of the actor."""
    execute_steps: Count
    """Control steps that were run of every chunk in training."""
    base: str
    """Fingerprint of the base policy that it belongs to; it means nothing to any other."""
    method: str = "score"
    """Name of the method."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The method's own settings, plain values; for SCORE the `complement` that it keeps (see `LatentHead`)."""
    layer_norm: bool = False
    """Whether the actor's hidden layers are normalised."""
    privileged: Mapping[str, int] = field(default_factory=dict)
    """Keys (with width) of a world's critic group that the actor reads in place of the context. A policy that has
    any can act in simulation only; empty for everything that can be deployed."""

    @property
    def network(self) -> tuple[tuple[int, ...], Activation, bool]:
        """Widths, activation and layer norm of the actor."""
        return (self.hidden, self.activation, self.layer_norm)

    def own(self, config: type[T]) -> T:
        """The method's own settings as its dataclass. Raises ScoreError where they are none of it."""
        return parse(config, dict(self.options), f"options of {self.method}", defaults=True)


class Decider(Protocol):
    """Anything that decides from what a robot sees."""

    spec: PolicySpec

    def decide(self, window: Window, noise: Tensor) -> Decision:
        """Chunks for windows {key: (n, frames, *shape)}; noise (n, l, w) ~ N(0, I) is the only source of chance."""
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

    def act(self, context: Context, critic: Tensor, window: Window | None = None) -> Tensor:
        """Choose w (n, d) for n contexts; critic inputs (n, p) are kept for the update.

        window: what the contexts were encoded from; for learners that keep it.
        """
        ...

    def record(self, result: ChunkResult, final_critic: Tensor) -> None:
        """Store what became of the last `act`; final_critic (n, p): critic inputs where the decision ended."""
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


def nothing_more(learner: Learns) -> dict[str, float]:
    """For methods that are done with the last iteration."""
    return {}


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
    make_learner: Callable[[Sizes, PPOConfig, FlowPolicy, SteeringSpec, str], Learns] | None = None
    """Who learns; its initial weights come from torch's global generator. None: a `steering.ppo.Learner`, which alone
    has the further losses."""
    make_trained: Callable[[FlowPolicy, SteeringSpec, Head, str], Trained] | None = None
    """(base policy, spec, head, device) -> the trained policy with blank weights; None: a
    `steering.policy.SteeringPolicy`."""
    finish: Callable[[Learns], Mapping[str, float]] = nothing_more
    """What is still to be done behind the last iteration, without the worlds (a distillation): deterministic, so that
    a run that is killed in it repeats it from the last checkpoint. Returns figures for the run's summary."""
    search: Callable[..., tuple[Trained, Mapping[str, Any]]] | None = None
    """(base policy, stages, config, run, spec) -> result and figures, in place of the loop: for methods that have no
    learner."""
    searches: bool = False
    """Draws further noise for every decision, which no graph of fixed operations can: not for `score export`."""
    steers: bool = False
    """Chooses the frozen base policy's latent and nothing else, so that it can start at any latent, be compared with
    constant ones, pay a hinge for leaving the prior, and be advised."""


def latent_head(spec: SteeringSpec, device: str = "cpu") -> LatentHead:
    """SCORE's head."""
    kept = spec.options.get(COMPLEMENT)
    if kept is None:
        return LatentHead(LatentMap(spec.latent, spec.latent_shape, device))
    rows = parse(list[list[float]], kept, "the steering's options", key=COMPLEMENT)
    if [len(row) for row in rows] != [spec.latent_shape[1]] * spec.latent_shape[0]:
        raise ScoreError(f"option {COMPLEMENT} of the steering is no latent of shape {spec.latent_shape}")
    complement = torch.tensor(rows, device=device)
    return LatentHead(LatentMap(spec.latent, spec.latent_shape, device), complement)


SCORE = Method("score", make_head=latent_head, steers=True)


def find_method(name: str, methods: Mapping[str, Method]) -> Method:
    """The method of that name. Raises ScoreError that lists the choices."""
    if name not in methods:
        raise unknown_choice("method", name, methods)
    return methods[name]
