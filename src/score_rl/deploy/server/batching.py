"""Decisions for several clients at once: what arrives within a few milliseconds shares one forward pass."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from score_rl.core.errors import ScoreError
from score_rl.deploy.server.session import Request, ServedPolicy

ROW_BLOCK = 8
"""Batches are filled up to a multiple of it. Matrix products add up in another order for one row than for many; with
whole blocks of rows the order stays the same, and an answer does not depend on who else is in the batch. A policy
that is asked in process for one row, without the filling, differs by the rounding of that other order."""


class Batcher:
    """One thread that decides; requests that arrive while it works make up the next batch.

    Rows are independent of each other: who else is in the batch changes no answer (see `ROW_BLOCK`), and a row whose
    decision fails takes no other down with it.
    """

    def __init__(self, policy: ServedPolicy, window_s: float, max_batch: int) -> None:
        """window_s: time that the first request of a batch waits for others. max_batch: rows that end the wait."""
        self._policy, self._window_s, self._max_batch = policy, window_s, max_batch
        self._queue: asyncio.Queue[tuple[Request, asyncio.Future[np.ndarray]]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="policy")
        self._task: asyncio.Task[None] | None = None
        self.companions = 1
        """How many clients could ask at this moment; one that is alone does not wait for others."""
        self.batches = self.rows = 0
        """Batches decided so far, and their rows."""

    def start(self) -> None:
        """Begin to decide; needs a running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Stop, once the batch that is being decided is done; whoever still waits is cancelled."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        while not self._queue.empty():
            self._queue.get_nowait()[1].cancel()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)

    async def decide(self, request: Request) -> np.ndarray:
        """Chunk (h, a) float32 of one request. Raises what the policy raised."""
        future: asyncio.Future[np.ndarray] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((request, future))
        return await future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [entry for entry in await self._collect() if not entry[1].done()]
            if not batch:
                continue
            try:
                requests = [request for request, _ in batch]
                answers = await loop.run_in_executor(self._thread, decide_rows, self._policy, requests)
            except asyncio.CancelledError:
                for _, future in batch:
                    future.cancel()
                raise
            self.batches, self.rows = self.batches + 1, self.rows + len(batch)
            for (_, future), answer in zip(batch, answers):
                if future.done():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    async def _collect(self) -> list[tuple[Request, asyncio.Future[np.ndarray]]]:
        """The next batch: waits for its first request, and then for the window."""
        batch = [await self._queue.get()]
        deadline = asyncio.get_running_loop().time() + self._window_s
        while len(batch) < self._max_batch:
            try:
                batch.append(self._queue.get_nowait())
                continue
            except asyncio.QueueEmpty:
                pass
            if len(batch) >= self.companions:
                break
            try:
                async with asyncio.timeout_at(deadline):
                    batch.append(await self._queue.get())
            except TimeoutError:
                break
        return batch


@torch.no_grad()
def decide_rows(policy: ServedPolicy, requests: Sequence[Request]) -> list[np.ndarray | Exception]:
    """Chunk (h, a) of every request, or the error of its own; a chunk that is not finite is an error."""
    try:
        rows = [*requests, *[requests[-1]] * (-len(requests) % ROW_BLOCK)]
        window = {key: torch.cat([row.window[key] for row in rows]) for key in policy.spec.policy.window}
        chunks = policy.decide(window, torch.cat([row.noise for row in rows])).chunk[: len(requests)].cpu().numpy()
    except Exception as error:
        if len(requests) == 1:
            return [error]
        return [answer for request in requests for answer in decide_rows(policy, [request])]
    error = ScoreError("the policy has no finite answer to this observation")
    return [chunk.astype(np.float32) if np.isfinite(chunk).all() else error for chunk in chunks]
