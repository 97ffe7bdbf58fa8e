"""`rialto`: imitate the base policy's successes in the twin, improve on them by RL, distil that into a new flow.

    1  collect   the base policy decides; the decisions of its successful episodes are the demonstrations
    2  improve   a Gaussian over normalised chunks is cloned from these, then trained by PPO's loss
                 + coefficient * mean | mean(s) - demonstrated |^2; it may read the simulator's state
    3  distil    the Gaussian's mean decides; a new flow policy, which reads what the robot sees, is trained on its
                 successes by flow matching, and is what is deployed

All roll-outs count as control steps: the phases are shares of the same budget.

Source: Torne et al. 2024, "Reconciling Reality through Simulation" (RialTo, arXiv 2403.03949), in the form that
SCORE's paper compares with: the inverse distillation starts from roll-outs of the base policy, and the student is a
flow policy. Ours: one teacher decision is a chunk (its modes are --learner.latent's), as for every method here; the
student keeps the base policy's normalisers, encoders and architecture; the weights of its velocity network are new.
Encoders that are learned, of point clouds say, stay as the base policy has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from torch import Tensor, nn

from score_rl.contracts import Context, FlowPolicy, PlainContext, PolicySpec, Window
from score_rl.core import ranks
from score_rl.core.arrays import blank_window
from score_rl.core.checkpoints import joined, load_module, take_prefix, with_prefix
from score_rl.core.chunks import ChunkResult
from score_rl.core.errors import ScoreError
from score_rl.core.normalization import Affine, standard
from score_rl.core.ranges import Count, NonNegative, Positive, Range
from score_rl.steering.latent import LatentMap
from score_rl.steering.learning import Sizes, gradient_step
from score_rl.steering.method import Learns, Method, Observes, SteeringSpec
from score_rl.steering.networks import GaussianActor
from score_rl.steering.own_flow import check_trainable, chunk_head, own_flow, sample
from score_rl.steering.penalties import Penalty
from score_rl.steering.rollouts import decided_success

if TYPE_CHECKING:
    from score_rl.steering.ppo import PPOConfig

Phase = Literal["collect", "improve", "distil"]

_LIMIT = 10.0
"""Largest normalised input of the teacher."""


@dataclass(frozen=True)
class RialtoConfig:
    """The three phases."""

    collect_share: Annotated[float, Range(0, 1, open="low")] = 0.1
    """Share of the iterations in which the base policy decides."""
    distil_share: Annotated[float, Range(0, 1, open="low")] = 0.1
    """Share of the iterations, the last ones, in which the teacher's mean decides."""
    teacher: Observes = "privileged"
    """What the teacher reads: the simulator's state, or (actor) what the robot sees."""
    std: Positive = 0.3
    """Standard deviation of the teacher when PPO begins, in normalised actions."""
    coefficient: NonNegative = 10.0
    """Weight of the cloning loss beside PPO's."""
    clone_steps: Count = 2000
    """Gradient steps of cloning before PPO."""
    distil_steps: Count = 4000
    """Gradient steps of flow matching at the end, with a step size that falls to 0 as a cosine."""
    learning_rate: Positive = 1e-3
    """Adam step size of cloning and (at first) of distilling."""
    batch: Count = 256
    """Decisions per gradient step of cloning, of its penalty and of distilling."""


@dataclass
class Lessons:
    """Decisions of successful episodes, n together."""

    tensors: dict[str, Tensor]
    """`features` (n, c) of contexts, `critic` (n, p), normalised chunks `x` (n, h, a), `window.KEY` of windows."""

    @classmethod
    def none(cls, sizes: Sizes, policy: PolicySpec, device: str) -> Lessons:
        """An empty set."""
        widths = {"features": (sizes.context,), "critic": (sizes.critic,), "x": policy.chunk_shape}
        empty = {name: torch.zeros(0, *width, device=device) for name, width in widths.items()}
        return cls(empty | with_prefix("window", blank_window(policy, 0, device)))

    def add(self, rollout: Sequence[Mapping[str, Tensor]]) -> None:
        """Add the decisions of a rollout whose episodes ended in success within it."""
        won = successful(torch.stack([s["done"] for s in rollout]), torch.stack([s["success"] for s in rollout]))
        for name, old in self.tensors.items():
            self.tensors[name] = torch.cat((old, *(step[name][rows] for step, rows in zip(rollout, won))))

    def window(self, rows: Tensor) -> dict[str, Tensor]:
        """Windows of the rows (m,)."""
        return {key: values[rows] for key, values in take_prefix("window", self.tensors).items()}

    def __len__(self) -> int:
        return len(self.tensors["x"])


def successful(done: Tensor, success: Tensor) -> Tensor:
    """(T, n) bool: the decision belongs to an episode that ended in success later in the rollout, or with it."""
    following, found = torch.zeros_like(done[0]), []
    for ended, won in zip(done.flip(0), success.flip(0)):
        following = torch.where(ended, won, following)
        found.append(following)
    return torch.stack(found[::-1])


class RialtoLearner:
    """The three phases as one learner; the counterpart of `steering.ppo.Learner`."""

    def __init__(self, sizes: Sizes, ppo: PPOConfig, policy: FlowPolicy, spec: SteeringSpec, device: str) -> None:
        """Initial weights come from torch's global generator. Raises ScoreError for a budget without three phases."""
        from score_rl.steering.ppo import Learner  # a robot decides without what learns

        self.policy, self.spec, self.device, self.config = policy, spec, device, spec.own(RialtoConfig)
        self.collecting, self.distilling = phase_lengths(self.config, sizes.iterations)
        self.last = sizes.iterations
        self.modes = LatentMap(spec.latent, spec.chunk_shape, device)
        self.demonstrations, self.lessons = (Lessons.none(sizes, policy.spec, device) for _ in range(2))
        width = sizes.critic if self.config.teacher == "privileged" else sizes.context
        self.inputs = Affine(torch.zeros(width), torch.ones(width)).to(device)
        penalties = (Penalty("bc_loss", self.config.coefficient, lambda actor, policy: self._cloning_loss(actor)),)
        self.teacher = Learner(self._teachers(sizes), ppo, spec.execute_steps, penalties, device)
        self.teacher.actor.set_std(self.config.std)
        self.actor: nn.Module = policy.fresh().to(device)
        self.iteration = 0
        self._rollout: list[dict[str, Tensor]] = []

    @property
    def phase(self) -> Phase:
        """Of the present iteration."""
        if self.iteration < self.collecting:
            return "collect"
        return "improve" if self.iteration < self.last - self.distilling else "distil"

    def resize(self, sizes: Sizes) -> None:
        """See `steering.method.Learns`."""
        self.teacher.resize(self._teachers(sizes))
        self._rollout = []

    @torch.no_grad()
    def act(self, context: Context, critic: Tensor, window: Window | None = None) -> Tensor:
        """Normalised chunks (n, h a) of whoever decides in this phase."""
        read = self._read(context.features, critic)
        if self.phase == "collect":
            x = sample(self.policy, context, self.spec.latent.bound)
        elif self.phase == "improve":
            x = self.modes.expand(self.teacher.act(PlainContext(read), critic))
        else:
            x = self.modes.expand(self.teacher.actor.mean_std(read)[0])
        self._step = {"features": context.features, "critic": critic, "x": x, **with_prefix("window", window)}
        return x.flatten(1)

    def record(self, result: ChunkResult, final_critic: Tensor) -> None:
        """See `steering.method.Learns`."""
        if self.phase == "improve":
            self.teacher.record(result, final_critic)
        else:
            self._rollout.append(self._step | {"done": result.done, "success": decided_success(result)})

    def update(self, last_critic: Tensor, elapsed: float = 0.0) -> dict[str, float]:
        """See `steering.method.Learns`."""
        phase, metrics = self.phase, {}
        if phase == "collect":
            self.demonstrations.add(self._rollout)
            if self.iteration + 1 == self.collecting:
                metrics = self._clone()
        elif phase == "improve":
            metrics = self.teacher.update(last_critic, elapsed)
        else:
            self.lessons.add(self._rollout)
        self._rollout = []
        self.iteration += 1
        return metrics | {"demonstrations": len(self.demonstrations), "lessons": len(self.lessons)}

    def distil(self) -> dict[str, float]:
        """Train the new flow on the teacher's successes; on the base policy's where the teacher never succeeded."""
        taught = self.lessons if len(self.lessons) else self.demonstrations
        if not len(taught):
            return {"distilled": 0}
        self.actor.requires_grad_(True)
        optimizer = torch.optim.AdamW(self.actor.parameters(), lr=self.config.learning_rate, weight_decay=1e-6)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.config.distil_steps)
        for _ in range(self.config.distil_steps):
            rows = self._rows(len(taught))
            x, context = taught.tensors["x"][rows], self.actor.encode(taught.window(rows))
            noise, t = torch.randn_like(x), torch.rand(len(rows), device=self.device)
            loss = self.actor.matching_error(context, x, noise, t).mean()
            gradient_step(optimizer, loss, (self.actor,), 1.0)
            schedule.step()
        return {"distilled": len(taught), "distilled_from_teacher": bool(len(self.lessons))}

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `steering.method.Learns`; the student's weights are those of the start until `distil`."""
        teacher, settings = self.teacher.state()
        parts = {"teacher": teacher, "student": self.actor.state_dict(), "inputs": self.inputs.state_dict()}
        parts |= {"demonstrations": self.demonstrations.tensors, "lessons": self.lessons.tensors}
        return joined(**parts), {"teacher": settings, "iteration": self.iteration}

    def load_state(self, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], source: object) -> None:
        """See `steering.method.Learns`."""
        self.teacher.load_state(take_prefix("teacher", tensors), settings["teacher"], source)
        load_module(self.actor, take_prefix("student", tensors), source)
        load_module(self.inputs, take_prefix("inputs", tensors), source)
        for name, lessons in (("demonstrations", self.demonstrations), ("lessons", self.lessons)):
            kept = take_prefix(name, tensors)
            if kept.keys() != lessons.tensors.keys():
                raise ScoreError(f"{source}: the {name} of earlier iterations are incomplete")
            lessons.tensors = {key: value.to(self.device) for key, value in kept.items()}
        self.iteration = settings["iteration"]

    def _teachers(self, sizes: Sizes) -> Sizes:
        """The teacher's own sizes: it chooses modes of a chunk."""
        return replace(sizes, context=len(self.inputs.offset), action=self.modes.dim)

    def _read(self, features: Tensor, critic: Tensor) -> Tensor:
        """What the teacher reads."""
        return self.inputs(critic if self.config.teacher == "privileged" else features).clamp(-_LIMIT, _LIMIT)

    def _clone(self) -> dict[str, float]:
        """Fit the teacher's inputs and mean to the demonstrations."""
        shown = self.demonstrations
        if not len(shown):
            return {"bc_loss": float("nan")}
        read = shown.tensors["critic" if self.config.teacher == "privileged" else "features"]
        self.inputs.load_state_dict(standard(read, floor=1e-6).state_dict())
        optimizer = torch.optim.Adam(self.teacher.actor.parameters(), lr=self.config.learning_rate)
        for _ in range(self.config.clone_steps):
            loss = self._cloning_loss(self.teacher.actor).mean()
            gradient_step(optimizer, loss, (self.teacher.actor,), 1.0)
        return {"bc_loss": float(loss.detach())}

    def _cloning_loss(self, actor: GaussianActor) -> Tensor:
        """Squared error (m,) of the teacher's mean on a minibatch of demonstrations; 0 without any."""
        shown = self.demonstrations
        if not len(shown):
            return torch.zeros(1, device=self.device)
        rows = self._rows(len(shown))
        features, critic, x = (shown.tensors[name][rows] for name in ("features", "critic", "x"))
        mean = actor.mean_std(self._read(features, critic))[0]
        return (mean - self.modes.coordinates(x)).square().mean(dim=1)

    def _rows(self, n: int) -> Tensor:
        return torch.randint(n, (self.config.batch,), device=self.device)


def phase_lengths(config: RialtoConfig, iterations: int) -> tuple[int, int]:
    """Iterations of the first and of the last phase, at least one each and one between. Raises ScoreError."""
    first = max(1, round(config.collect_share * iterations))
    last = max(1, round(config.distil_share * iterations))
    if first + last >= iterations:
        raise ScoreError(
            f"rialto needs iterations to collect ({first}), to improve and to distil ({last}), but the budget has "
            f"{iterations} in all: give more --control-steps or smaller shares"
        )
    return first, last


def _learner(sizes: Sizes, ppo: PPOConfig, policy: FlowPolicy, spec: SteeringSpec, device: str) -> RialtoLearner:
    if ranks.launched() > 1:
        raise ScoreError("rialto learns in one process, without torchrun: its lessons are not shared among ranks")
    return RialtoLearner(sizes, ppo, policy, spec, device)


def _finish(learner: Learns) -> dict[str, float]:
    return learner.distil()


def _check(policy: FlowPolicy, spec: SteeringSpec, demonstrations: bool) -> None:
    check_trainable(policy, "fresh")
    spec.own(RialtoConfig)


RIALTO = Method(
    "rialto", make_head=chunk_head, check=_check, make_learner=_learner, make_trained=own_flow, finish=_finish
)
