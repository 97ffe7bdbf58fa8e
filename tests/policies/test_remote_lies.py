"""A server of policies that lies: whatever it answers is one error that names it, or is no answer at all."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from score_client import wire
from score_client.policy_server import PROTOCOL, policy_spec
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from score_rl.core.errors import ScoreError
from score_rl.policies.open import open_policy

SPEC = policy_spec({"state": {"shape": [2]}}, ["push"], 10.0, 1, 4, (4, 1))
WINDOW = {"state": torch.zeros(3, 1, 2)}
NOTHING = np.zeros(2, np.uint8)
Message = dict[str, Any]


def hello(**changes: Any) -> bytes:
    """The first message, with other values of the specification."""
    text = json.dumps({**SPEC, **changes}).encode()
    return wire.pack({"protocol": PROTOCOL, "fingerprint": "toy", "spec": np.frombuffer(text, np.uint8)})


def spec_of(text: bytes) -> bytes:
    return wire.pack({"protocol": PROTOCOL, "fingerprint": "toy", "spec": np.frombuffer(text, np.uint8)})


def honest(request: Message) -> Message:
    if request["do"] == "encode":
        return {"handle": 1, "features": np.ones((request["rows"], 2), np.float32)}
    return {"actions": np.zeros((len(request["index"]), 4, 1), np.float32)}


@contextmanager
def served(first: bytes | str, answer: Callable[[Message], Any] = honest) -> Iterator[str]:
    """The URI of a server that begins with `first` and then answers with what it is told."""

    def handle(connection: ServerConnection) -> None:
        try:
            connection.send(first)
            for message in connection:
                reply = answer(wire.unpack(message))
                connection.send(reply if isinstance(reply, bytes | str) else wire.pack(reply))
        except ConnectionClosed:
            pass

    with serve(handle, "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"openpi://127.0.0.1:{server.socket.getsockname()[1]}?connect_s=5&timeout_s=5"
        finally:
            server.shutdown()
            thread.join(5)


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ("go away", "says: go away"),
        (b"\xc1", "cannot be read"),
        (b"", "cannot be read"),
        (wire.pack({"protocol": "score_policy/9", "fingerprint": "x", "spec": NOTHING}), "serves no policy of"),
        (wire.pack({"protocol": PROTOCOL, "fingerprint": 3, "spec": NOTHING}), "serves no policy of"),
        (wire.pack({"protocol": PROTOCOL, "fingerprint": "x", "spec": "{}"}), "serves no policy of"),
        (spec_of(b"[" * 100_000), "it is nested too deeply"),
        (spec_of(b"[" * 100 + b"]" * 100), "is nested more than 32 deep"),
        (spec_of(b'{"history": ' + b"9" * 5000 + b"}"), "a number of 5000 digits"),
        (spec_of(b'{"history": NaN}'), "NaN is no number of JSON"),
        (spec_of(b"\xff\xfe"), "is not readable JSON"),
        (spec_of(b"{}"), "lacks interface"),
        (hello(horizon=0), "history, horizon and the two of latent_shape"),
        (hello(horizon=10**12), "entries are"),
        (hello(latent_shape=[4]), "latent_shape is [4], expected 2 entries"),
        (hello(weights=3), "unknown key 'weights'"),
        (hello(interface={**SPEC["interface"], "control_rate_hz": 0}), "control_rate_hz must be positive"),
    ],
)  # fmt: skip
def test_a_first_message_that_lies(first: bytes | str, message: str) -> None:
    with served(first) as uri, pytest.raises(ScoreError) as error:
        open_policy(uri)
    said = str(error.value)
    assert message in said or (message == "entries are" and "67108864 are the most" in said), said
    assert len(said) < 600


def arrays(**changes: Any) -> Callable[[Message], Any]:
    """An honest server whose answers have other entries."""
    return lambda request: {**honest(request), **{k: v for k, v in changes.items() if k in honest(request)}}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (arrays(features=np.ones((2, 2), np.float32)), "features of 127.0.0.1"),
        (arrays(features=np.ones((3, 0), np.float32)), "features of"),
        (arrays(features=np.ones((), np.float32)), "features of"),
        (arrays(features=np.ones((3, 2, 1), np.float32)), "features of"),
        (arrays(features=np.ones((3, 2))), "expected float32"),
        (arrays(features="none"), "are 'none', expected float32 (3, 'c')"),
        (arrays(features=np.full((3, 2), np.nan, np.float32)), "features of 127.0.0.1"),
        (arrays(handle=None), "gave the handle None"),
        (arrays(handle=True), "gave the handle True"),
        (arrays(actions=np.zeros((3, 4, 2), np.float32)), "actions of"),
        (arrays(actions=np.zeros((), np.float32)), "actions of"),
        (arrays(actions=np.full((3, 4, 1), np.inf, np.float32)), "are not finite"),
        (arrays(actions=None), "are None, expected float32"),
        (lambda request: {}, "gave the handle None"),
        (lambda request: {"unknown": True, "handle": 1}, "features of"),
        (lambda request: b"\xdd\xff\xff\xff\xff", "cannot be read"),
        (lambda request: "no more", "failed: no more"),
        (lambda request: honest(request) if request["do"] == "encode" else {"unknown": True}, "actions of"),
    ],
)
def test_an_answer_that_lies(answer: Callable[[Message], Any], message: str) -> None:
    with served(hello(), answer) as uri:
        policy = open_policy(uri)
        with pytest.raises(ScoreError) as error:
            policy.decode(policy.encode(WINDOW), torch.zeros(3, 4, 1))
        policy.close()
    assert message in str(error.value)


def test_features_keep_their_width() -> None:
    widths = iter((2, 3))
    with served(hello(), lambda r: {"handle": 1, "features": np.ones((r["rows"], next(widths)), np.float32)}) as uri:
        policy = open_policy(uri)
        policy.encode(WINDOW)
        with pytest.raises(ScoreError, match=r"features of .* are float32 \(3, 3\), expected float32 \(3, 2\)"):
            policy.encode(WINDOW)
        policy.close()


@pytest.mark.parametrize("port", ["²", "9" * 5000, "70000", "-1", "8000/x", ""])
def test_a_port_is_a_port(port: str) -> None:
    with pytest.raises(ScoreError, match="a remote policy is openpi://host:port") as error:
        open_policy(f"openpi://localhost:{port}")
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("value", ["9" * 5000, "1e999", "nan", "true?", "[1]", "0", "abc", "1e300"])
def test_seconds_are_seconds(value: str) -> None:
    with pytest.raises(ScoreError, match=r"connect_s of .* is .*, expected (a fin|seconds above 0)") as error:
        open_policy(f"openpi://localhost:1?connect_s={value}")
    assert len(str(error.value)) < 200
