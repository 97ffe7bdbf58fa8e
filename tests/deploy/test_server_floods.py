"""Clients that send much and read nothing: dropped in time, with little kept of them, and without a noisy log."""

from __future__ import annotations

import logging
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import numpy as np
import pytest
from score_client import wire
from served import ToyServed
from serving import running
from websockets.sync.client import connect

from score_rl.deploy.server import server as server_module
from score_rl.deploy.server.server import MAX_FRAMES, MAX_UNREAD, PolicyServer, _CountedConnection

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
BINARY, PING, PONG, CONTINUED = 2, 9, 10, 0


def frame(opcode: int, payload: bytes = b"", final: bool = True) -> bytes:
    """A frame from a client, with a mask of zeros."""
    size = bytes([128 | len(payload)]) if len(payload) < 126 else bytes([254]) + struct.pack(">H", len(payload))
    return bytes([(128 if final else 0) | opcode]) + size + bytes(4) + payload


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes that waited for a client, after every time that something was sent."""
    seen: list[int] = [0]
    send = _CountedConnection.send_data

    def send_and_look(self: _CountedConnection) -> None:
        send(self)
        seen.append(self.transport.get_write_buffer_size())

    monkeypatch.setattr(_CountedConnection, "send_data", send_and_look)
    return seen


@contextmanager
def deaf(server: PolicyServer) -> Iterator[socket.socket]:
    """A client that has opened the WebSocket and never reads; its own system keeps little for it."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.settimeout(60)
        client.sendall(HANDSHAKE)
        until = time.monotonic() + 60
        while not server.status()["connections"]:
            assert time.monotonic() < until
            time.sleep(0.01)
        yield client


def wait_until(condition: Any, timeout_s: float = 60.0) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def flood(server: PolicyServer, data: bytes, times: int) -> int:
    """Bytes that the server took of a client that sends `data` over and over before it hung up."""
    taken = 0
    with deaf(server) as client:
        try:
            for _ in range(times):
                client.sendall(data)
                taken += len(data)
        except OSError:
            pass
        wait_until(lambda: not server.status()["sockets"])
    return taken


QUESTION = frame(BINARY, wire.pack({"state": np.zeros(2, np.float32), "command": np.zeros(1, np.float32)}))


@pytest.mark.parametrize(
    "data",
    [
        frame(PING, b"p" * 125) * 100,
        frame(PING) * 4000,
        frame(PONG, b"p" * 125) * 100,
        (frame(PING, b"p" * 125) * 100 + QUESTION) * 4,
        frame(BINARY, b"\x80", final=False) + frame(CONTINUED, b"", final=False) * 4000,
        QUESTION * 50,
    ],
    ids=["pings", "empty pings", "pongs", "pings and questions", "pieces", "questions"],
)
def test_a_flood_is_not_kept_and_ends(data: bytes, unread: list[int], caplog: pytest.LogCaptureFixture) -> None:
    """100 MB of it would be sent. What waits for the client never exceeds 64 KiB and an answer of some 150 bytes."""
    with running(ToyServed(), decide_timeout_s=1.0, ping_interval_s=1.0) as server:
        taken = flood(server, data, 100_000_000 // len(data))
        assert taken < 50_000_000
        assert max(unread) <= server._max_unread < MAX_UNREAD + 2000
        # An honest client is served as ever.
        with connect(f"ws://127.0.0.1:{server.port}", compression=None) as client:
            client.recv(timeout=20)
            client.send(wire.pack({"state": np.float32([5, 0]), "command": np.zeros(1, np.float32)}))
            assert wire.unpack(client.recv(timeout=20), nested=True)["actions"][0].tolist() == [5, 5]
    noise = [record for record in caplog.records if record.name == "asyncio" and record.levelno >= logging.WARNING]
    assert noise == []


def fill(server: PolicyServer, client: socket.socket) -> _CountedConnection:
    """Ask, little by little, until the server has to wait for the client to read."""
    (connection,) = server._open
    connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    while not connection.paused:
        client.sendall(frame(PING, b"p" * 125) * 10 + QUESTION)
        time.sleep(0.002)
    return connection


def test_a_client_that_stops_reading_is_dropped_though_nothing_more_comes(unread: list[int]) -> None:
    """As much as stays below the limit, and then silence: websockets' own keepalive would wait for it for ever."""
    with running(ToyServed(), ping_interval_s=0.5) as server, deaf(server) as client:
        fill(server, client)
        wait_until(lambda: not server.status()["sockets"])
    assert 0 < max(unread) <= server._max_unread


def test_a_slow_reader_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is read within the time of a ping: no reason to drop anybody."""
    monkeypatch.setattr(server_module, "MAX_UNREAD", 10_000_000)
    with running(ToyServed(), ping_interval_s=60.0) as server, deaf(server) as client:
        connection = fill(server, client)
        timer = connection._unread_since
        assert timer is not None
        while connection.paused:
            client.recv(65536)
        wait_until(lambda: connection._unread_since is None)
        assert timer.cancelled() and server.status()["sockets"] == 1


def test_a_thousand_pings_are_no_flood() -> None:
    with running(ToyServed()) as server, connect(f"ws://127.0.0.1:{server.port}", compression=None) as client:
        client.recv(timeout=20)
        for _ in range(2):
            for _ in range(MAX_FRAMES - 10):
                client.ping().wait(20)
            client.send(msgpack.packb({"state": [7.0, 0.0], "command": [0.0], "reset": True}))
            assert wire.unpack(client.recv(timeout=20), nested=True)["actions"][0].tolist() == [7, 7]
