"""The client: what it sends, and what it does when the server is slow, gone, back, or says no."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_server import FakeServer
from score_client import ClientConfig, PolicyClient, PolicyRefused, PolicyUnavailable
from websockets.sync.server import ServerConnection

NOWHERE = "ws://127.0.0.1:9"


def frame(value: float) -> dict[str, np.ndarray]:
    return {"state": np.array([value, -value]), "camera": np.zeros((4, 4))}


def client_of(uri: str, timeout_s: float = 5.0) -> PolicyClient:
    return PolicyClient(ClientConfig(uri, decide_timeout_s=timeout_s, connect_timeout_s=5.0, backoff_s=0.005))


def test_messages_hold_the_history_the_seed_and_the_decision() -> None:
    fake = FakeServer()
    with fake.running() as uri, client_of(uri) as client:
        client.reset(seed=11)
        client.observe(frame(1))
        answer = client.decide()
        assert answer.actions.tolist() == [[1], [11], [21], [31]] and answer.actions.dtype == np.float32
        assert answer.server_timing == {"infer_ms": 1.0} and 0 < answer.total_s < 5
        for value in (2, 3):
            client.observe(frame(value))
        client.decide()
        client.reset(seed=12)
        client.observe(frame(9))
        client.decide()
    windows = [message.pop("state")[:, 0].tolist() for message in fake.messages]
    assert windows == [[1], [2, 3], [9]]
    assert fake.messages == [{"reset": True, "seed": s, "decision": d} for s, d in [(11, 0), (11, 1), (12, 0)]]


def test_episodes_without_a_seed_have_different_ones() -> None:
    fake = FakeServer()
    with fake.running() as uri, client_of(uri) as client:
        for _ in range(2):
            client.reset()
            client.observe(frame(0))
            client.decide()
    assert fake.messages[0]["seed"] != fake.messages[1]["seed"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({}, "lacks 'state'"),
        ({"state": np.zeros(3)}, r"'state' has shape \(3,\), expected \(2,\)"),
        ({"state": np.array([0, np.nan])}, "not finite"),
    ],
)
def test_bad_frames_are_refused_before_anything_is_sent(bad: dict[str, Any], reason: str) -> None:
    fake = FakeServer()
    with fake.running() as uri, client_of(uri) as client:
        with pytest.raises(ValueError, match=reason):
            client.observe(bad)
        with pytest.raises(ValueError, match="observe a frame first"):
            client.decide()


def test_frames_are_copied() -> None:
    fake = FakeServer()
    with fake.running() as uri, client_of(uri) as client:
        values = np.array([1.0, 0.0], np.float32)
        client.observe({"state": values})
        values[:] = 99
        assert client.decide().actions[0, 0] == 1


def test_nobody_there_is_reported_within_the_time() -> None:
    client = PolicyClient(ClientConfig(NOWHERE, connect_timeout_s=0.2))
    began = time.monotonic()
    with pytest.raises(PolicyUnavailable, match=r"no answer of ws://127\.0\.0\.1:9 within 0\.2 s"):
        client.connect()
    assert 0.2 <= time.monotonic() - began < 5.0
    with pytest.raises(PolicyUnavailable, match="not connected yet"):
        client.observe(frame(0))


def test_a_late_answer_is_reported_and_never_taken_for_the_next_one() -> None:
    fake = FakeServer()

    def late(fake: FakeServer, connection: ServerConnection, message: dict[str, Any]) -> Any:
        if message["decision"] == 0:
            time.sleep(0.5)
        return fake.chunk(connection, message)

    fake.answer = late
    with fake.running() as uri, client_of(uri) as client:
        client.observe(frame(1))
        with pytest.raises(PolicyUnavailable):
            client.decide(timeout_s=0.2)
        time.sleep(0.4)
        assert client.decide().actions[0, 0] == 101
        assert client.reconnections == 1


def test_a_server_that_comes_back_gets_the_same_question() -> None:
    fake = FakeServer()
    with fake.running() as uri:
        client = client_of(uri)
        client.connect()
        client.reset(seed=5)
        client.observe(frame(1))
        client.decide()
        client.observe(frame(2))
    answers = []
    thread = threading.Thread(target=lambda: answers.append(client.decide(timeout_s=10)))
    thread.start()
    time.sleep(0.2)
    with fake.running(int(uri.rsplit(":", 1)[1])):
        thread.join(10)
    assert answers[0].actions[0, 0] == 102 and client.reconnections == 1
    assert fake.messages[-1]["state"][:, 0].tolist() == [1, 2] and fake.messages[-1]["seed"] == 5
    client.close()


def test_a_connection_lost_in_the_middle_is_tried_again() -> None:
    fake = FakeServer()

    def once(fake: FakeServer, connection: ServerConnection, message: dict[str, Any]) -> Any:
        if fake.connections == 1:
            fake.hang_up()
            return None
        return fake.chunk(connection, message)

    fake.answer = once
    with fake.running() as uri, client_of(uri) as client:
        client.observe(frame(1))
        assert client.decide().actions[0, 0] == 1
        assert client.reconnections == 1 and fake.connections == 2


def test_a_refusal_is_not_tried_again() -> None:
    fake = FakeServer()
    fake.answer = lambda *_: "the state is out of this world (error 123)"
    with fake.running() as uri, client_of(uri) as client:
        client.observe(frame(1))
        with pytest.raises(PolicyRefused, match="out of this world"):
            client.decide()
    assert len(fake.messages) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"\xc1",
        {"action": np.zeros((4, 1))},
        {"actions": np.zeros((3, 1))},
        {"actions": [1, 2, 3, 4]},
        {"actions": np.full((4, 1), np.nan)},
        {"actions": np.zeros((4, 1)), "server_timing": 3},
    ],
)
def test_answers_of_no_use_are_refused(answer: Any) -> None:
    fake = FakeServer()
    fake.answer = lambda *_: answer
    with fake.running() as uri, client_of(uri) as client:
        client.observe(frame(1))
        with pytest.raises(PolicyRefused, match="of no use"):
            client.decide()


def test_another_policy_behind_the_same_address_is_refused() -> None:
    fake = FakeServer()
    with fake.running() as uri:
        client = client_of(uri)
        client.connect()
    fake.metadata["bundle"] = "another"
    with fake.running(int(uri.rsplit(":", 1)[1])):
        client.close()
        with pytest.raises(PolicyRefused, match="another policy"):
            client.connect()


def test_other_servers_are_refused() -> None:
    fake = FakeServer()
    fake.metadata["policy"] = {}
    with fake.running() as uri, pytest.raises(PolicyRefused, match="no server of score"):
        client_of(uri).connect()


def test_the_client_can_be_closed_twice_and_used_again() -> None:
    fake = FakeServer()
    with fake.running() as uri:
        client = client_of(uri)
        client.connect()
        client.close()
        client.close()
        assert client.connect().horizon == 4
        client.close()


def test_nothing_but_numpy_msgpack_and_websockets_is_imported() -> None:
    code = (
        "import sys; before = set(sys.modules); import score_client; score_client.PolicyClient; "
        "print(*{n.split('.')[0] for n in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert {name for name in out.split() if "cython" not in name and name[0] != "_"} == {
        "score_client",
        "numpy",
        "msgpack",
        "websockets",
    }
    # What wraps lerobot's policies runs inside lerobot's environment, and is imported there alone.
    folder = Path(sys.modules["score_client"].__file__).parent
    sources = set(folder.glob("*.py")) - {folder / "lerobot_policy.py"}
    foreign = re.compile(r"(import|from) (score_rl|torch)\b")
    assert not [path for path in sources if foreign.search(path.read_text())]
