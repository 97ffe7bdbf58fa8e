"""Messages as lines of JSON over a stream socket: readable by people, and exact (a float32 survives its decimals)."""

from __future__ import annotations

import json
import socket
from typing import Any

MAX_LINE = 1 << 20
"""Bytes of one message."""


class LineError(ConnectionError):
    """What came is no message: too long, no JSON, or no map."""


def encode(message: dict[str, Any]) -> bytes:
    """One line; NaN is allowed, since sensors produce it."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


class Lines:
    """The receiving half of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._rest = b""

    def receive(self) -> list[dict[str, Any]] | None:
        """Complete messages of the next piece of data (blocks for it); None where the other side hung up.

        Raises LineError.
        """
        try:
            data = self.connection.recv(1 << 16)
        except (ConnectionError, OSError):
            return None
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            raise LineError(f"a message is longer than {MAX_LINE} bytes")
        return [_parse(line) for line in lines]


def _parse(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise LineError("a message is not JSON") from error
    if not isinstance(message, dict):
        raise LineError("a message is no map")
    return message
