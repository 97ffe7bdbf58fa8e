"""Decisions together: rows do not depend on each other, in values and in failures."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import torch
from served import NetworkServed, ToyServed

from score_rl.core.errors import ScoreError
from score_rl.deploy.server.batching import ROW_BLOCK, Batcher, decide_rows
from score_rl.deploy.server.session import Request


def request(value: float) -> Request:
    state = torch.tensor([[[value, 0.0], [value + 1, 0.0]]])
    return Request({"state": state, "command": torch.zeros(1, 2, 1)}, torch.zeros(1, 4, 2))


def together(policy: ToyServed, values: list[float], window_s: float = 0.2, max_batch: int = 32) -> list[object]:
    """What as many clients get that ask at the same moment: chunks or errors."""

    async def run() -> list[object]:
        batcher = Batcher(policy, window_s, max_batch)
        batcher.companions = len(values)
        batcher.start()
        try:
            return await asyncio.gather(*(batcher.decide(request(v)) for v in values), return_exceptions=True)
        finally:
            await batcher.stop()

    return asyncio.run(run())


def test_everybody_gets_their_own_chunk_from_one_batch() -> None:
    policy = ToyServed()
    chunks = together(policy, [0.0, 100.0, 200.0])
    assert policy.batches == [ROW_BLOCK]
    for value, chunk in zip([0.0, 100.0, 200.0], chunks):
        # Newest state value + 1, ten more per step; oldest state value.
        np.testing.assert_array_equal(chunk, [[value + 1 + 10 * j, value] for j in range(4)])
        assert chunk.dtype == np.float32


def test_a_full_batch_does_not_wait_and_the_rest_come_next() -> None:
    policy = ToyServed()
    chunks = together(policy, [float(v) for v in range(20)], window_s=60.0, max_batch=10)
    assert policy.batches == [16, 16]
    assert [chunk[0, 1] for chunk in chunks] == list(range(20))


def test_who_is_alone_does_not_wait() -> None:
    assert together(ToyServed(), [1.0], window_s=60.0)[0][0, 0] == 2


@pytest.mark.filterwarnings("ignore")
def test_a_row_that_fails_takes_no_other_down() -> None:
    policy = ToyServed()
    policy.fails_at = 8.0
    good, bad, other = together(policy, [1.0, 7.0, 2.0])
    assert good[0, 0] == 2 and other[0, 0] == 3
    assert isinstance(bad, RuntimeError)
    (not_finite,) = decide_rows(ToyServed(), [request(float("nan"))])
    assert isinstance(not_finite, ScoreError)


async def first_of_several(policy: ToyServed, batcher: Batcher, values: list[float]) -> list[asyncio.Task]:
    """Calls of which the first is being decided, until the policy's gate opens."""
    policy.gate.clear()
    batcher.start()
    calls = [asyncio.create_task(batcher.decide(request(value))) for value in values]
    await asyncio.to_thread(policy.entered.wait, 60)
    return calls


def test_who_gives_up_is_not_decided_for() -> None:
    async def run() -> list[int]:
        policy = ToyServed()
        batcher = Batcher(policy, 0.0, 1)
        calls = await first_of_several(policy, batcher, [1.0, 2.0, 3.0])
        calls[1].cancel()
        await asyncio.sleep(0)
        policy.gate.set()
        assert (await calls[2])[0, 0] == 4
        await batcher.stop()
        return policy.batches

    assert len(asyncio.run(run())) == 2


def test_stopping_cancels_who_still_waits() -> None:
    async def run() -> list[object]:
        policy = ToyServed()
        batcher = Batcher(policy, 0.0, 1)
        calls = await first_of_several(policy, batcher, [1.0, 2.0])
        stop = asyncio.create_task(batcher.stop())
        results = await asyncio.gather(*calls, return_exceptions=True)
        policy.gate.set()
        await stop
        return results

    assert all(isinstance(result, asyncio.CancelledError) for result in asyncio.run(run()))


def test_answers_of_a_network_do_not_depend_on_the_company() -> None:
    policy = NetworkServed()
    generator = torch.Generator().manual_seed(0)
    requests = [
        Request(
            {k: torch.randn(1, *a.shape, generator=generator) for k, a in policy.spec.policy.window.items()},
            torch.randn(1, 4, 2, generator=generator),
        )
        for _ in range(40)
    ]
    alone = np.stack([decide_rows(policy, [one])[0] for one in requests])
    for size in (2, 3, 8, 20, 40):
        batched = [c for start in range(0, 40, size) for c in decide_rows(policy, requests[start : start + size])]
        np.testing.assert_allclose(np.stack(batched), alone, rtol=0, atol=1e-6)
    with torch.no_grad():
        bare = [policy.decide(one.window, one.noise).chunk[0].numpy() for one in requests]
    np.testing.assert_allclose(np.stack(bare), alone, rtol=0, atol=1e-6)
