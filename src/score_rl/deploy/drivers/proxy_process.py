"""A simulated robot as a process of its own: a rehearsal for hardware, with its clock, its wire and its faults.

    score robot --world twin --address /tmp/robot.sock

The robot lives at its control rate on an absolute schedule, whether anybody listens or not. Period k begins with
the measurement that is published then. A command that arrives within `grace` of the period counts for it, from its
beginning (the robot's own dead time is part of the simulated domain); without one the robot brakes and holds, within
its limits, by the same guard that the policy's computer runs. After a second of that it stops until the next episode.

Messages are lines of JSON (`drivers.lines`). From a client: {"do": "hello" | "begin" | "look" | "command" | "stop" |
"status"} with an "id", a whole number, that the answer repeats. Whatever else comes is answered with an {"error":
...}. To the client that began the episode also, unasked, one {"reading": ...} per period. The latest `begin` owns the
robot while its connection lives; others may ask for its status. An owner that has been silent for `OWNER_SILENCE_S`
gives way to the next who begins.
"""

from __future__ import annotations

import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import torch

from score_rl.contracts import Frame, StepResult
from score_rl.core.clouds import views_of
from score_rl.core.errors import ScoreError
from score_rl.core.files import to_plain
from score_rl.core.records import parse, parse_json
from score_rl.core.seeding import rng
from score_rl.deploy.bundle.spec import franka_leap_limits
from score_rl.deploy.drivers.address import listening
from score_rl.deploy.drivers.lines import LineError, Lines, decode, encode
from score_rl.deploy.drivers.proxy import RobotProcessConfig, check_config
from score_rl.deploy.guard.guard import Guard, GuardAction, summarize_counts
from score_rl.deploy.guard.limits import guard_limits
from score_rl.sim.task import get_task
from score_rl.sim.world import SimulatedWorld, make_world

MAX_CLIENTS = 16
"""Connections at a time; beyond them the one that has been silent longest is dropped, but never the owner."""
OWNER_SILENCE_S = 10.0
"""Time without a message after which the owner of the robot gives way to another client, on the robot's clock."""
MAX_COMMAND = 1 << 18
"""Bytes of a client's message."""
LARGEST = 2**53
"""Whole numbers on the wire are smaller."""


class RobotProcess:
    """The robot: a world of one environment, a guard, and whoever is connected.

    A control period has two halves: `_awaiting` a command, and then, once the command is settled and the physics of
    the period is computed, waiting for the next period's beginning.
    """

    def __init__(
        self, world: SimulatedWorld, config: RobotProcessConfig, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock`: seconds, never running backwards. Raises ScoreError for settings out of range."""
        check_config(config)
        self.world, self.config, self._clock = world, config, clock
        robot = world.robot
        self.guard = Guard(guard_limits(franka_leap_limits(robot, tuple(world.task.observed))))
        self._period_s = 1 / (world.spec.interface.control_rate_hz * config.speed) if config.speed else 0.0
        self._selector = selectors.DefaultSelector()
        self._clients: dict[socket.socket, None] = {}
        """Who is connected; those that said something last stand behind the others."""
        self._owner: socket.socket | None = None
        self._owner_spoke = 0.0
        self._running = self._awaiting = self._closing = False
        self._step, self._commands, self._missed, self._ended, self._held = 0, 0, 0, "", ""
        self._reading: dict[str, Any] = {}
        self._late: list[tuple[float, bytes]] = []
        self._episode_began, self._period, self._deadline = 0.0, 0, 0.0

    # ---- loop ---------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Listen and live until `close`; when this returns the robot rests. Raises ScoreError; see `listening`."""
        with self._selector, listening(self.config.address) as listener:
            self._selector.register(listener, selectors.EVENT_READ, None)
            while not self._closing:
                for key, _ in self._selector.select(self._wait_s()):
                    if key.data is None:
                        self._accept(listener)
                    else:
                        self._receive(key.data)
                self._live(self._clock())
            self.guard.stop("closed")
            while self._running:
                self._settle(None)
                self._simulate()

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:  # who called has hung up already
            return
        # A client that does not read must never hold up the robot: it is dropped (`_transmit`).
        connection.setblocking(False)
        self._clients[connection] = None
        self._selector.register(connection, selectors.EVENT_READ, Lines(connection, MAX_COMMAND))
        if len(self._clients) > MAX_CLIENTS:
            self._drop(next(client for client in self._clients if client is not self._owner))

    def close(self, *_: Any) -> None:
        """Leave `serve` soon; may be a signal handler."""
        self._closing = True

    def _wait_s(self) -> float:
        """Time until something is due; never more than 0.2 s, so that signals are noticed."""
        due = [when for when, _ in self._late]
        if self._running and self.config.speed:
            due.append(self._deadline if self._awaiting else self._began(self._period + 1))
        return min(max(0.0, min(due) - self._clock()), 0.2) if due else 0.2

    def _live(self, now: float) -> None:
        """Do whatever is due."""
        for message in [message for message in self._late if message[0] <= now]:
            self._late.remove(message)
            self._transmit(self._owner, message[1])
        alone = self._owner is None or bool(self.guard.stopped)
        if self._running and self._awaiting and (alone or (self.config.speed and now >= self._deadline)):
            self._missed += 1
            self._settle(None)
            self._simulate()
        if not self._awaiting and self._running and now >= self._began(self._period + 1):
            self._next_period()

    # ---- one control period -------------------------------------------------------------------------------------

    def _begin(self, seed: int) -> None:
        frame = self.world.reset([seed]).actor
        self.guard.start(frame["command"][0].numpy())
        self._chance = rng("robot faults", self.config.faults.seed, seed)
        self._step, self._commands, self._missed, self._ended, self._held, self._frozen = 0, 0, 0, "", "", 0
        self._running = True
        self._late.clear()
        self._reading = {"frame": _plain(frame), "forces_n": None, "success": False, "ended": ""}
        self._episode_began, self._period = self._clock(), 0
        self._publish(faultless=True)

    def _began(self, period: int) -> float:
        """When a control period of the episode begins, counted from its start so that nothing adds up on the way."""
        return self._episode_began + period * self._period_s

    def _next_period(self) -> None:
        self._period += 1
        self._publish()

    def _publish(self, faultless: bool = False) -> None:
        """A period begins: send its measurement and wait for a command."""
        began = self._began(self._period) if self.config.speed else self._clock()
        self._deadline = began + self.config.grace * self._period_s
        self._awaiting, self._running = not self._ended, not self._ended
        self._reading |= {"number": self._step, "measured_at": began}
        faults, (late, breaks, drops) = self.config.faults, self._chance.random(3)
        line = encode({"reading": self._reading})
        if not faultless and breaks < faults.disconnect:
            self._drop(self._owner)
        if not faultless and drops < faults.drop_readings and not self._ended:
            return
        late_s = 0.0 if faultless else faults.delay_s + late * faults.jitter_s
        if late_s:
            self._late.append((began + late_s / (self.config.speed or 1.0), line))
        else:
            self._transmit(self._owner, line)

    def _settle(self, command: Any) -> str:
        """Decide what this period sends: the command within the limits, or braking; why it is braking, or ""."""
        try:
            verdict, refusal = self.guard.step(command), ""
        except ScoreError as error:  # no list of the right numbers
            verdict, refusal = self.guard.step(None), str(error)
        self._held = verdict.reason if verdict.action in (GuardAction.HOLD, GuardAction.STOP) else ""
        self._awaiting = False
        return refusal or self._held

    def _simulate(self) -> None:
        """The physics of a period whose command is settled."""
        result = self.world.step(torch.from_numpy(self.guard.last)[None])
        self._step += 1
        self._ended = _ending(result)
        if not self._ended and self.guard.stopped and self.guard.resting:
            self._ended = "stopped"
        freezes, self._frozen = self._chance.random() < self.config.faults.freeze, max(0, self._frozen - 1)
        if freezes and not self._frozen:
            self._frozen = self.config.faults.freeze_steps
        if not self._frozen:
            self._reading |= {"frame": _plain(result.final_observation.actor)}
        force = [float(result.info["peak_force_n"][0])] if self.config.sense_forces else None
        self._reading |= {"success": bool(result.success[0]), "ended": self._ended, "forces_n": force}
        if self._closing and self._ended:
            self._running = False

    # ---- messages -----------------------------------------------------------------------------------------------

    def _receive(self, lines: Lines) -> None:
        connection = lines.connection
        try:
            received = lines.receive()
        except LineError as error:
            self._transmit(connection, encode({"error": str(error)}))
            received = None
        for line in received or ():
            if connection in self._clients:  # else it was dropped meanwhile, and nothing of it counts any more
                self._handle(connection, line)
        if received is None:
            self._drop(connection)

    def _handle(self, connection: socket.socket, line: bytes) -> None:
        """Answer one message; none whatever ends the robot."""
        number, awaited = None, self._awaiting
        self._clients[connection] = self._clients.pop(connection)
        if connection is self._owner:
            self._owner_spoke = self._clock()
        try:
            message = decode(line)
            number = _whole(message, "id") if message.get("id") is not None else None
            answer = self._answer(connection, message)
        except (LineError, ScoreError) as error:
            answer = {"error": str(error)}
        except Exception:
            traceback.print_exc()
            if connection is self._owner:  # nobody else can bring the robot to a stop
                self.guard.stop("internal_error")
            answer = {"error": "internal error; the robot's log has the rest"}
        if answer:
            self._transmit(connection, encode({"id": number} | answer))
        if awaited and not self._awaiting:
            self._simulate()  # behind the answer, which need not wait for the physics

    def _answer(self, connection: socket.socket, message: Mapping[str, Any]) -> dict[str, Any]:
        """What a message is answered; {}: nothing. Raises ScoreError for what cannot be done."""
        do = message.get("do")
        if do == "hello":
            described = {"name": self.world.robot.name, "speed": self.config.speed, "clock": self._clock()}
            return described | {"interface": to_plain(self.world.spec.interface)}
        if do == "status":
            return self.status()
        if do == "begin":
            seed = _whole(message, "seed")
            silent_s = self._clock() - self._owner_spoke
            if self._owner not in (None, connection) and silent_s < OWNER_SILENCE_S:
                raise ScoreError("somebody else drives the robot")
            self._owner, self._owner_spoke = connection, self._clock()
            self._begin(seed)
            return {"began": True}
        if do not in ("stop", "look", "command"):
            raise ScoreError(f"unknown message {_short(do)}")
        if connection is not self._owner:
            raise ScoreError("begin an episode first")
        if do == "stop":
            self.guard.stop("requested")
            return {"stopped": True}
        if do == "look":
            return {"views": self._look(message.get("keys"))}
        return self._command(message.get("command"))

    def _look(self, keys: Any) -> dict[str, Any]:
        """Views of the state whose measurement was published last."""
        views = self.world.spec.interface.views
        if not isinstance(keys, list) or not all(isinstance(key, str) and key in views for key in keys):
            raise ScoreError(f"the robot's views are {sorted(views)}, not {_short(keys)}")
        return _plain(self.world.look(keys)) if keys else {}

    def _command(self, command: Any) -> dict[str, Any]:
        if self._running and self._chance.random() < self.config.faults.drop_commands:
            return {}
        self._commands += 1
        refused = (self._ended or "late") if not self._running or not self._awaiting else self._settle(command)
        return {"sent": self.guard.last.tolist(), "refused": refused}

    def status(self) -> dict[str, Any]:
        """What the robot is doing, for whoever looks after it."""
        state = "moving" if self._running and not self._held else "holding"
        return {
            "state": "stopped" if self.guard.stopped else state,
            "reason": self.guard.stopped or self._held or self._ended,
            "resting": self.guard.resting,
            "step": self._step,
            "commands": self._commands,
            "missed": self._missed,
            "driven": self._owner is not None,
            "guard": summarize_counts(self.guard.counts),
        }

    def _transmit(self, connection: socket.socket | None, line: bytes) -> None:
        try:
            if connection is not None:
                connection.sendall(line)
        except OSError:
            self._drop(connection)

    def _drop(self, connection: socket.socket | None) -> None:
        """Hang up; an episode that this client drove goes on without commands, so the robot brakes and holds."""
        if connection is self._owner:
            self._owner = None
        if connection in self._clients:
            del self._clients[connection]
            self._selector.unregister(connection)
            connection.close()


def _whole(message: Mapping[str, Any], name: str) -> int:
    """A whole number of a message. Raises ScoreError."""
    value = message.get(name)
    if type(value) is not int or not 0 <= value < LARGEST:
        raise ScoreError(f"{name} is {_short(value)}, expected a whole number from 0 to 2^53 - 1")
    return value


def _short(value: Any) -> str:
    """What a stranger sent, short and printable; a list may be too deep to be written out at all."""
    return f"a {type(value).__name__}" if isinstance(value, list | dict) else ascii(value)[:80]


def _plain(frame: Frame) -> dict[str, list[Any]]:
    return {key: value[0].tolist() for key, value in frame.items()}


def _ending(result: StepResult) -> str:
    """Why an episode ended; empty where it goes on."""
    if not bool(result.done[0]):
        return ""
    named = [name for name in ("fault", "nan") if bool(result.info[name][0])]
    return named[0] if named else "success" if bool(result.terminated[0]) else "time_limit"


def run_robot(config: RobotProcessConfig) -> None:
    """Be the robot until SIGTERM or SIGINT. Raises ScoreError for settings that are wrong, and an address in use."""
    check_config(config)
    torch.set_num_threads(1)
    views = views_of(config.observation, config.cloud, len(get_task(config.task).observed))
    world = make_world(config.task, config.world, 1, config.robot_seed, threads=1, views=views)
    robot = RobotProcess(world, config)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, robot.close)
    robot.serve()


if __name__ == "__main__":
    try:
        run_robot(parse(RobotProcessConfig, parse_json(sys.argv[1], "the robot's settings"), "the robot's settings"))
    except ScoreError as error:
        sys.exit(str(error))
