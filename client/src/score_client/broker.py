"""Execution of chunks: one action per control step, from a policy that answers with many.

A chunk that was asked for at control step s holds an action for each of the steps s, s + 1, ..., s + h - 1. The next
one is asked for `execute_steps` later. With `lead_steps` = 0 the robot waits for it, as in training. With
`lead_steps` = L it is asked for in the background and takes over L steps later, at its own action number L; until
then the chunk before goes on. An answer that comes later still takes over then; one that does not come at all is
asked for again, for as long as the chunk before lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from score_client.interface import Answer, PolicyUnavailable

if TYPE_CHECKING:  # a policy in this process needs no network
    from score_client.client import PolicyClient
    from score_client.onnx_policy import OnnxPolicy

Look = Callable[[Sequence[str]], Mapping[str, np.ndarray]]
"""Views -> what they show now."""


class ChunkBroker:
    """Turns frames into actions, one each per control step."""

    def __init__(
        self,
        client: PolicyClient | OnnxPolicy,
        execute_steps: int | None = None,
        lead_steps: int = 0,
        look: Look | None = None,
    ) -> None:
        """execute_steps: control steps between two decisions; None: as in training. look: views -> {key: (*shape)} as
        they are now, asked once per decision; needed where the policy reads views.

        Connects, where that has not been done. Raises ValueError where the chunk is too short for both together, or
        where `look` is missing.
        """
        metadata = client.connect()
        self._views, self._look = tuple(metadata.interface.views), look
        if self._views and look is None:
            raise ValueError(f"the policy looks at {', '.join(self._views)}: pass look=(keys) -> arrays")
        self.client, self.lead_steps = client, lead_steps
        self.execute_steps = metadata.execute_steps if execute_steps is None else execute_steps
        if self.execute_steps < 1 or lead_steps < 0 or self.execute_steps + lead_steps > metadata.horizon:
            raise ValueError(
                f"a chunk has {metadata.horizon} actions: not enough for execute_steps {self.execute_steps} "
                f"and lead_steps {lead_steps}"
            )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="score-client") if lead_steps else None
        self._pending: tuple[int, Future[Answer]] | None = None
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """An episode starts; see `PolicyClient.reset`."""
        self._settle()
        self.client.reset(seed)
        self._step = -1
        self._asked_at, self._actions = 0, None
        self.last: Answer | None = None
        """The decision that is being carried out."""

    def act(self, frame: Mapping[str, np.ndarray]) -> np.ndarray:
        """Action (a,) float32 for the control step of this frame {key: (*shape)}; call it at every control step.

        Raises PolicyUnavailable and PolicyRefused as `PolicyClient.decide` does; the next call asks anew. Also call
        it (or `client.observe`) while the robot holds, so that the history stays one frame per step.
        """
        self.client.observe(frame)
        self._step += 1
        if self._pending is not None:
            self._take_over()
        if self._exhausted() or (self._thread is None and self._age() >= self.execute_steps):
            # The old chunk goes first, so that a failure leaves none that is out of date.
            self._actions = None
            self._adopt(self._step, self.client.decide(views=self._seen()))
        elif self._thread is not None and self._pending is None and self._age() >= self.execute_steps:
            self._pending = (self._step, self._thread.submit(self.client.exchange, self.client.request(self._seen())))
        return self._actions[self._age()]

    def close(self) -> None:
        """End the background thread. The client stays open."""
        self._settle()
        if self._thread is not None:
            self._thread.shutdown()

    def _seen(self) -> Mapping[str, np.ndarray] | None:
        """The views of now."""
        return self._look(self._views) if self._look is not None and self._views else None

    def _age(self) -> int:
        """Number, in its chunk, of the action for the current step."""
        return self._step - self._asked_at

    def _exhausted(self) -> bool:
        """Whether the current chunk has no action for the current step."""
        return self._actions is None or self._age() >= len(self._actions)

    def _take_over(self) -> None:
        """Carry out the chunk that was asked for in the background, if its time has come and it is there.

        Where the current chunk has come to its end, this waits. An answer that failed to come is asked for again.
        """
        asked_at, future = self._pending
        due = self._step >= asked_at + self.lead_steps
        if not self._exhausted() and not (due and future.done()):
            return
        self._pending = None
        try:
            self._adopt(asked_at, future.result())
        except PolicyUnavailable:
            if self._exhausted():
                raise

    def _adopt(self, asked_at: int, answer: Answer) -> None:
        self._asked_at, self._actions, self.last = asked_at, answer.actions, answer

    def _settle(self) -> None:
        """Wait for a question that is still on its way; its answer is no longer wanted."""
        if self._pending is not None:
            self._pending[1].exception()
            self._pending = None
