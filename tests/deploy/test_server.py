"""The server: openpi's protocol, several clients, access, limits, and how it stops."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from score_client import ClientConfig, PolicyClient, PolicyRefused, wire
from served import NetworkServed, ToyServed, ToySpec
from serving import running
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from score_rl.core.errors import ScoreError
from score_rl.deploy.server.config import ServerConfig
from score_rl.deploy.server.server import PolicyServer, _CountedConnection
from score_rl.deploy.server.session import Session

KEY = "0123456789abcdef"
BROKEN = (OSError, EOFError, WebSocketException)
"""What a client sees that is not let in."""


def observation(value: float, **more: Any) -> dict[str, Any]:
    return {"state": np.array([value, 0.0], np.float32), "command": np.zeros(1, np.float32), **more}


@contextmanager
def line(server: PolicyServer, **options: Any) -> Iterator[tuple[ClientConnection, dict[str, Any]]]:
    """(connection, metadata) of one client."""
    with connect(f"ws://127.0.0.1:{server.port}", compression=None, **options) as connection:
        yield connection, wire.unpack(connection.recv(timeout=10), nested=True)


def ask(connection: ClientConnection, message: dict[str, Any]) -> dict[str, Any]:
    connection.send(wire.pack(message))
    return wire.unpack(connection.recv(timeout=10), nested=True)


def refusal(connection: ClientConnection, message: bytes | str) -> str:
    """The text that a message is refused with; the connection must be closed with 1011 behind it."""
    connection.send(message)
    text = connection.recv(timeout=10)
    with pytest.raises(ConnectionClosed) as closed:
        connection.recv(timeout=10)
    assert closed.value.rcvd.code == 1011
    return text


def page(server: PolicyServer, path: str, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_metadata_come_first_and_say_all_that_a_client_needs() -> None:
    with running(ToyServed()) as server, line(server) as (_, metadata):
        policy, interface = metadata["policy"], metadata["policy"]["interface"]
        shown = {key: (array["shape"], array["dtype"]) for key, array in interface["observation"].items()}
        assert shown == {"state": ([2], "float32"), "command": ([1], "float32")} and interface["views"] == {}
        assert (policy["history"], policy["horizon"], policy["latent_shape"]) == (2, 4, [4, 2])
        assert (metadata["execute_steps"], metadata["frame_steps"], interface["control_rate_hz"]) == (3, 3, 10.0)
        assert interface["action"]["names"] == ["push", "pull"] and metadata["action_high"] == [100.0, 100.0]
        assert metadata["bundle"] == metadata["task"] == "toy"


def test_answers_are_chunks_with_history_of_the_connection() -> None:
    with running(ToyServed()) as server, line(server) as (one, _), line(server) as (two, _):
        first = ask(one, observation(5))
        # Newest value + 10 per step; oldest value of the window, which is the repeated first frame.
        np.testing.assert_array_equal(first["actions"], [[5, 5], [15, 5], [25, 5], [35, 5]])
        assert first["actions"].dtype == np.float32 and list(first["server_timing"]) == ["infer_ms"]
        assert ask(two, observation(100))["actions"][0].tolist() == [100, 100]
        second = ask(one, observation(7, elapsed_steps=1))
        assert second["actions"][0].tolist() == [7, 5] and second["server_timing"]["prev_total_ms"] > 0
        assert ask(one, observation(9, reset=True))["actions"][0].tolist() == [9, 9]
        # Every array of an answer is a chunk: brokers take one row of each.
        assert all(v.shape[0] == 4 for v in second.values() if isinstance(v, np.ndarray))


def test_answers_equal_decisions_made_in_process() -> None:
    policy = NetworkServed()
    session = Session(ToySpec(), frame_steps=1, seed=0, number=0)
    with running(policy, frame_steps=1) as server, line(server) as (connection, _):
        for step in range(5):
            message = observation(0.1 * step)
            request = session.request(message)
            expected = policy.decide(request.window, request.noise).chunk[0].numpy()
            np.testing.assert_allclose(ask(connection, message)["actions"], expected, rtol=0, atol=1e-6)


def test_clients_that_ask_together_share_a_batch_and_get_what_is_theirs() -> None:
    policy = NetworkServed()
    questions = [observation(float(v), seed=v) for v in range(12)]
    with running(policy, frame_steps=1) as server, line(server) as (connection, _):
        alone = [ask(connection, {**question, "reset": True})["actions"] for question in questions]
    answers: list[Any] = [None] * 12
    with running(policy, batch_window_s=0.5) as server:
        barrier = threading.Barrier(12)

        def client(number: int) -> None:
            with line(server) as (connection, _):
                barrier.wait(10)
                answers[number] = ask(connection, questions[number])["actions"]

        threads = [threading.Thread(target=client, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert server.status()["decisions"] == 12 and server.status()["batches"] < 12
    np.testing.assert_allclose(np.stack(answers), np.stack(alone), rtol=0, atol=1e-6)


def test_noise_is_the_connections_own_unless_a_seed_is_sent() -> None:
    with running(ToyServed(spread=1.0)) as server, line(server) as (one, _), line(server) as (two, _):
        assert not np.array_equal(ask(one, observation(0))["actions"], ask(two, observation(0))["actions"])
        seeded = [ask(c, observation(0, reset=True, seed=3))["actions"] for c in (one, two)]
        np.testing.assert_array_equal(*seeded)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("hello", "the message is text"),
        (b"\xc1", "not valid msgpack"),
        (wire.pack(observation(float("nan"))), "'state' holds numbers that are not finite"),
        (wire.pack({**observation(0), "sed": 1}), "unknown name in the message 'sed'; did you mean 'seed'?"),
        (wire.pack({"state": np.zeros(3), "command": np.zeros(1)}), "'state' has shape (3,)"),
    ],
)
def test_what_is_wrong_is_said_and_logged_and_the_connection_closed(
    message: bytes | str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with running(ToyServed()) as server, line(server) as (good, _):
        with line(server) as (bad, _):
            text = refusal(bad, message)
        assert reason in text
        number = text.split("(error ")[1].split()[0]
        assert number in caplog.text and "Traceback" not in caplog.text
        assert ask(good, observation(1))["actions"][0, 0] == 1


def test_failures_of_the_policy_stay_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    policy = ToyServed()
    policy.fails_at = 8.0
    with running(policy) as server, line(server) as (connection, _):
        text = refusal(connection, wire.pack(observation(8)))
        assert text.startswith("internal error (error ") and "secret" not in text
        number = text.split("(error ")[1].split()[0]
        with line(server) as (other, _):
            assert ask(other, observation(1))["actions"][0, 0] == 1
    record = next(record for record in caplog.records if number in record.getMessage())
    assert record.levelno == logging.ERROR and "secret of the server" in caplog.text


def test_nothing_is_kept_of_clients_that_have_gone() -> None:
    def alive() -> dict[type, int]:
        gc.collect()
        return {kind: sum(type(o) is kind for o in gc.get_objects()) for kind in (Session, _CountedConnection)}

    before, bad = alive(), (b"\xc1", "hello", wire.pack(observation(float("nan"))))
    with running(ToyServed(), frame_steps=1) as server:
        for number in range(30):
            with line(server) as (connection, _):
                if number % 4 < 3:
                    refusal(connection, bad[number % 4])
                else:
                    ask(connection, observation(1))
        until = time.monotonic() + 20
        while server.status()["sockets"] and time.monotonic() < until:
            time.sleep(0.01)
        now = alive()
        # The coroutine that waits for the next client may still hold the last.
        assert all(now[kind] <= before[kind] + 1 for kind in now), (before, now)
        assert server.status()["tasks"] <= 4


def test_health_and_status() -> None:
    with running(ToyServed()) as server:
        assert page(server, "/healthz") == (200, "OK\n")
        with line(server) as (connection, _):
            ask(connection, observation(1))
            status = json.loads(page(server, "/status")[1])
        assert status["connections"] == 1 and status["decisions"] == status["batches"] == 1
        assert page(server, "/elsewhere")[0] == 426


def test_the_api_key_is_asked_for_everywhere_but_at_the_health_check() -> None:
    with running(ToyServed(), api_key=KEY) as server:
        assert page(server, "/healthz")[0] == 200
        assert page(server, "/status")[0] == 401
        assert page(server, "/status", Authorization=f"Api-Key {KEY}")[0] == 200
        for headers in ({}, {"Authorization": "Api-Key wrong"}, {"Authorization": f"Bearer {KEY}"}):
            with pytest.raises(InvalidStatus) as refused, line(server, additional_headers=headers):
                pass
            assert refused.value.response.status_code == 401
        uri = f"ws://127.0.0.1:{server.port}"
        with PolicyClient(ClientConfig(uri, api_key=KEY)) as client:
            assert client.metadata.horizon == 4
        with pytest.raises(PolicyRefused, match="HTTP status 401"), PolicyClient(ClientConfig(uri, api_key="no")):
            pass


def test_web_pages_are_kept_out() -> None:
    with running(ToyServed()) as server:
        with pytest.raises(InvalidStatus) as refused, line(server, origin="https://example.com"):
            pass
        assert refused.value.response.status_code == 403


def test_tls(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs openssl to make a certificate")
    with running(ToyServed(), tls_certificate=certificate, tls_key=key) as server:
        uri = f"wss://localhost:{server.port}"
        with PolicyClient(ClientConfig(uri, ca_file=str(certificate), decide_timeout_s=10)) as client:
            client.observe(observation(1))
            assert client.decide().actions[0, 0] == 1
        with pytest.raises(PolicyRefused, match="not trusted"), PolicyClient(ClientConfig(uri)):
            pass
        with pytest.raises(BROKEN), line(server):
            pass
    with pytest.raises(ScoreError, match="cannot use"):
        PolicyServer(ToyServed(), ServerConfig(tls_certificate=key, tls_key=key))


def test_messages_beyond_the_limit_are_not_taken() -> None:
    with running(ToyServed(), max_message_bytes=1000) as server, line(server) as (connection, _):
        connection.send(b"x" * 1001)
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=10)
        assert closed.value.rcvd.code == 1009


def test_connections_beyond_the_limit_are_dropped() -> None:
    with running(ToyServed(), max_connections=2) as server:
        with line(server) as (one, _), line(server):
            with pytest.raises(BROKEN), line(server, open_timeout=5):
                pass
            assert ask(one, observation(1))["actions"][0, 0] == 1
        wait_until(lambda: server.status()["sockets"] == 0)
        with line(server) as (again, _):
            assert ask(again, observation(2))["actions"][0, 0] == 2


def wait_until(condition: Any, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_idle_and_slow_clients_are_dropped() -> None:
    with running(ToyServed(), idle_timeout_s=0.3) as server, line(server) as (connection, _):
        with pytest.raises(ConnectionClosedOK) as closed:
            connection.recv(timeout=10)
        assert closed.value.rcvd.code == 1001 and "idle" in closed.value.rcvd.reason


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def tcp(server: PolicyServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port))


@pytest.mark.slow
def test_clients_that_do_not_answer_pings_are_dropped() -> None:
    with running(ToyServed(), ping_interval_s=0.2) as server, tcp(server) as half_open:
        half_open.sendall(HANDSHAKE)
        wait_until(lambda: server.status()["connections"] == 1)
        wait_until(lambda: server.status()["sockets"] == 0)


def test_handshakes_that_do_not_come_to_an_end_are_dropped() -> None:
    with running(ToyServed(), open_timeout_s=0.3) as server, tcp(server) as slow:
        slow.sendall(HANDSHAKE[:20])
        wait_until(lambda: server.status()["sockets"] == 1)
        wait_until(lambda: server.status()["sockets"] == 0)


@pytest.mark.slow
def test_a_decision_that_takes_too_long_is_reported() -> None:
    with running(ToyServed(delay_s=1.0), decide_timeout_s=0.2) as server, line(server) as (connection, _):
        assert "no decision within 0.2 s" in refusal(connection, wire.pack(observation(1)))


def test_the_server_finishes_what_it_began_and_says_goodbye() -> None:
    with running(ToyServed(delay_s=0.5)) as server:
        busy = connect(f"ws://127.0.0.1:{server.port}", compression=None).__enter__()
        idle = connect(f"ws://127.0.0.1:{server.port}", compression=None).__enter__()
        busy.recv(), idle.recv()
        busy.send(wire.pack(observation(1)))
        wait_until(lambda: server._busy)
    assert wire.unpack(busy.recv(timeout=1), nested=True)["actions"][0, 0] == 1
    for connection in (busy, idle):
        with pytest.raises(ConnectionClosedOK) as closed:
            connection.recv(timeout=1)
        assert closed.value.rcvd.code == 1001


def test_settings_out_of_range_are_refused() -> None:
    for settings, message in [
        ({"port": 70000}, "port is 70000"),
        ({"max_batch": 0}, "max_batch is 0"),
        ({"idle_timeout_s": 0.0}, "idle_timeout_s is 0.0, expected > 0"),
        ({"frame_steps": -1}, "frame_steps is -1"),
        ({"tls_key": Path("key.pem")}, "both tls_certificate and tls_key"),
    ]:
        with pytest.raises(ScoreError, match=message):
            PolicyServer(ToyServed(), ServerConfig(**settings))


def test_a_taken_port_is_one_clear_message() -> None:
    with running(ToyServed()) as server:

        async def second() -> None:
            async with PolicyServer(ToyServed(), ServerConfig(port=server.port)):
                pass

        with pytest.raises(ScoreError, match="cannot listen on 127"):
            asyncio.run(second())


@pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")
def test_openpis_own_client_drives_the_policy() -> None:
    openpi = pytest.importorskip("openpi_client.websocket_client_policy", reason="needs openpi-client")
    with running(ToyServed(), api_key=KEY) as server:
        client = openpi.WebsocketClientPolicy("127.0.0.1", server.port, api_key=KEY)
        assert client.get_server_metadata()["execute_steps"] == 3
        answer = client.infer({**observation(5), "prompt": "pinch the cube"})
        np.testing.assert_array_equal(answer["actions"], [[5, 5], [15, 5], [25, 5], [35, 5]])
        # Three steps later: the frame in between lies on the straight line.
        assert client.infer(observation(8))["actions"][0].tolist() == [8, 7]
        assert client.infer(observation(1, reset=True))["actions"][0].tolist() == [1, 1]
        with pytest.raises(RuntimeError, match="'state' holds numbers that are not finite"):
            client.infer(observation(float("inf")))


@pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")
def test_openpis_chunk_broker_runs_the_chunks() -> None:
    openpi = pytest.importorskip("openpi_client.websocket_client_policy", reason="needs openpi-client")
    broker = pytest.importorskip("openpi_client.action_chunk_broker", reason="needs dm-tree")
    with running(ToyServed()) as server:
        client = broker.ActionChunkBroker(openpi.WebsocketClientPolicy("127.0.0.1", server.port), action_horizon=3)
        actions = [client.infer(observation(float(step)))["actions"][0] for step in range(6)]
    assert actions == [0, 10, 20, 3, 13, 23]
