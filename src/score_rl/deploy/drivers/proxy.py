"""The client's half of the simulated robot (`drivers.proxy_process`): a driver like that of any other robot.

Needs neither simulator nor torch.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from score_rl.core.errors import ScoreError
from score_rl.core.files import to_plain
from score_rl.deploy.drivers.lines import LineError, Lines, encode
from score_rl.deploy.drivers.protocol import Reading, RobotLost, RobotSpec

CONNECT_S = 180.0
"""How long a robot that is just starting is waited for."""


@dataclass(frozen=True)
class Faults:
    """What goes wrong, at random, on the way between robot and client. Times are the robot's."""

    delay_s: float = 0.0
    """Every measurement is sent this late."""
    jitter_s: float = 0.0
    """And up to this much later still."""
    drop_readings: float = 0.0
    """Probability that a measurement is never sent."""
    drop_commands: float = 0.0
    """Probability that a command does not arrive."""
    freeze: float = 0.0
    """Probability, per control step, that the sensors freeze."""
    freeze_steps: int = 6
    """Control steps for which they then do."""
    disconnect: float = 0.0
    """Probability, per control step, that the connection breaks."""
    seed: int = 0
    """Seed of all of it, together with the episode's."""


@dataclass(frozen=True)
class RobotProcessConfig:
    """Which robot, where, and how fast it lives."""

    task: str = "pinch_cube"
    """What it has before it; `score tasks` lists the names."""
    world: str = "proxy"
    """Its domain: twin, proxy or the path of a TOML file."""
    robot_seed: int = 0
    """Which robot of the domain."""
    address: Path = Path("robot.sock")
    """Unix socket to listen at."""
    speed: float = 1.0
    """Times real time; 0: it waits for every command."""
    grace: float = 0.5
    """Share of a control period within which a command still counts for it."""
    sense_forces: bool = False
    """The fingertips sense contact forces."""
    faults: Faults = field(default_factory=Faults)
    """What goes wrong."""


class ProxyRobot:
    """A `RobotDriver` at the other end of a Unix socket."""

    def __init__(
        self, address: str | Path, connect_s: float | str = CONNECT_S, confirm_s: float | str | None = None
    ) -> None:
        """address: where `score robot` listens. connect_s: how long it may take to come up. confirm_s: how long a
        command's confirmation is waited for; None: half a control period."""
        self.address, self._connect_s = Path(address), float(connect_s)
        self._confirm_s = None if confirm_s is None else float(confirm_s)
        self._socket: socket.socket | None = None
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._numbers = itertools.count()
        self._answers: dict[int, dict[str, Any]] = {}
        self._reading: Reading | None = None
        self._seen, self._lost = -1, ""

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(RobotLost, TimeoutError, ScoreError):
            self.stop()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes the receiving thread, which closes it
            self._thread.join()
            self._socket = None

    def connect(self) -> RobotSpec:
        """See `RobotDriver.connect`."""
        self._socket, self._lost = _reach(self.address, self._connect_s), ""
        self._thread = threading.Thread(target=self._listen, args=(self._socket,), daemon=True)
        self._thread.start()
        answer = self._ask({"do": "hello"}, 10.0)
        speed = float(answer["speed"])
        if self._confirm_s is None:
            self._confirm_s = max(0.02, 0.5 / (answer["control_rate_hz"] * speed)) if speed else 10.0
        self.spec = RobotSpec(
            name=answer["name"],
            observation=answer["observation"],
            action_names=tuple(answer["action_names"]),
            control_rate_hz=float(answer["control_rate_hz"]),
            reports_success=True,
            speed=speed,
        )
        return self.spec

    def begin(self, seed: int) -> Reading:
        """See `RobotDriver.begin`."""
        with self._changed:
            self._reading, self._seen = None, -1
        self._ask({"do": "begin", "seed": seed}, 10.0)
        return self.observe(10.0)

    def observe(self, timeout_s: float) -> Reading:
        """See `RobotDriver.observe`."""
        with self._changed:
            self._changed.wait_for(lambda: self._lost or self._newest() > self._seen, timeout_s)
            if self._reading is None or (self._lost and self._newest() <= self._seen):
                raise RobotLost(self._lost or f"no measurement within {timeout_s:g} s")
            self._seen = self._reading.number
            return self._reading

    def command(self, command: NDArray[Any]) -> NDArray[np.float32]:
        """See `RobotDriver.command`."""
        answer = self._ask({"do": "command", "command": np.asarray(command).tolist()}, self._confirm_s or 1.0)
        return np.asarray(answer["sent"], dtype=np.float32)

    def stop(self) -> None:
        """See `RobotDriver.stop`."""
        if self._socket is not None and not self._lost and self._reading is not None:
            self._ask({"do": "stop"}, max(1.0, self._confirm_s or 1.0))

    def status(self) -> dict[str, Any]:
        """What the robot says of itself; see `RobotProcess.status`."""
        return self._ask({"do": "status"}, 10.0)

    # ---- wire -----------------------------------------------------------------------------------------------------

    def _newest(self) -> int:
        return self._reading.number if self._reading is not None else -1

    def _ask(self, message: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send a message and wait for its answer. Raises RobotLost, TimeoutError, or ScoreError with a refusal."""
        number = next(self._numbers)
        try:
            with self._sending:
                if self._socket is None:
                    raise RobotLost(f"not connected to {self.address}")
                self._socket.sendall(encode(message | {"id": number}))
        except OSError as error:
            raise RobotLost(f"{self.address}: {error}") from error
        with self._changed:
            for old in [old for old in self._answers if old < number - 10]:
                del self._answers[old]  # came after their time
            if not self._changed.wait_for(lambda: self._lost or number in self._answers, timeout_s):
                raise TimeoutError(f"the robot did not answer {message['do']!r} within {timeout_s:g} s")
            if number not in self._answers:
                raise RobotLost(self._lost)
            answer = self._answers.pop(number)
        if "error" in answer:
            raise ScoreError(f"the robot refuses {message['do']!r}: {answer['error']}")
        return answer

    def _listen(self, connection: socket.socket) -> None:
        """Receive until the connection ends (in a thread of its own)."""
        lines, why = Lines(connection), f"{self.address}: the connection ended"
        while True:
            try:
                messages = lines.receive()
            except LineError as error:
                why, messages = f"{self.address}: {error}", None
            with self._changed:
                if messages is None:
                    self._lost = why
                for message in messages or ():
                    if "reading" in message:
                        self._reading = _reading(message["reading"])
                    elif message.get("id") is not None:
                        self._answers[message["id"]] = message
                self._changed.notify_all()
            if messages is None:
                connection.close()
                return


def spawn_robot(config: RobotProcessConfig, log: Path | None = None) -> subprocess.Popen[bytes]:
    """Start a robot process; `ProxyRobot(config.address)` waits for it. `log`: file for its output."""
    config.address.unlink(missing_ok=True)  # of a robot that was killed: nobody must connect to it
    command = [sys.executable, "-m", "score_rl.deploy.drivers.proxy_process", json.dumps(to_plain(config))]
    if log is None:
        return subprocess.Popen(command)
    with log.open("ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=output)


def robot_status(address: Path) -> dict[str, Any]:
    """Ask a robot process what it is doing, without driving it. Raises ScoreError where it does not answer."""
    watcher = ProxyRobot(address, connect_s=5.0)
    with watcher:
        return watcher.status()


def _reach(address: Path, timeout_s: float) -> socket.socket:
    """A connection to a socket that may be about to appear. Raises ScoreError."""
    deadline = time.monotonic() + timeout_s
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(address))
        except OSError as error:
            connection.close()
            if time.monotonic() > deadline:
                raise ScoreError(f"no robot answers at {address}: {error.strerror or error}") from error
            time.sleep(0.05)
        else:
            return connection


def _reading(plain: dict[str, Any]) -> Reading:
    forces = plain.get("forces_n")
    return Reading(
        number=int(plain["number"]),
        measured_at=float(plain["measured_at"]),
        frame={key: np.asarray(value, dtype=np.float32) for key, value in plain["frame"].items()},
        forces_n=None if forces is None else np.asarray(forces, dtype=np.float32),
        success=plain["success"],
        ended=plain["ended"],
    )
