"""The policy server: a bundle behind a WebSocket, in openpi's protocol, so that its clients need no change.

    client connects           server sends its metadata (`metadata`), a msgpack map
    client sends a map        observation and options: `deploy.server.session` says what they mean
    server answers a map      `actions` (h, a) float32, and `server_timing`
    whatever is wrong         one text frame that says so, with the number of the error in the server's log; then the
                              connection is closed with code 1011

Plain HTTP on the same port: `/healthz` answers 200 to anybody; `/status` tells counters as JSON (with the API key,
where there is one). No client sees a traceback.
"""

from __future__ import annotations

import asyncio
import gc
import hmac
import json
import logging
import signal
import time
import uuid
from collections.abc import Callable
from http import HTTPStatus
from importlib import metadata as packages
from typing import Any

import numpy as np
from score_client import wire
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import DATA_OPCODES, Frame
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response
from websockets.protocol import Event

from score_rl.core.errors import ScoreError
from score_rl.core.files import to_plain
from score_rl.deploy.server.batching import Batcher
from score_rl.deploy.server.config import ServerConfig, check_config, tls_context
from score_rl.deploy.server.session import OPTIONS, ServedPolicy, Session
from score_rl.deploy.server.translation import Translation, make_translation, message_limit

log = logging.getLogger("score_rl.server")
_quiet = logging.getLogger("score_rl.server.websockets")
_quiet.setLevel(logging.CRITICAL)  # a stranger's broken handshake is not worth a traceback in the log

INTERNAL_ERROR, GOING_AWAY = 1011, 1001

MAX_UNREAD = 65536
"""Bytes beyond one answer that wait for a client to read them; one that leaves more unread is dropped."""
MAX_FRAMES = 1000
"""Frames of a client (pings, pongs, pieces of a message) without a whole message; one that sends more is dropped."""


class PolicyServer:
    """Serves one policy: `async with PolicyServer(policy, config) as server: ...`."""

    def __init__(self, policy: ServedPolicy, config: ServerConfig, api_key: str | None = None) -> None:
        """api_key: clients must send `Authorization: Api-Key KEY`. Raises ScoreError for settings out of range."""
        check_config(config)
        self._policy, self._config, self._api_key = policy, config, api_key
        self._frame_steps = config.frame_steps or policy.spec.execute_steps
        self._tls = tls_context(config)
        self._translation = make_translation(config.rename, config.ignore, policy.spec.policy)
        self._metadata = wire.pack(metadata(policy, self._frame_steps, self._translation))
        self._max_unread = MAX_UNREAD + max(len(self._metadata), largest_answer(policy))
        self._batcher = Batcher(policy, config.batch_window_s, config.max_batch)
        self._server: Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open: set[ServerConnection] = set()
        self._busy: set[ServerConnection] = set()
        self._sockets = self._served = self._decisions = self._refused = 0
        self._closing = False
        self._began = time.monotonic()

    @property
    def port(self) -> int:
        """TCP port that is listened on."""
        assert self._server is not None, "the server has not been started"
        return self._server.sockets[0].getsockname()[1]

    def status(self) -> dict[str, Any]:
        """Counters since the start."""
        return {
            "uptime_s": round(time.monotonic() - self._began, 3),
            "connections": len(self._open),
            "sockets": self._sockets,
            "clients_served": self._served,
            "decisions": self._decisions,
            "refused": self._refused,
            "batches": self._batcher.batches,
            "rows_per_batch": round(self._batcher.rows / max(1, self._batcher.batches), 3),
            "tasks": len(asyncio.all_tasks(self._loop)),
        }

    async def __aenter__(self) -> PolicyServer:
        """Listen. Raises ScoreError where the address cannot be had."""
        config, self._loop = self._config, asyncio.get_running_loop()
        try:
            self._server = await serve(
                self._serve_client,
                config.host,
                config.port,
                origins=[None],  # no web page may talk to a robot's policy, not even one opened on this machine
                compression=None,
                process_request=self._http,
                server_header=None,
                open_timeout=config.open_timeout_s,
                ping_interval=config.ping_interval_s,
                ping_timeout=config.ping_interval_s,
                close_timeout=1.0,
                max_size=config.max_message_bytes or message_limit(self._policy.spec.policy, config.ignore),
                max_queue=2,
                logger=_quiet,
                create_connection=self._make_connection,
                ssl=self._tls,
            )
        except OSError as error:
            raise ScoreError(f"cannot listen on {config.host}:{config.port}: {error.strerror or error}") from error
        self._batcher.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Take no more clients, finish what is being decided, say goodbye (1001), stop."""
        assert self._server is not None
        self._closing = True
        self._server.close(close_connections=False)
        deadline = time.monotonic() + self._config.shutdown_timeout_s
        while self._busy and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        if self._open:
            await asyncio.wait([asyncio.create_task(c.close(GOING_AWAY, "server stops")) for c in self._open])
        await self._batcher.stop()
        await self._server.wait_closed()

    def _make_connection(self, *arguments: Any, **options: Any) -> ServerConnection:
        return _CountedConnection(self, *arguments, **options)

    def _http(self, connection: ServerConnection, request: HttpRequest) -> Response | None:
        """Answer to a plain HTTP request, or None to go on with the WebSocket."""
        if request.path == "/healthz":
            return connection.respond(HTTPStatus.OK, "OK\n")
        if self._api_key is not None:
            given = request.headers.get_all("Authorization")
            expected = f"Api-Key {self._api_key}".encode()
            if len(given) != 1 or not hmac.compare_digest(given[0].encode(errors="replace"), expected):
                return connection.respond(HTTPStatus.UNAUTHORIZED, "Send the header Authorization: Api-Key KEY.\n")
        if request.path == "/status":
            return connection.respond(HTTPStatus.OK, json.dumps(self.status()) + "\n")
        if self._closing:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "The server stops.\n")
        return None

    async def _serve_client(self, connection: ServerConnection) -> None:
        """One client, from the handshake to the end."""
        numbers = (self._frame_steps, self._config.seed, self._served)
        session = Session(self._policy.spec, *numbers, self._translation)
        self._served += 1
        self._open.add(connection)
        self._batcher.companions = len(self._open)
        try:
            await self._converse(connection, session)
        except ConnectionClosed:
            pass
        except (ScoreError, wire.WireError) as error:
            await self._refuse(connection, str(error))
        except Exception as error:
            await self._refuse(connection, "internal error", error)
        finally:
            self._open.discard(connection)
            self._busy.discard(connection)
            self._batcher.companions = max(1, len(self._open))

    async def _converse(self, connection: ServerConnection, session: Session) -> None:
        """Metadata, then one answer per message."""
        await self._send(connection, self._metadata)
        before_ms = None
        while not self._closing:
            try:
                async with asyncio.timeout(self._config.idle_timeout_s):
                    message = await connection.recv()
            except TimeoutError:
                await connection.close(GOING_AWAY, "idle for too long")
                return
            self._busy.add(connection)
            began = time.perf_counter()
            if isinstance(message, str):
                raise ScoreError("the message is text, expected a binary msgpack map")
            request = session.request(wire.unpack(message))
            try:
                async with asyncio.timeout(self._config.decide_timeout_s):
                    chunk = await self._batcher.decide(request)
            except TimeoutError:
                raise ScoreError(f"no decision within {self._config.decide_timeout_s:g} s") from None
            timing = {"infer_ms": 1000 * (time.perf_counter() - began)}
            if before_ms is not None:
                timing["prev_total_ms"] = before_ms
            await self._send(connection, wire.pack({"actions": chunk, "server_timing": timing}))
            self._decisions += 1
            self._busy.discard(connection)
            before_ms = 1000 * (time.perf_counter() - began)
        await connection.close(GOING_AWAY, "server stops")

    async def _send(self, connection: ServerConnection, data: bytes | str) -> None:
        """Send, to somebody who takes it; a client that does not read is dropped."""
        try:
            async with asyncio.timeout(self._config.decide_timeout_s):
                await connection.send(data)
        except TimeoutError:
            connection.transport.abort()

    async def _refuse(self, connection: ServerConnection, reason: str, error: Exception | None = None) -> None:
        """Say what is wrong, and close. `error`: the server's own fault, whose traceback only the log gets."""
        self._refused += 1
        number = uuid.uuid4().hex[:12]
        log.log(
            logging.WARNING if error is None else logging.ERROR,
            "error %s, client %s: %s",
            number,
            connection.remote_address,
            ascii(reason),
            exc_info=error,
        )
        try:
            await self._send(connection, f"{reason} (error {number} in the server's log)")
            await connection.close(INTERNAL_ERROR, f"error {number}")
        except ConnectionClosed:
            pass


class _CountedConnection(ServerConnection):
    """A connection that counts from its first byte, so that half-open ones cannot use up the server's sockets, and
    that ends where its client does not read what it is sent.

    websockets answers every ping, whether the answers are taken or not, keeps every piece of a message, and its
    keepalive waits for the client to read before it begins to count. So the bytes that wait, the time that they wait,
    and the frames that make no message are limited here.
    """

    def __init__(self, owner: PolicyServer, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._owner, self._frames = owner, 0
        self._unread_since: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._owner._sockets += 1
        super().connection_made(transport)
        if self._owner._sockets > self._owner._config.max_connections:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._owner._sockets -= 1
        self._took()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read: it has the time of a ping to begin."""
        super().pause_writing()
        self._unread_since = self.loop.call_later(self._owner._config.ping_interval_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        self._took()

    def process_event(self, event: Event) -> None:
        """Count the frames that make no message."""
        if isinstance(event, Frame):
            self._frames = 0 if event.fin and event.opcode in DATA_OPCODES else self._frames + 1
            if self._frames > MAX_FRAMES:
                self.transport.abort()
        super().process_event(event)

    def send_data(self) -> None:
        """Write what is there to send, if the client still reads; nothing goes to a transport that is closing, which
        would only fill the log."""
        waiting = self.transport.get_write_buffer_size() + sum(map(len, self.protocol.writes))
        if waiting > self._owner._max_unread:
            self.transport.abort()
        if self.transport.is_closing():
            self.protocol.data_to_send()
        else:
            super().send_data()

    def _took(self) -> None:
        if self._unread_since is not None:
            self._unread_since.cancel()
            self._unread_since = None


def largest_answer(policy: ServedPolicy) -> int:
    """Bytes of an answer, timing included."""
    chunk = np.zeros(policy.spec.policy.chunk_shape, np.float32)
    timing = {"infer_ms": 0.0, "prev_total_ms": 0.0}
    return len(wire.pack({"actions": chunk, "server_timing": timing}))


def metadata(policy: ServedPolicy, frame_steps: int, translation: Translation) -> dict[str, Any]:
    """What a client is told first: everything that it needs to drive the policy."""
    spec = policy.spec
    return {
        "server": "score-rl",
        "version": packages.version("score-rl"),
        "bundle": policy.digest,
        "task": spec.task,
        "method": spec.method,
        "policy": to_plain(spec.policy),
        "options": list(OPTIONS),
        "rename": dict(translation.rename),
        "ignore": list(translation.ignore),
        "execute_steps": spec.execute_steps,
        "frame_steps": frame_steps,
        "action_low": list(spec.action_low),
        "action_high": list(spec.action_high),
    }


def forget_old_objects() -> None:
    """Take everything that exists out of the garbage collector's sight: it lives as long as the process.

    Messages and connections leave rings of objects that only the collector can free. Those that saw two of its
    rounds it leaves alone until new objects are a quarter of the old ones. A policy and its libraries are a third of
    a million objects, so such remains would pile up, and every search among all of them would hold up the clients.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # counts the old objects again: none


async def serve_until_stopped(
    policy: ServedPolicy, config: ServerConfig, api_key: str | None, ready: Callable[[PolicyServer], None]
) -> dict[str, Any]:
    """Serve until SIGINT or SIGTERM; `ready(server)` is called once it listens. Returns the counters."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with PolicyServer(policy, config, api_key) as server:
        forget_old_objects()
        ready(server)
        await stop.wait()
        counters = server.status()
    return counters
