"""Execution of chunks, step by step."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from fake_server import FakeServer
from score_client import ChunkBroker, ClientConfig, PolicyClient, PolicyUnavailable
from websockets.sync.server import ServerConnection


def frame(step: int) -> dict[str, np.ndarray]:
    return {"state": np.array([step, 0.0])}


def actions(broker: ChunkBroker, steps: range, settle: bool = False) -> list[float]:
    """First action value of each step; settle: wait behind each step until the question on its way is answered."""
    taken = []
    for step in steps:
        taken.append(float(broker.act(frame(step))[0]))
        if settle and broker._pending is not None:
            broker._pending[1].exception()
    return taken


def test_the_first_actions_of_every_chunk_are_run() -> None:
    fake = FakeServer()
    with fake.running() as uri, PolicyClient(ClientConfig(uri)) as client:
        broker = ChunkBroker(client)
        # 100 per decision + state at the decision + 10 per action of the chunk; two of four actions run.
        assert actions(broker, range(6)) == [0, 10, 102, 112, 204, 214]
        assert [message["state"][:, 0].tolist() for message in fake.messages] == [[0], [1, 2], [3, 4]]
        broker.reset(seed=3)
        assert actions(broker, range(7, 9)) == [7, 17]
        assert broker.last.actions[0, 0] == 7
        broker.close()


def test_all_of_a_chunk_can_be_run() -> None:
    fake = FakeServer()
    with fake.running() as uri, PolicyClient(ClientConfig(uri)) as client:
        assert actions(ChunkBroker(client, execute_steps=4), range(5)) == [0, 10, 20, 30, 104]


@pytest.mark.parametrize(("execute", "lead"), [(0, 0), (5, 0), (3, 2), (2, -1)])
def test_chunks_that_are_too_short_are_refused(execute: int, lead: int) -> None:
    fake = FakeServer()
    with (
        fake.running() as uri,
        PolicyClient(ClientConfig(uri)) as client,
        pytest.raises(ValueError, match="a chunk has 4 actions"),
    ):
        ChunkBroker(client, execute, lead)


def test_with_a_lead_the_next_chunk_takes_over_at_its_own_step() -> None:
    fake = FakeServer()
    with fake.running() as uri, PolicyClient(ClientConfig(uri)) as client:
        broker = ChunkBroker(client, execute_steps=2, lead_steps=1)
        # Asked at steps 0, 2, 4, ...: decision 1 (at step 2) takes over at step 3 with its action number 1.
        assert actions(broker, range(7), settle=True) == [0, 10, 20, 112, 122, 214, 224]
        assert [message["state"][-1, 0] for message in fake.messages] == [0, 2, 4, 6]
        broker.close()


def test_a_late_answer_takes_over_when_it_comes() -> None:
    fake, there = FakeServer(), threading.Event()

    def late(fake: FakeServer, connection: ServerConnection, message: dict[str, Any]) -> Any:
        if message["decision"] > 0:
            there.wait(5)
        return fake.chunk(connection, message)

    fake.answer = late
    with fake.running() as uri, PolicyClient(ClientConfig(uri, decide_timeout_s=5.0)) as client:
        broker = ChunkBroker(client, execute_steps=1, lead_steps=1)
        assert actions(broker, range(3)) == [0, 10, 20]
        there.set()
        broker._pending[1].result()
        assert actions(broker, range(3, 4)) == [100 + 1 + 20]  # asked for at step 1: its action number 2
        broker.reset()
        there.clear()
        assert actions(broker, range(4)) == [0, 10, 20, 30]
        threading.Timer(0.2, there.set).start()
        assert actions(broker, range(4, 5)) == [100 + 1 + 30]  # the chunk before is used up: wait
        broker.close()


@pytest.mark.slow
def test_without_an_answer_the_robot_is_told_and_the_next_step_asks_anew() -> None:
    fake = FakeServer()
    silent = threading.Event()
    fake.answer = lambda fake, connection, message: None if silent.is_set() else fake.chunk(connection, message)
    with fake.running() as uri, PolicyClient(ClientConfig(uri, decide_timeout_s=0.5)) as client:
        broker = ChunkBroker(client)
        assert actions(broker, range(2)) == [0, 10]
        silent.set()
        for step in (2, 3):
            with pytest.raises(PolicyUnavailable):
                broker.act(frame(step))
        silent.clear()
        # Decisions 1 and 2 were lost; the history has a frame for every step all the same.
        assert broker.act(frame(4))[0] == 304
        assert fake.messages[-1]["state"][:, 0].tolist() == [3, 4]


@pytest.mark.slow
def test_with_a_lead_failures_count_only_once_the_chunk_is_used_up() -> None:
    fake = FakeServer()
    silent = threading.Event()
    fake.answer = lambda fake, connection, message: None if silent.is_set() else fake.chunk(connection, message)
    with fake.running() as uri, PolicyClient(ClientConfig(uri, decide_timeout_s=0.5)) as client:
        broker = ChunkBroker(client, execute_steps=1, lead_steps=1)
        assert broker.act(frame(0))[0] == 0
        silent.set()
        assert actions(broker, range(1, 4), settle=True) == [10, 20, 30]
        with pytest.raises(PolicyUnavailable):
            broker.act(frame(4))
        silent.clear()
        assert broker.act(frame(5))[0] % 100 == 5
        broker.close()
