"""A policy server in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from score_rl.deploy.server.config import ServerConfig
from score_rl.deploy.server.server import PolicyServer


@contextmanager
def running(policy: Any, api_key: str | None = None, **settings: Any) -> Iterator[PolicyServer]:
    """A server of `policy` on a free port, in a thread with its own event loop."""
    started, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    held: list[PolicyServer] = []

    async def main() -> None:
        async with PolicyServer(policy, ServerConfig(**{"port": 0, **settings}), api_key) as server:
            held.append(server)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield held[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        assert not thread.is_alive()
        loop.close()
