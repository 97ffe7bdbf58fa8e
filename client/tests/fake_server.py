"""A server that answers as it is told, without any policy: what the client is tested against."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from score_client import wire
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

METADATA: dict[str, Any] = {
    "server": "fake",
    "bundle": "fake",
    "policy": {
        "interface": {
            "observation": {"state": {"shape": [2], "dtype": "float32", "unit": "rad", "frame": "", "names": []}},
            "action": {"shape": [1], "dtype": "float32", "unit": "rad", "frame": "", "names": ["push"]},
            "control_rate_hz": 10.0,
            "views": {},
        },
        "history": 2,
        "horizon": 4,
        "latent_shape": [4, 1],
    },
    "execute_steps": 2,
    "action_low": [-1.0],
    "action_high": [1.0],
}

Answer = Callable[["FakeServer", ServerConnection, dict[str, Any]], Any]


class FakeServer:
    """Answers action j of decision d with 100 d + newest state + 10 j, unless told otherwise."""

    def __init__(self) -> None:
        self.metadata = dict(METADATA)
        self.messages: list[dict[str, Any]] = []
        self.answer: Answer = FakeServer.chunk
        self.connections = 0
        self._open: set[ServerConnection] = set()

    def chunk(self, connection: ServerConnection, message: dict[str, Any]) -> dict[str, Any]:
        start = 100 * message["decision"] + message["state"][-1, 0]
        actions = (start + 10 * np.arange(4, dtype=np.float32))[:, None]
        return {"actions": actions, "server_timing": {"infer_ms": 1.0}}

    def handle(self, connection: ServerConnection) -> None:
        self.connections += 1
        self._open.add(connection)
        try:
            connection.send(wire.pack(self.metadata))
            for data in connection:
                message = wire.unpack(data)
                self.messages.append(message)
                answer = self.answer(self, connection, message)
                if answer is not None:
                    connection.send(answer if isinstance(answer, str | bytes) else wire.pack(answer))
        except ConnectionClosed:
            pass
        finally:
            self._open.discard(connection)

    def hang_up(self) -> None:
        """End all connections without a word."""
        for connection in list(self._open):
            with suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def running(self, port: int = 0) -> Iterator[str]:
        """Serve within the block; gives the address."""
        with serve(self.handle, "127.0.0.1", port, compression=None) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
            finally:
                server.shutdown()
                self.hang_up()
                thread.join(5)
