"""Execution of action chunks: one decision, `steps` control steps, nothing lost where an episode ends inside.

A decision is made at a window of frames; its chunk then runs open loop. Three rules decide everything here:

1. History is stacked at the control rate, one frame per control step, as in the demonstrations. Views have no
   history: they are looked at when a window is read, so once per decision.
2. A decision owns the steps up to and including the first `done` of its row: its reward is
   sum_j gamma^j r_j over those steps, its flags, final window and final observation are those of that step.
3. Where a row ends inside a chunk, the rest of the chunk is not sent to the next episode. The row runs a
   FILLER chunk of the base policy, or waits, until the next decision; filler steps are counted, but no decision owns
   them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from score_rl.contracts import (
    COMMAND,
    Accumulation,
    Frame,
    Observation,
    PolicySpec,
    StepResult,
    Window,
    World,
    WorldSpec,
)
from score_rl.core.errors import ScoreError
from score_rl.core.frames import only
from score_rl.core.interfaces import check_offer

Filler = Callable[[Window], Tensor]
"""Chunk (m, h, a) for the m rows of a window that has just started; h is at least the executed steps."""


def check_fit(policy: PolicySpec, world: WorldSpec, steps: int) -> None:
    """Raise ScoreError where a policy that runs `steps` actions of every chunk cannot act in a world."""
    check_offer(policy.interface, "the policy", world.interface, world.name)
    if not 1 <= steps <= policy.horizon:
        raise ScoreError(f"a chunk has {policy.horizon} actions, so 1 to {policy.horizon} can run, not {steps}")


def start_window(frame: Frame, keys: Iterable[str], frames: int) -> dict[str, Tensor]:
    """Window {key: (n, frames, *shape)} of an episode's first frame, which is repeated as padding."""
    return {key: frame[key].unsqueeze(1).repeat_interleave(frames, dim=1) for key in keys}


def advance_window(window: Window, *frames: Frame, fresh: Tensor | None = None) -> dict[str, Tensor]:
    """The window after further control steps, one frame each, a copy; rows in `fresh` (n,) bool start at the last."""
    moved = {}
    for key, past in window.items():
        newest = [frame[key] for frame in frames[-past.shape[1] :]]
        moved[key] = torch.cat((past[:, len(newest) :], torch.stack(newest, dim=1)), dim=1)
        if fresh is not None:
            moved[key][fresh] = newest[-1][fresh].unsqueeze(1)
    return moved


@dataclass(frozen=True)
class ChunkResult:
    """What became of one decision, per row (environment)."""

    reward: Tensor
    """(n,) sum over the decision's steps j of gamma^j r_j; no bootstrap is included."""
    steps: Tensor
    """(n,) int64, control steps that belong to the decision, 1 to k."""
    terminated: Tensor
    """(n,) bool, the decision's episode ended by its own rules."""
    truncated: Tensor
    """(n,) bool, the decision's episode was cut by the time limit and did not terminate at that step."""
    success: Tensor
    """(n,) bool, success held after the decision's last step."""
    jump: Tensor
    """(n,) largest change of an action dimension between the last action sent before this chunk and its first,
    in action units; 0 where an episode starts with this chunk."""
    final_window: Window
    """{key: (n, frames, *shape)} where the decision ended: before any reset; without views."""
    final_observation: Observation
    """Observation where the decision ended: before any reset. The value of a truncated row is taken here."""
    info: Mapping[str, Tensor] = field(default_factory=dict)
    """Every (n,) entry of the world's info over the decision's steps, by the rule in `WorldSpec.info`: its largest
    value (bool: any), mean or sum."""

    @property
    def done(self) -> Tensor:
        """(n,) bool, the decision's episode ended."""
        return self.terminated | self.truncated


@dataclass(frozen=True)
class Episode:
    """One finished episode, filler steps included: what physically happened."""

    env: int
    """Row of the environment."""
    index: int
    """0 for the first episode since the reset, 1 for the next, ..."""
    steps: int
    """Control steps from the reset to the end."""
    filler_steps: int
    """Steps of these that ran a filler chunk; 0 for index 0."""
    reward: float
    """Undiscounted sum of rewards."""
    success_end: bool
    """Success held in the last state."""
    success_ever: bool
    """Success held at some step."""
    steps_to_success: int | None
    """Control steps until success first held; None where it never did."""
    terminated: bool
    """Ended by its own rules."""
    truncated: bool
    """Cut by the time limit."""
    max_jump: float
    """Largest jump between two consecutive chunks, in action units."""
    info: Mapping[str, float]
    """Every (n,) entry of the world's info over the episode, by the rule in `WorldSpec.info`, e.g. the largest
    `peak_force_n`; a bool counts as 0 or 1."""


class ChunkRunner:
    """Runs chunks in a world and keeps what the next decision needs: the window and the observation.

    >>> runner = ChunkRunner(world, policy.spec, steps=8, filler=base_chunk)                  # doctest: +SKIP
    >>> runner.start(seeds)                                                                   # doctest: +SKIP
    >>> result = runner.execute(policy.decode(policy.encode(runner.window), latent))          # doctest: +SKIP
    """

    observation: Observation
    """The newest observation (of the next episode where one has just ended)."""

    def __init__(
        self, world: World, policy: PolicySpec, steps: int, filler: Filler | None, gamma: float = 1.0
    ) -> None:
        """Prepare to run `steps` control steps of every chunk of a policy; `gamma` discounts per control step.

        filler: None for rows that wait, repeating the world's `command`, until the next decision.

        Raises ScoreError where policy and world do not fit, or for settings out of range.
        """
        check_fit(policy, world.spec, steps)
        if filler is None and COMMAND not in world.spec.interface.observation:
            raise ScoreError(f"{world.spec.name} does not show {COMMAND!r}, which rows without a filler would repeat")
        if not 0.0 <= gamma <= 1.0:
            raise ScoreError(f"need gamma in [0, 1], got {gamma}")
        self.world, self.policy, self.steps, self.gamma, self.filler = world, policy, steps, gamma, filler
        self._keys, self._views = tuple(policy.interface.observation), tuple(policy.interface.views)
        self._low = torch.tensor(world.spec.action_low, device=world.spec.device)
        self._high = torch.tensor(world.spec.action_high, device=world.spec.device)
        self._episodes = _EpisodeLog(world.spec)

    def start(self, seeds: Sequence[int]) -> None:
        """Reset the world; every row starts its episode 0. Unfinished episodes are forgotten."""
        spec = self.world.spec
        self.observation = self.world.reset(seeds)
        self._past = start_window(self.observation.actor, self._keys, self.policy.history)
        self._looks: dict[str, Tensor] | None = None
        self._last_action = torch.zeros(spec.num_envs, len(self._low), device=spec.device)
        self._fresh = torch.ones(spec.num_envs, dtype=torch.bool, device=spec.device)
        self._episodes = _EpisodeLog(spec)

    @property
    def window(self) -> dict[str, Tensor]:
        """What the next decision reads (see `contracts.Window`); the first reading looks at the views."""
        if self._looks is None:
            self._looks = self._look()
        return self._past | self._looks

    def take_episodes(self) -> list[Episode]:
        """Episodes that ended since the last call, in the order of their end."""
        finished, self._episodes.finished = self._episodes.finished, []
        return finished

    def execute(self, chunk: Tensor) -> ChunkResult:
        """Run the first `steps` actions of every row's chunk (n, h, a), in physical units.

        Raises ScoreError for a wrong shape and passes on the world's ValueError for non-finite actions.
        """
        n, action_dim = self._last_action.shape
        if chunk.ndim != 3 or chunk.shape[0] != n or chunk.shape[1] < self.steps or chunk.shape[2] != action_dim:
            raise ScoreError(f"chunk has shape {tuple(chunk.shape)}, expected ({n}, >= {self.steps}, {action_dim})")
        plan = self._clip(chunk)
        jump = (plan[:, 0] - self._last_action).abs().amax(dim=1).masked_fill(self._fresh, 0.0)
        self._episodes.add_jump(jump)
        tally, span = _Tally(n, plan.device, self.world.spec.info), []
        for j in range(self.steps):
            result = self.world.step(plan[:, j])
            span.append(result)
            done = result.done
            ends = bool(done.any())
            if ends or j + 1 == self.steps:
                self._account(span, j, tally, done if ends else None)
                span = []
            if ends and j + 1 < self.steps:
                plan[done, j + 1 :] = self._filling(result.observation, done)[:, : self.steps - 1 - j]
        self.observation, self._looks = result.observation, None
        self._last_action, self._fresh = plan[:, -1], done
        return tally.result(jump, self._past, self.observation)

    def _filling(self, observation: Observation, rows: Tensor) -> Tensor:
        """Chunk (m, steps, a), clipped, of `rows` (n,) bool whose next episode begins inside a chunk."""
        if self.filler is None:
            return self._clip(observation.actor[COMMAND][rows].unsqueeze(1).expand(-1, self.steps, -1))
        started = {key: past[rows] for key, past in self._past.items()}
        return self._clip(self.filler(started | self._look(rows.nonzero().flatten())))

    def _look(self, rows: Tensor | None = None) -> dict[str, Tensor]:
        """The views of the present state as windows of one frame."""
        seen = self.world.look(self._views, rows) if self._views else {}
        return {key: seen[key].unsqueeze(1) for key in self._views}

    def _account(self, span: Sequence[StepResult], j: int, tally: _Tally, done: Tensor | None) -> None:
        """Add up the steps of a span, the last of which is step j of the chunk, and move the past over them.

        done (n,): rows whose episode ended at the last step, None where there are none. Within a span every row
        stays in its episode, so that its steps are added up together.
        """
        steps, last = _Span(span), span[-1]
        discounts = [self.gamma**i for i in range(j + 1 - len(span), j + 1)]
        self._episodes.add(steps, filler=~tally.alive)
        tally.add(steps, discounts)
        frames = [step.observation.actor for step in span]
        if done is not None:
            tally.close(last, advance_window(self._past, *frames[:-1], last.final_observation.actor))
            self._episodes.close(last, done)
        self._past = advance_window(self._past, *frames, fresh=done)

    def _clip(self, chunk: Tensor) -> Tensor:
        """The actions as the world will send them (it clips too; jumps are measured on these)."""
        return torch.clamp(chunk[:, : self.steps], self._low, self._high)


class _Span:
    """Consecutive control steps (m of them) in which every row stays in one episode."""

    def __init__(self, steps: Sequence[StepResult]) -> None:
        self.length = len(steps)
        self.reward = torch.stack([step.reward for step in steps])
        """(m, n)"""
        self.success = torch.stack([step.success for step in steps])
        """(m, n)"""
        names = dict.fromkeys(key for step in steps for key, value in step.info.items() if value.ndim == 1)
        self.info = {key: torch.stack([step.info[key] for step in steps if key in step.info]) for key in names}
        """Entry -> (m, n)"""


def _added(total: Tensor, terms: Tensor) -> Tensor:
    """total + terms[0] + terms[1] + ..., in this order: the sum does not depend on how steps fall into spans."""
    for term in terms.unbind():
        total = total + term
    return total


class _InfoTotals:
    """Running totals of the (n,) entries of a world's info, each by its rule."""

    def __init__(self, rules: Mapping[str, Accumulation]) -> None:
        self._rules = rules
        self._totals: dict[str, Tensor] = {}

    def add(self, span: _Span, rows: Tensor | None = None) -> None:
        """Add the control steps of a span, of `rows` (n,) bool only where they are given."""
        for key, values in span.info.items():
            values, old = values.float(), self._totals.get(key)
            if self._rule(key) == "max":
                new = values.amax(dim=0) if old is None else torch.maximum(old, values.amax(dim=0))
            else:
                new = _added(values[0], values[1:]) if old is None else _added(old, values)
            self._totals[key] = new if rows is None or old is None else torch.where(rows, new, old)

    def values(self, steps: Tensor) -> dict[str, Tensor]:
        """Entry -> (n,) over the `steps` (n,) that were added."""
        return {
            key: total / steps.clamp_min(1) if self._rule(key) == "mean" else total
            for key, total in self._totals.items()
        }

    def restart(self, rows: list[int]) -> None:
        """Forget what was added in some rows."""
        for key, total in self._totals.items():
            total = total.clone()  # it may still be part of a result
            total[rows] = -torch.inf if self._rule(key) == "max" else 0.0
            self._totals[key] = total

    def _rule(self, key: str) -> Accumulation:
        return self._rules.get(key, "max")


class _Tally:
    """Sums over the steps that belong to the decision of each row."""

    def __init__(self, n: int, device: torch.device, rules: Mapping[str, Accumulation]) -> None:
        self.alive = torch.ones(n, dtype=torch.bool, device=device)
        """Rows still in the episode that the decision was made in."""
        self.reward = torch.zeros(n, device=device)
        self.steps = torch.zeros(n, dtype=torch.int64, device=device)
        self.terminated, self.truncated, self.success = torch.zeros(3, n, dtype=torch.bool, device=device)
        self.info = _InfoTotals(rules)
        self.final: tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]] | None = None

    def add(self, span: _Span, discounts: Sequence[float]) -> None:
        weights = torch.tensor(discounts, device=self.reward.device)
        self.reward = _added(self.reward, torch.where(self.alive, span.reward, 0.0) * weights.unsqueeze(1))
        self.steps += span.length * self.alive
        self.success = torch.where(self.alive, span.success[-1], self.success)
        self.info.add(span, None if self.final is None else self.alive)

    def close(self, result: StepResult, ending: dict[str, Tensor]) -> None:
        """Note the ends of this step; `ending` is the window that holds the final frames."""
        rows = self.alive & result.done
        self.terminated |= rows & result.terminated
        self.truncated |= rows & result.truncated & ~result.terminated
        self.alive &= ~rows
        groups = (ending, dict(result.final_observation.actor), only(result.final_observation.critic, rows))
        self.final = groups if self.final is None else _choose(rows, groups, self.final)

    def result(self, jump: Tensor, window: dict[str, Tensor], observation: Observation) -> ChunkResult:
        if self.final is not None:
            now = (window, dict(observation.actor), dict(observation.critic))
            window, actor, critic = _choose(self.alive, now, self.final)
            observation = Observation(actor, critic)
        return ChunkResult(
            reward=self.reward,
            steps=self.steps,
            terminated=self.terminated,
            truncated=self.truncated,
            success=self.success,
            jump=jump,
            final_window=window,
            final_observation=observation,
            info=self.info.values(self.steps),
        )


class _EpisodeLog:
    """Sums over episodes, all steps included; turns them into `Episode`s where they end."""

    def __init__(self, world: WorldSpec) -> None:
        n, device = world.num_envs, world.device
        self.index, self.steps, self.filler, self.first = torch.zeros(4, n, dtype=torch.int64, device=device)
        self.reward, self.jump = torch.zeros(2, n, device=device)
        self.info = _InfoTotals(world.info)
        self.finished: list[Episode] = []

    def add_jump(self, jump: Tensor) -> None:
        self.jump = torch.maximum(self.jump, jump)

    def add(self, span: _Span, filler: Tensor) -> None:
        reached = span.success.any(dim=0) & (self.first == 0)  # 0: not yet
        self.first = torch.where(reached, self.steps + 1 + span.success.int().argmax(dim=0), self.first)
        self.steps += span.length
        self.filler += span.length * filler
        self.reward = _added(self.reward, span.reward)
        self.info.add(span)

    def close(self, result: StepResult, done: Tensor) -> None:
        """Turn the episodes that ended with this step into records, and start anew in their rows."""
        rows = done.nonzero().flatten().tolist()
        columns = {
            "env": torch.arange(len(done)),
            "index": self.index,
            "steps": self.steps,
            "filler_steps": self.filler,
            "reward": self.reward,
            "success_end": result.success,
            "success_ever": self.first > 0,
            "steps_to_success": self.first,
            "terminated": result.terminated,
            "truncated": result.truncated & ~result.terminated,
            "max_jump": self.jump,
        }
        records = _records(columns, rows)
        infos = _records(self.info.values(self.steps), rows)
        for record, info in zip(records, infos):
            record["steps_to_success"] = record["steps_to_success"] or None
            self.finished.append(Episode(**record, info=info))
        self.index += done
        for values in (self.steps, self.filler, self.first, self.reward, self.jump):
            values[rows] = 0
        self.info.restart(rows)


def _records(columns: Mapping[str, Tensor], rows: list[int]) -> list[dict[str, Any]]:
    """One {name: number} per row of columns {name: (n,)}."""
    picked = {name: values[rows].tolist() for name, values in columns.items()}
    return [dict(zip(picked, numbers)) for numbers in zip(*picked.values())] if picked else [{} for _ in rows]


def _choose(rows: Tensor, ours: tuple[dict, ...], others: tuple[dict, ...]) -> tuple[dict[str, Tensor], ...]:
    """Group by group and key by key: our values in `rows` (n,) bool, the others elsewhere."""

    def mixed(one: Tensor, other: Tensor) -> Tensor:
        return torch.where(rows.view(-1, *[1] * (one.ndim - 1)), one, other)

    return tuple({key: mixed(one[key], other[key]) for key in one} for one, other in zip(ours, others))
