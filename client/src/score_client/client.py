"""A connection to a policy server that survives the server.

Every message carries all that its answer depends on (the history of frames, the seed, the number of the decision),
so that it can be sent again to a server that was restarted, and be answered the same.
"""

from __future__ import annotations

import random
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from score_client import wire
from score_client.episode import Episode
from score_client.interface import Answer, Metadata, PolicyRefused, PolicyUnavailable, read_metadata


@dataclass(frozen=True)
class ClientConfig:
    """Where the server is, and how long to wait for it."""

    uri: str = "ws://127.0.0.1:8000"
    """Address; wss:// for TLS."""
    api_key: str | None = None
    """Key of the server, where it wants one."""
    ca_file: str | None = None
    """Certificate (PEM) that the server's must be signed by; None: the machine's trusted ones."""
    decide_timeout_s: float = 1.0
    """Longest that `decide` takes, reconnecting included."""
    connect_timeout_s: float = 10.0
    """Longest that `connect` waits for the server."""
    backoff_s: float = 0.02
    """Pause behind the first failed attempt; it doubles with each further one, and is drawn up to that long."""
    max_backoff_s: float = 0.5
    """Longest pause between two attempts."""
    max_message_bytes: int = 4_194_304
    """Largest answer."""


class PolicyClient:
    """One robot's view of the policy; not to be shared by threads, except that `exchange` may run in another."""

    def __init__(self, config: ClientConfig | None = None) -> None:
        """Nothing is connected yet: `connect`, the `with` statement or the first decision does that."""
        self.config = config or ClientConfig()
        self._connection: ClientConnection | None = None
        self._metadata: Metadata | None = None
        self._episode = Episode()
        self._random = random.Random()
        self.reconnections = -1
        """Connections made so far, beyond the first."""

    @property
    def metadata(self) -> Metadata:
        """What the server said first. Raises PolicyUnavailable before any connection."""
        if self._metadata is None:
            raise PolicyUnavailable("not connected yet")
        return self._metadata

    def __enter__(self) -> PolicyClient:
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self) -> Metadata:
        """Wait for the server, up to `connect_timeout_s`. Raises PolicyUnavailable and PolicyRefused."""
        self._persist(None, self.config.connect_timeout_s)
        return self.metadata

    def close(self) -> None:
        """Say goodbye; calling it twice is allowed, and so is using the client again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def reset(self, seed: int | None = None) -> None:
        """An episode starts: forget the frames. seed: of the episode's noise; None draws one."""
        self._episode.reset(seed)

    def observe(self, frame: Mapping[str, np.ndarray]) -> None:
        """Take in the frame {key: (*shape)} of this control step, without views; call it at every control step.

        Raises ValueError for missing keys, wrong shapes and types, and numbers that are not finite. Further keys are
        ignored.
        """
        self._episode.observe(frame, self.metadata)

    def decide(self, timeout_s: float | None = None, views: Mapping[str, np.ndarray] | None = None) -> Answer:
        """The policy's decision at the newest frame, and the views {key: (*shape)} as they are now, where it reads
        any; `timeout_s` instead of `decide_timeout_s`.

        Raises PolicyUnavailable after the time, PolicyRefused where the server says no.
        """
        return self.exchange(self.request(views), timeout_s)

    def request(self, views: Mapping[str, np.ndarray] | None = None) -> bytes:
        """The message that asks for the next decision of this episode. Raises ValueError before any frame, and for
        views as `observe` does for frames."""
        return wire.pack({**self._episode.decide(views, self.metadata), "reset": True})

    def exchange(self, request: bytes, timeout_s: float | None = None) -> Answer:
        """Send a `request` until it is answered; see `decide`."""
        began = time.monotonic()
        reply = self._persist(request, self.config.decide_timeout_s if timeout_s is None else timeout_s)
        try:
            message = wire.unpack(reply, nested=True)
            actions, timing = message["actions"], dict(message.get("server_timing", {}))
            shape = (self.metadata.horizon, *self.metadata.interface.action.shape)
            if not isinstance(actions, np.ndarray) or actions.shape != shape or not np.isfinite(actions).all():
                raise ValueError(f"expected finite actions of shape {shape}")
        except (ValueError, KeyError, TypeError) as error:
            self._drop()
            raise PolicyRefused(f"the server's answer is of no use: {error}") from error
        return Answer(actions.astype(np.float32), timing, time.monotonic() - began)

    def _persist(self, request: bytes | None, timeout_s: float) -> bytes:
        """Connect, send and receive, again and again until it works or the time is over."""
        deadline, pause = time.monotonic() + timeout_s, self.config.backoff_s
        while True:
            try:
                connection = self._connected(deadline)
                if request is None:
                    return b""
                connection.send(request)
                reply = connection.recv(timeout=_remaining(deadline))
                break
            except PolicyRefused:
                self._drop()
                raise
            except InvalidStatus as error:
                self._drop()
                status = error.response.status_code
                if status < 500:
                    raise PolicyRefused(f"{self.config.uri} answers with HTTP status {status}") from error
                failure: Exception = error
            except ssl.SSLCertVerificationError as error:
                raise PolicyRefused(f"the certificate of {self.config.uri} is not trusted: {error}") from error
            except (OSError, EOFError, WebSocketException) as error:  # TimeoutError is an OSError
                # Dropped in any case: a late answer must not be taken for the next one's.
                self._drop()
                failure = error
            left = deadline - time.monotonic()
            if left <= 0:
                raise PolicyUnavailable(f"no answer of {self.config.uri} within {timeout_s:g} s") from failure
            time.sleep(min(left, self._random.uniform(0, pause)))
            pause = min(2 * pause, self.config.max_backoff_s)
        if isinstance(reply, str):
            self._drop()
            raise PolicyRefused(reply)
        return reply

    def _connected(self, deadline: float) -> ClientConnection:
        """The open connection, made if there is none."""
        if self._connection is not None:
            return self._connection
        config = self.config
        tls = ssl.create_default_context(cafile=config.ca_file) if config.uri.startswith("wss:") else None
        headers = {"Authorization": f"Api-Key {config.api_key}"} if config.api_key else None
        self._connection = connect(
            config.uri,
            ssl=tls,
            additional_headers=headers,
            compression=None,
            proxy=None,
            open_timeout=_remaining(deadline),
            close_timeout=0.5,
            max_size=config.max_message_bytes,
        ).__enter__()
        metadata = _first_message(self._connection.recv(timeout=_remaining(deadline)))
        if self._metadata is not None and metadata != self._metadata:
            raise PolicyRefused(
                f"the server now has another policy ({metadata.bundle[:12]}, not {self._metadata.bundle[:12]})"
            )
        self._metadata = metadata
        self.reconnections += 1
        return self._connection

    def _drop(self) -> None:
        """Leave the connection without a word; waiting for the closing handshake would cost time."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)
            with suppress(OSError, WebSocketException):
                connection.close()


def _first_message(reply: bytes | str) -> Metadata:
    """What a server says first. Raises PolicyRefused where it is none of score."""
    if isinstance(reply, str):
        raise PolicyRefused(f"this is no server of score: {reply}")
    try:
        return read_metadata(wire.unpack(reply, nested=True))
    except ValueError as error:
        raise PolicyRefused(f"this is no server of score: {error}") from error


def _remaining(deadline: float) -> float:
    """Seconds left, a little more than none."""
    return max(1e-3, deadline - time.monotonic())
