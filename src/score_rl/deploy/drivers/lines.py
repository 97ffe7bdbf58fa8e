"""Messages as lines of JSON over a stream socket: readable by people, and exact (a float32 survives its decimals)."""

from __future__ import annotations

import json
import socket
from typing import Any

MAX_LINE = 1 << 20
"""Bytes of one message, unless its receiver expects shorter ones."""
PIECE = 1 << 12
"""Bytes that are taken at a time: who sends many messages at once does not keep the receiver from other things."""


class LineError(ConnectionError):
    """What came is no message: too long, no JSON, or no map."""


def encode(message: dict[str, Any]) -> bytes:
    """One line; NaN is allowed, since sensors produce it."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """The message of a line. Raises LineError."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise LineError("a message is not JSON") from error
    if not isinstance(message, dict):
        raise LineError("a message is no map")
    return message


class Lines:
    """The receiving half of a connection; `longest`: bytes of a message."""

    def __init__(self, connection: socket.socket, longest: int = MAX_LINE) -> None:
        self.connection, self.longest = connection, longest
        self._rest = b""

    def receive(self) -> list[bytes] | None:
        """Complete lines of the next piece of data (blocks for it); None where the other side hung up.

        Raises LineError for a line without end, behind which nothing can be understood any more.
        """
        try:
            data = self.connection.recv(PIECE)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        if max(map(len, (*lines, self._rest))) > self.longest:
            raise LineError(f"a message is longer than {self.longest} bytes")
        return lines
