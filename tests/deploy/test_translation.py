"""Clients that call things by other names and send more than is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from score_client import wire
from served import POLICY, ToyServed, ToySpec
from serving import running
from toys import vectors
from websockets.sync.client import connect

from score_rl.contracts import ArraySpec, Interface, PolicySpec
from score_rl.core.errors import ScoreError
from score_rl.core.interfaces import action_spec
from score_rl.deploy.server.session import Session
from score_rl.deploy.server.translation import Translation, make_translation, message_limit

RENAME = ("observation/state=state", "observation/last=command")


def translated(message: dict[str, Any], ignore: tuple[str, ...] = ("observation/*image*",)) -> dict[str, Any]:
    return make_translation(RENAME, ignore, POLICY).apply(message)


def test_names_are_the_policys_and_images_are_dropped() -> None:
    sent = {"observation/state": 1, "observation/last": 2, "observation/wrist_image": 3, "prompt": "go"}
    assert translated(sent) == {"state": 1, "command": 2, "prompt": "go"}
    assert translated({"state": 1, "observation/last": 2}) == {"state": 1, "command": 2}  # its own name still works
    assert translated({"observation/state": 1, "x": 2}, ("observation/*", "x")) == {"state": 1}


@pytest.mark.parametrize(
    ("rename", "ignore", "reason"),
    [
        (("state",), (), "rename is CLIENT_NAME=KEY, not 'state'"),
        (("=state",), (), "rename is CLIENT_NAME=KEY, not '=state'"),
        (("a=stat",), (), "key in rename 'a=stat' 'stat'.*state"),
        (("a=state", "a=command"), (), "rename names 'a' twice, as 'state' and 'command'"),
        ((), ("st*",), r"the policy reads 'state', which ignore st\* would drop"),
    ],
)
def test_what_cannot_be_meant_is_refused(rename: tuple[str, ...], ignore: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ScoreError, match=reason):
        make_translation(rename, ignore, POLICY)


def test_two_entries_for_one_key_are_refused() -> None:
    with pytest.raises(ScoreError, match="two entries of the message mean 'state'"):
        translated({"observation/state": 1, "state": 2})


def test_a_session_reads_lists_under_the_clients_names() -> None:
    line = Session(ToySpec(), 3, 7, 0, Translation({"observation/state": "state"}, ("image",)))
    data = wire.pack({"observation/state": [5, -5.0], "command": [1], "image": np.zeros((4, 4, 3), np.uint8)})
    from score_client.wire import unpack

    assert line.request(unpack(data)).window["state"].tolist() == [[[5.0, -5.0], [5.0, -5.0]]]
    with pytest.raises(ScoreError, match="'depth'"):
        line.request({"observation/state": np.zeros(2), "command": np.zeros(1), "depth": np.zeros(1)})


def test_the_limit_follows_from_the_interface() -> None:
    """2 + 4 frames of 3 numbers fit into the least limit; 500 000 numbers in 6 frames and a view of pixels do not."""
    assert message_limit(POLICY, ()) == 262144 and message_limit(POLICY, ("x",)) == 262144 + 2**24
    views = {"camera": ArraySpec((480, 640, 3), "uint8")}
    wide = PolicySpec(Interface(vectors(state=500_000), action_spec(("push",), ""), 10.0, views), 2, 4, (4, 1))
    assert message_limit(wide, ()) == 65536 + 6 * 500_000 * 9 + 480 * 640 * 3 * 2


def test_a_client_as_it_is_gets_its_actions() -> None:
    """With an image of 900 KB beside its state, which is over the limit of what the policy reads."""
    how = {"rename": RENAME, "ignore": ("observation/*image*",)}
    sent = {"observation/state": [5.0, 0.0], "observation/last": [0.0], "prompt": "go"}
    sent["observation/wrist_image"] = np.zeros((480, 640, 3), np.uint8)
    with running(ToyServed(), **how) as server, connect(f"ws://127.0.0.1:{server.port}") as client:
        told = wire.unpack(client.recv(timeout=10), nested=True)
        assert told["rename"] == {"observation/state": "state", "observation/last": "command"}
        assert told["ignore"] == ["observation/*image*"]
        client.send(wire.pack(sent))
        assert wire.unpack(client.recv(timeout=10), nested=True)["actions"][0].tolist() == [5.0, 5.0]
