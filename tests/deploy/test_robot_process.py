"""No client ends the robot, captures it or leaves it moving; no address costs anybody a file. By a told clock."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from score_rl.cli import main as cli
from score_rl.core.errors import ScoreError
from score_rl.deploy.drivers.address import listening
from score_rl.deploy.drivers.proxy import (
    Faults,
    ProxyRobot,
    RobotProcessConfig,
    check_config,
    clock_lead,
    spawn_robot,
)
from score_rl.deploy.drivers.proxy_process import MAX_CLIENTS, OWNER_SILENCE_S, RobotProcess
from score_rl.sim.world import SimulatedWorld, make_world

# ---- the address ------------------------------------------------------------------------------------------------


def leave_a_dead_robot(address: Path) -> None:
    """A socket and its mark, as after `kill -9`."""
    script = (
        "import os, sys; from pathlib import Path; from score_rl.deploy.drivers.address import listening\n"
        "with listening(Path(sys.argv[1])): os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(address)])
    assert stat.S_ISSOCK(address.lstat().st_mode)


def test_an_address_leaves_nothing_behind(tmp_path: Path) -> None:
    address = tmp_path / "robot.sock"
    with listening(address) as listener, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(address))
        assert listener.accept()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_robots_socket_is_replaced(tmp_path: Path) -> None:
    address = tmp_path / "robot.sock"
    leave_a_dead_robot(address)
    with listening(address), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(address))
    assert list(tmp_path.iterdir()) == []


def a_file(path: Path) -> None:
    path.write_text("notes")


def a_link(path: Path) -> None:
    path.with_name("target").write_text("notes")
    path.symlink_to("target")


def a_foreign_socket(path: Path) -> None:
    """Dead, but nobody of ours made it."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def a_foreign_mark(path: Path) -> None:
    path.with_name(path.name + ".lock").write_text("a lock of somebody else")


def a_file_in_place_of_a_dead_robot(path: Path) -> None:
    leave_a_dead_robot(path)
    path.unlink()
    path.write_text("notes")


@pytest.mark.parametrize(
    "put", [a_file, Path.mkdir, a_link, a_foreign_socket, a_foreign_mark, a_file_in_place_of_a_dead_robot]
)
def test_what_is_not_ours_is_left_alone(put: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address = tmp_path / "notes.txt"
    put(address)

    def contents() -> dict[str, Any]:
        """Every file but our own mark of before."""
        files = {path.name: (path.lstat().st_ino, path.lstat().st_size) for path in tmp_path.iterdir()}
        return files if put is a_foreign_mark else {k: v for k, v in files.items() if not k.endswith(".lock")}

    before = contents()
    with pytest.raises(ScoreError, match="choose another address"), listening(address):
        pass
    assert contents() == before
    assert cli.main(["robot", "--world", "twin", "--address", str(address)]) == 2
    assert contents() == before
    assert "notes.txt" in capsys.readouterr().err


def test_an_address_belongs_to_one_robot_at_a_time(tmp_path: Path) -> None:
    """The second is refused while the first lives, and takes nothing away when it ends."""
    address = tmp_path / "robot.sock"
    with listening(address) as listener:
        with pytest.raises(ScoreError, match=f"another robot .process {os.getpid()}. lives at"), listening(address):
            pass
        with pytest.raises(ScoreError, match="somebody listens at"):
            spawn_robot(RobotProcessConfig(address=address))
        address.with_name("robot.sock.lock").unlink()  # even without its mark
        with pytest.raises(ScoreError, match="somebody listens at"), listening(address):
            pass
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(address))
            assert listener.accept()


@pytest.mark.parametrize("name", ["/tmp/" + "x" * 120, "", ".", "/tmp/a\0b"])
def test_an_address_that_no_socket_can_have_is_refused_at_once(name: str) -> None:
    with pytest.raises(ScoreError, match="the address"):
        ProxyRobot(name)
    with pytest.raises(ScoreError, match="the address"):
        check_config(RobotProcessConfig(address=Path(name)))


# ---- settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"speed": -1.0}, "speed is -1.0, expected 0 to 1000"),
        ({"speed": float("nan")}, "speed is nan"),
        ({"speed": float("inf")}, "speed is inf"),
        ({"speed": 1e-300}, "speed is 1e-300"),
        ({"grace": 0.0}, "grace is 0.0"),
        ({"grace": float("nan")}, "grace is nan"),
        ({"robot_seed": -1}, "robot_seed is -1"),
        ({"faults": Faults(delay_s=-0.1)}, "faults.delay_s is -0.1"),
        ({"faults": Faults(jitter_s=float("inf"))}, "faults.jitter_s is inf"),
        ({"faults": Faults(drop_commands=1.1)}, "faults.drop_commands is 1.1"),
        ({"faults": Faults(freeze=float("nan"))}, "faults.freeze is nan"),
        ({"faults": Faults(freeze_steps=0)}, "faults.freeze_steps is 0"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ScoreError, match=message):
        check_config(replace(RobotProcessConfig(), **change))
    with pytest.raises(ScoreError, match=message):
        spawn_robot(replace(RobotProcessConfig(), **change))


def test_nobody_waits_for_a_robot_that_has_died(tmp_path: Path) -> None:
    """Not 180 s: until it is seen."""
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(ScoreError, match="ended with exit code 3"):
        ProxyRobot(tmp_path / "robot.sock", process=process).connect()


# ---- what clients say -------------------------------------------------------------------------------------------


class Told:
    """A clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def world() -> SimulatedWorld:
    return make_world("pinch_cube", "twin", 1, threads=1)


class Served:
    """A robot that serves in a thread, and clients that speak to it line by line."""

    def __init__(self, world: SimulatedWorld, address: Path, clock: Told) -> None:
        self.clock, self.address = clock, address
        self.robot = RobotProcess(world, RobotProcessConfig(address=address, speed=0.0), clock)
        self.thread = threading.Thread(target=self.robot.serve, daemon=True)

    def client(self) -> socket.socket:
        until = time.monotonic() + 60
        while True:
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(60)
            try:
                client.connect(str(self.address))
                return client
            except OSError:
                assert time.monotonic() < until
                client.close()
                time.sleep(0.01)

    def status(self) -> dict[str, Any]:
        with self.client() as client:
            return ask(client, b'{"do": "status", "id": 1}')


@pytest.fixture
def served(world: SimulatedWorld, tmp_path: Path) -> Iterator[Served]:
    served = Served(world, tmp_path / "robot.sock", Told())
    served.thread.start()
    yield served
    served.robot.close()
    served.thread.join(60)
    assert not served.thread.is_alive()
    assert not served.address.exists()


def ask(client: socket.socket, line: bytes) -> dict[str, Any]:
    """The answer to a line; measurements are skipped."""
    client.sendall(line + b"\n")
    return answer(client)


def answer(client: socket.socket) -> dict[str, Any]:
    while True:
        text = b""
        while not text.endswith(b"\n"):
            piece = client.recv(1)
            assert piece, "hung up"
            text += piece
        message = json.loads(text)
        if "reading" not in message:
            return message


BEGIN = b'{"do": "begin", "seed": 1, "id": 7}'
HOSTILE = [
    b'{"do":"begin","id":1}',
    b'{"do":"begin","seed":1e999,"id":1}',
    b'{"do":"begin","seed":-1,"id":1}',
    b'{"do":"begin","seed":1.0,"id":1}',
    b'{"do":"begin","seed":true,"id":1}',
    b'{"do":"begin","seed":NaN,"id":1}',
    b'{"do":"begin","seed":"1","id":1}',
    b'{"do":"begin","seed":1' + b"0" * 400 + b',"id":1}',
    b'{"do":"begin","seed":' + b"[" * 400 + b"]" * 400 + b',"id":1}',
    b'{"do":"begin","seed":' + b"[" * 985 + b"]" * 985 + b',"id":1}',
    b'{"do":' + b"[" * 985 + b"]" * 985 + b',"id":1}',
    b'{"do":"status","id":' + b"[" * 985 + b"]" * 985 + b"}",
    b'{"do":"status","id":1' + b"0" * 4000 + b"}",
    b'{"do":"status","id":NaN}',
    b'{"do":"status","id":true}',
    b'{"do":"fly","id":1}',
    b'{"do":"fly\\ud800","id":1}',
    b'{"do":["begin"],"id":1}',
    b'{"id":1}',
    b"{}",
    b"null",
    b"[]",
    b"NaN",
    b'"begin"',
    b"1" + b"0" * 5000,
    b"[" * 60_000,
    b'{"a":' * 5000 + b"1" + b"}" * 5000,
    b"\x00\xff",
    b"",
    b'{"do":"begin"',
]


@pytest.mark.parametrize("line", HOSTILE, ids=lambda line: repr(line[:30]))
def test_every_line_is_answered_with_an_error(served: Served, line: bytes) -> None:
    """By a stranger and by the owner alike; the owner's episode goes on."""
    with served.client() as owner, served.client() as stranger:
        assert ask(owner, BEGIN) == {"id": 7, "began": True}
        for client in (stranger, owner):
            reply = ask(client, line)
            assert isinstance(reply["error"], str) and len(reply["error"]) < 300
            assert "internal" not in reply["error"]
        assert ask(owner, b'{"do": "stop", "id": 8}') == {"id": 8, "stopped": True}
        assert served.status()["reason"] == "requested"


def numbers(value: str, n: int = 23) -> bytes:
    return f'{{"do": "command", "command": [{", ".join([value] * n)}], "id": 2}}'.encode()


@pytest.mark.parametrize(
    "line",
    [
        numbers("1" + "0" * 400),
        numbers("-1" + "0" * 4000),
        numbers("null"),
        numbers('"0.1"'),
        numbers("true"),
        numbers("[0.1]"),
        numbers("NaN"),
        numbers("Infinity"),
        numbers("0.1", 22),
        b'{"do": "command", "command": ' + b"[" * 900 + b"]" * 900 + b', "id": 2}',
        b'{"do": "command", "command": {"a": 1}, "id": 2}',
        b'{"do": "command", "id": 2}',
    ],
    ids=lambda line: repr(line[:60]),
)
def test_a_command_that_is_none_is_refused_and_the_robot_brakes(served: Served, line: bytes) -> None:
    with served.client() as owner:
        ask(owner, BEGIN)
        held = served.robot.guard.last
        reply = ask(owner, line)
        assert reply["refused"] and reply["sent"] == held.tolist()
        status = ask(owner, b'{"do": "status", "id": 3}')
        assert (status["state"], status["step"], status["resting"]) == ("holding", 1, True)
        good = (held + np.float32(0.001)).tolist()
        assert ask(owner, json.dumps({"do": "command", "command": good, "id": 4}).encode()) == {
            "id": 4, "sent": good, "refused": "",
        }  # fmt: skip


# ---- who drives -------------------------------------------------------------------------------------------------


def eventually(served: Served, driven: bool) -> None:
    until = time.monotonic() + 60
    while served.status()["driven"] is not driven:
        assert time.monotonic() < until
        time.sleep(0.01)


STATUS = b'{"do": "status", "id": 1}\n'


@pytest.mark.parametrize(
    "burst",
    [
        STATUS * 2600 + BEGIN + b"\n",
        BEGIN + b"\n" + STATUS * 2600,
        STATUS * 2600 + (BEGIN + b"\n") * 50,
        (BEGIN + b"\n") * 3,
        STATUS * 2600 + BEGIN + b"\n" + b"{]\n" * 100,
        BEGIN + b"\n" + b"x" * 2_000_000,
        BEGIN,
    ],
    ids=["status-begin", "begin-status", "status-begins", "begins", "garbage", "endless", "half"],
)
def test_who_hangs_up_is_owner_no_more(served: Served, burst: bytes) -> None:
    """One burst, of which no answer is read, and away."""
    with served.client() as client:
        client.settimeout(5)
        with suppress(OSError):  # dropped before the burst is over
            client.sendall(burst)
    eventually(served, driven=False)
    with served.client() as other:
        assert ask(other, BEGIN) == {"id": 7, "began": True}


def test_a_silent_owner_gives_way(served: Served) -> None:
    """It is connected, and stopped for good; after 10 s on the robot's clock the next one may begin."""
    with served.client() as silent, served.client() as other:
        ask(silent, BEGIN)
        served.clock.now += OWNER_SILENCE_S - 0.1
        assert "somebody else drives" in ask(other, BEGIN)["error"]
        assert ask(silent, b'{"do": "status", "id": 3}')["driven"]  # it speaks again
        served.clock.now += OWNER_SILENCE_S - 0.1
        assert "somebody else drives" in ask(other, BEGIN)["error"]
        served.clock.now += 0.2
        assert ask(other, BEGIN) == {"id": 7, "began": True}
        assert "begin an episode first" in ask(silent, b'{"do": "stop", "id": 3}')["error"]


def test_many_connections_shut_nobody_out(served: Served) -> None:
    """Those that have been silent longest go; the owner stays."""
    with served.client() as owner:
        ask(owner, BEGIN)
        idle = [served.client() for _ in range(3 * MAX_CLIENTS)]
        assert served.status()["driven"]
        with served.client() as other:
            assert "somebody else drives" in ask(other, BEGIN)["error"]
        assert ask(owner, b'{"do": "stop", "id": 3}')["stopped"]
        assert len(served.robot._clients) <= MAX_CLIENTS
        for client in idle:
            client.close()


# ---- clocks -----------------------------------------------------------------------------------------------------


def test_two_clocks_agree_or_are_made_to() -> None:
    """The robot's time between question and answer: the same clock. Else it is taken for the middle of the two."""
    assert clock_lead(asked=10.0, told=10.3, answered=10.5) == 0.0
    assert clock_lead(asked=10.0, told=1000010.25, answered=10.5) == -1e6
    assert clock_lead(asked=10.0, told=0.0, answered=10.5) == 10.25


def test_measurements_are_told_in_the_clients_time(served: Served) -> None:
    """The robot's clock stands at 1000 s; this computer's shows something else."""
    with robot_of(served) as robot:
        before = time.monotonic()
        measured_at = robot.begin(1).measured_at
        assert abs(measured_at - before) < 60


@contextmanager
def robot_of(served: Served) -> Iterator[ProxyRobot]:
    with ProxyRobot(served.address, connect_s=60, confirm_s=60) as robot:
        yield robot
