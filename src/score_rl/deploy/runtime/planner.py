"""Decisions in a thread of their own, and which action of which chunk is due at a control step."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotReady
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from score_rl.contracts import Window
from score_rl.steering.policy import Decision

Decide = Callable[[Window, Tensor], Decision]
"""Chunks of one row: window {key: (1, frames, *shape)}, noise (1, l, w)."""

Continue = Callable[[Window, Tensor, Tensor], Decision]
"""The same, of chunks that go on from actions (1, r, a) that are under way."""

SupportScore = Callable[[Window, Decision], float]
"""How far a decision is from the demonstrations; larger is farther."""


@dataclass(frozen=True)
class Request:
    """What is decided on."""

    step: int
    """Actions that were sent before the window's newest frame: the place of the chunk's first action among them."""
    number: int
    """Number of the decision in its episode."""
    window: Window
    noise: Tensor
    running: Tensor | None = None
    """(1, r, a) actions that are under way, from the chunk's first action on, where it should go on from them."""
    base: bool = False
    """Asks the base policy, z ~ N(0, I), instead of the steered one."""


@dataclass(frozen=True)
class Plan:
    """A decision that was made."""

    request: Request
    chunk: NDArray[np.float32]
    """(h, a); row j is action number `request.step + j`."""
    support: float | None
    """Support score of a steered decision, where one is computed."""
    seconds: float
    """What it took."""


class Planner:
    """At most one decision at a time; the control loop waits for it as long as it likes and no longer."""

    def __init__(
        self,
        decide: Decide,
        base_decide: Decide,
        support: SupportScore | None = None,
        go_on: Continue | None = None,
    ) -> None:
        """go_on: what decides where a request says what is running."""
        self._decide, self._base, self._support, self._go_on = decide, base_decide, support, go_on
        self._pool = _one_thread()
        self._future: Future[Plan] | None = None
        self._running: Future[Plan] | None = None
        """The decision that was cancelled last; it may still be at work."""

    @property
    def busy(self) -> bool:
        """A decision was asked for and neither taken nor cancelled."""
        return self._future is not None

    def submit(self, request: Request) -> None:
        """Start a decision; `busy` must be False."""
        self._future = self._pool.submit(self._plan, request)

    def take(self, timeout_s: float | None) -> Plan | None:
        """The decision, or None where it is not there in time. Errors of the policy are raised here."""
        assert self._future is not None
        try:
            plan = self._future.result(timeout_s)
        except NotReady:
            if self._future.done():  # it is the policy's own
                raise
            return None
        self._future = None
        return plan

    def cancel(self) -> None:
        """Forget the decision that was asked for; a running one is finished and ignored."""
        if self._future is not None and not self._future.cancel():
            self._running = self._future
        self._future = None

    def abandon(self) -> None:
        """As `cancel`, and what is asked next does not wait for a decision that is still running: an episode is over,
        and the next one's first decision gets a thread of its own."""
        self.cancel()
        if self._running is not None and not self._running.done():
            self._pool.shutdown(wait=False)
            self._pool = _one_thread()
        self._running = None

    def close(self) -> None:
        """End the thread."""
        self.cancel()
        self._pool.shutdown(wait=False)

    def _plan(self, request: Request) -> Plan:
        began = time.perf_counter()
        if self._go_on is not None and request.running is not None and not request.base:
            decision = self._go_on(request.window, request.noise, request.running)
        else:
            decision = (self._base if request.base else self._decide)(request.window, request.noise)
        support = self._support(request.window, decision) if self._support and not request.base else None
        chunk = decision.chunk[0].cpu().numpy()
        return Plan(request, chunk, support, time.perf_counter() - began)


def _one_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="planner")


class Player:
    """Plays chunks, action after action: row j of a plan is action number `plan.request.step + j` of the episode.

    The number counts actions that were sent, not ticks of a clock. While the robot moves by a chunk both are the
    same. Where it had nothing to do (a decision is late, ticks were slept through) it stands, and the number with it:
    a chunk is entered where the robot is, however much time has passed since it was asked for.

    `execute_steps` rows of a chunk are meant to run. With a `lead` of d the next decision is asked for d actions
    before that, on the window of then, and its first d rows are skipped: those were sent by the time it takes over.
    Where it comes late, the rest of the old chunk (up to its horizon) bridges the gap.
    """

    def __init__(self, execute_steps: int, lead: int = 0) -> None:
        """lead: 0 to execute_steps - 1."""
        self.execute_steps, self.lead = execute_steps, lead
        self._plan: Plan | None = None
        self._fresh = False

    def drop(self) -> None:
        """Forget the plan: what follows needs a new decision."""
        self._plan = None

    def take(self, plan: Plan) -> None:
        """Change over to a new plan."""
        self._plan, self._fresh = plan, True

    def asks(self, step: int) -> bool:
        """A decision should be asked for before action number `step`."""
        return self._plan is None or step >= self._plan.request.step + self.execute_steps - self.lead

    def needs(self, step: int) -> bool:
        """A new plan should take over with action number `step`."""
        return self._plan is None or step >= self._plan.request.step + self.execute_steps

    def rest(self, step: int) -> Tensor | None:
        """Actions (1, r, a) of the plan from number `step` on; None where there are none."""
        rows = self._plan.chunk[step - self._plan.request.step :] if self._plan is not None else ()
        return torch.from_numpy(rows.copy())[None] if len(rows) else None

    def action(self, step: int) -> tuple[NDArray[np.float32] | None, bool]:
        """(action number `step`, whether it is the first of a plan); None where there is none left."""
        row = step - self._plan.request.step if self._plan is not None else -1
        if self._plan is None or not 0 <= row < len(self._plan.chunk):
            return None, False
        fresh, self._fresh = self._fresh, False
        return self._plan.chunk[row], fresh


def as_base(request: Request) -> Request:
    """The same decision, asked of the base policy, with the same noise."""
    return replace(request, base=True)
