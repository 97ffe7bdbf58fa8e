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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray

from score_rl.contracts import ArraySpec, Interface
from score_rl.core.clouds import CloudConfig, Sight, config_of
from score_rl.core.errors import ScoreError
from score_rl.core.files import to_plain
from score_rl.core.interfaces import as_array, check_interface
from score_rl.core.ranges import NonNegative, Range, Seed, Share
from score_rl.core.records import check, parse, validate
from score_rl.deploy.bundle.spec import BundleSpec
from score_rl.deploy.drivers.address import answers, check_address
from score_rl.deploy.drivers.lines import LineError, Lines, decode, encode
from score_rl.deploy.drivers.protocol import Reading, RobotLost, RobotSpec
from score_rl.sim.task import get_task

LONGEST_S = 3600.0
"""No delay or time to wait is longer."""
FASTEST = 1000.0
"""No robot lives faster, times real time."""
CONNECT_S = 180.0
"""How long a robot that is just starting is waited for."""


@dataclass(frozen=True)
class Faults:
    """What goes wrong, at random, on the way between robot and client. Times are the robot's."""

    delay_s: Annotated[float, Range(0, LONGEST_S)] = 0.0
    """Every measurement is sent this late."""
    jitter_s: Annotated[float, Range(0, LONGEST_S)] = 0.0
    """And up to this much later still."""
    drop_readings: Share = 0.0
    """Probability that a measurement is never sent."""
    drop_commands: Share = 0.0
    """Probability that a command does not arrive."""
    freeze: Share = 0.0
    """Probability, per control step, that the sensors freeze."""
    freeze_steps: Annotated[int, Range(1, 10**9)] = 6
    """Control steps for which they then do."""
    disconnect: Share = 0.0
    """Probability, per control step, that the connection breaks."""
    seed: Seed = 0
    """Seed of all of it, together with the episode's."""


@dataclass(frozen=True)
class RobotProcessConfig:
    """Which robot, where, and how fast it lives."""

    task: str = "pinch_cube"
    """What it has before it; `score tasks` lists the names."""
    world: str = "proxy"
    """Its domain: twin, proxy or the path of a TOML file."""
    robot_seed: Seed = 0
    """Which robot of the domain."""
    observation: Sight = "pose"
    """"cloud": it can also be looked at through a depth camera, see `cloud`."""
    cloud: CloudConfig = field(default_factory=CloudConfig)
    """Which points that camera shows; a policy asks for those that it was trained with."""
    address: Path = Path("robot.sock")
    """Unix socket to listen at."""
    speed: Annotated[float, Range(0, FASTEST)] = 1.0
    """Times real time; 0: it waits for every command."""
    grace: Annotated[float, Range(1e-3, 1)] = 0.5
    """Share of a control period within which a command still counts for it."""
    sense_forces: bool = False
    """The fingertips sense contact forces."""
    faults: Faults = field(default_factory=Faults)
    """What goes wrong."""


def robot_for(policy: BundleSpec, **settings: Any) -> RobotProcessConfig:
    """A robot with a bundle's task before it, which can be looked at as its policy needs.

    settings: further fields. Raises ScoreError for views that no simulated robot has, and for another task.
    """
    views = policy.interface.views
    cloud = config_of(views, len(get_task(policy.task).observed))
    return RobotProcessConfig(policy.task, observation="cloud" if views else "pose", cloud=cloud, **settings)


def check_config(config: RobotProcessConfig) -> None:
    """Raise ScoreError for settings out of range."""
    check_address(config.address)
    validate(config)
    if 0 < config.speed < 1 / FASTEST:
        raise ScoreError(
            f"speed is {config.speed}, expected 0 (it waits for every command), or {1 / FASTEST:g} or more"
        )


@dataclass(frozen=True)
class _Hello:
    """What a robot process says of itself first."""

    name: str
    clock: float
    """`time.monotonic()` there."""
    speed: NonNegative
    interface: Interface


class ProxyRobot:
    """A `RobotDriver` at the other end of a Unix socket."""

    def __init__(
        self,
        address: str | Path,
        connect_s: float | str = CONNECT_S,
        confirm_s: float | str | None = None,
        process: subprocess.Popen[bytes] | None = None,
    ) -> None:
        """address: where `score robot` listens. connect_s: how long it may take to come up. confirm_s: how long a
        command's confirmation is waited for; None: half a control period. process: the robot's, where this program
        started it; once it has ended nobody waits for it any longer. Raises ScoreError for values out of range."""
        self.address, self._connect_s = Path(address), _seconds("connect_s", connect_s)
        self._confirm_s = None if confirm_s is None else _seconds("confirm_s", confirm_s)
        self._process, self._clock_lead_s = process, 0.0
        check_address(self.address)
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
        self._socket, self._lost = _reach(self.address, self._connect_s, self._process), ""
        self._thread = threading.Thread(target=self._listen, args=(self._socket,), daemon=True)
        self._thread.start()
        asked = time.monotonic()
        hello = parse(_Hello, self._ask({"do": "hello"}, 10.0), self.address, others=True)
        check_interface(hello.interface, str(self.address))
        self._clock_lead_s = clock_lead(asked, hello.clock, time.monotonic())
        if self._confirm_s is None:
            speed, rate_hz = hello.speed, hello.interface.control_rate_hz
            self._confirm_s = max(0.02, 0.5 / (rate_hz * speed)) if speed else 10.0
        self.spec = RobotSpec(name=hello.name, interface=hello.interface, reports_success=True, speed=hello.speed)
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

    def look(self, keys: Sequence[str]) -> dict[str, NDArray[Any]]:
        """See `RobotDriver`."""
        answer = self._ask({"do": "look", "keys": list(keys)}, self._confirm_s or 1.0)
        try:
            return _arrays(answer["views"], self.spec.interface.views)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise RobotLost(f"{self.address}: what the robot sees is none: {error!r}") from error

    def command(self, command: NDArray[Any]) -> NDArray[np.float32]:
        """See `RobotDriver.command`."""
        answer = self._ask({"do": "command", "command": np.asarray(command).tolist()}, self._confirm_s or 1.0)
        try:
            return as_array(answer.get("sent"), self.spec.interface.action, "what the robot was sent")
        except (ScoreError, ValueError, OverflowError) as error:
            raise RobotLost(f"{self.address}: {error}") from error

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
        lines, why = Lines(connection), ""
        while not why:
            try:
                received = lines.receive()
                why = "" if received is not None else f"{self.address}: the connection ended"
                for message in map(decode, received or ()):
                    self._take(message)
            except LineError as error:
                why = f"{self.address}: {error}"
        with self._changed:
            self._lost = why
            self._changed.notify_all()
        connection.close()

    def _take(self, message: Mapping[str, Any]) -> None:
        """A measurement, or an answer that somebody waits for. Raises LineError."""
        with self._changed:
            if "reading" in message:
                self._reading = _reading(message["reading"], self.spec.interface.observation, self._clock_lead_s)
            elif isinstance(message.get("id"), int):
                self._answers[message["id"]] = dict(message)
            self._changed.notify_all()


def spawn_robot(config: RobotProcessConfig, log: Path | None = None) -> subprocess.Popen[bytes]:
    """Start a robot process; `ProxyRobot(config.address)` waits for it. `log`: file for its output.

    Raises ScoreError for settings out of range, and where somebody lives at the address already.
    """
    check_config(config)
    if answers(config.address):
        raise ScoreError(f"somebody listens at {config.address} already; choose another address")
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


def clock_lead(asked: float, told: float, answered: float) -> float:
    """Seconds by which this clock is ahead of another one, which `told` its time between `asked` and `answered`.

    One that tells a time from in between is taken for the same clock, so that nothing is lost to rounding.
    """
    return 0.0 if asked <= told <= answered else (asked + answered) / 2 - told


def _reach(address: Path, timeout_s: float, process: subprocess.Popen[bytes] | None) -> socket.socket:
    """A connection to a socket that may be about to appear. Raises ScoreError."""
    deadline = time.monotonic() + timeout_s
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(address))
        except OSError as error:
            connection.close()
            if process is not None and process.poll() is not None:
                raise ScoreError(f"the robot process ended with exit code {process.returncode}") from error
            if time.monotonic() > deadline:
                raise ScoreError(f"no robot answers at {address}: {error.strerror or error}") from error
            time.sleep(0.05)
        else:
            return connection


def _seconds(name: str, value: float | str) -> float:
    """An option of the driver, which may come as text from the command line. Raises ScoreError."""
    try:
        seconds = float(value)
    except ValueError:
        raise ScoreError(f"{name} is {value!r}, expected a number of seconds") from None
    check(Annotated[float, Range(0, LONGEST_S)], seconds, name)
    return seconds


def _arrays(plain: Mapping[str, Any], specs: Mapping[str, ArraySpec]) -> dict[str, NDArray[Any]]:
    """Those of the arrays that came, in their types."""
    return {key: np.asarray(plain[key], dtype=array.dtype) for key, array in specs.items() if key in plain}


def _reading(plain: Mapping[str, Any], specs: Mapping[str, ArraySpec], clock_lead_s: float) -> Reading:
    """A measurement as it came. Raises LineError for one that is none."""
    try:
        forces = plain.get("forces_n")
        return Reading(
            number=int(plain["number"]),
            measured_at=float(plain["measured_at"]) + clock_lead_s,
            frame=_arrays(plain["frame"], specs),
            forces_n=None if forces is None else np.asarray(forces, dtype=np.float32),
            success=plain["success"],
            ended=plain["ended"],
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise LineError(f"a measurement is none: {error!r}") from error
