"""A policy whose actions say which decision and row they come from, a robot without physics, and a clock to tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from toys import policy_spec

from score_rl.deploy.bundle.spec import VERSION, BundleSpec, RobotInfo
from score_rl.deploy.clock import Clock
from score_rl.deploy.drivers.protocol import Reading, RobotLost, RobotSpec
from score_rl.deploy.runtime.planner import Plan, Planner, Request
from score_rl.steering.policy import Decision

NAMES = ("one", "two")
STEP = 0.01
"""What one row of a chunk adds to the command: far below every limit."""


class ToldClock(Clock):
    """Time passes where somebody sleeps, and nowhere else."""

    def __init__(self, start: float = 12345.678) -> None:
        self.time = start

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += max(0.0, seconds)


class ToldPlanner(Planner):
    """Decisions that take as long as a test says, by its clock and without a thread: `takes_s(number)` seconds."""

    def __init__(self, policy: Any, clock: Clock, takes_s: Callable[[int], float]) -> None:
        super().__init__(policy.decide, policy.base_decide)
        self._clock, self._takes_s = clock, takes_s
        self._asked: tuple[float, Request] | None = None

    @property
    def busy(self) -> bool:
        return self._asked is not None

    def submit(self, request: Request) -> None:
        self._asked = (self._clock.now() + self._takes_s(request.number), request)

    def take(self, timeout_s: float | None) -> Plan | None:
        assert self._asked is not None and timeout_s is not None
        ready, request = self._asked
        wait_s = max(0.0, ready - self._clock.now())
        self._clock.sleep(min(wait_s, timeout_s))
        if wait_s > timeout_s:
            return None
        self._asked = None
        return self._plan(request)

    def cancel(self) -> None:
        self._asked = None
        super().cancel()


def toy_spec(horizon: int = 6, execute_steps: int = 4, history: int = 2) -> BundleSpec:
    return BundleSpec(
        version=VERSION,
        method="base",
        task="toy",
        policy=policy_spec({"state": 2, "command": 2}, NAMES, history, horizon),
        execute_steps=execute_steps,
        action_low=(-3.0, -3.0),
        action_high=(3.0, 3.0),
        action_velocity_limit=(2.0, 2.0),
        action_acceleration_limit=(20.0, 20.0),
        robot=RobotInfo("toy", NAMES, None, None),
        provenance={},
        evaluation=(),
    )


class ToyPolicy:
    """Goes on from the command in its window: row j is command + (j + 1) STEP, in dimension one (two for the base).

    `sleep_s` makes it slow, `spoil` changes its chunks (by the number of the decision), `windows` remembers.
    """

    def __init__(
        self,
        sleep_s: float = 0.0,
        spoil: Callable[[int, Tensor], Tensor] | None = None,
        clock: Clock | None = None,
        **spec: int,
    ) -> None:
        self.spec, self.sleep_s, self.spoil, self.clock = toy_spec(**spec), sleep_s, spoil, clock or Clock()
        self.windows: list[dict[str, np.ndarray]] = []
        self.noise: list[np.ndarray] = []

    def decide(self, window: Mapping[str, Tensor], noise: Tensor) -> Decision:
        self.windows.append({key: value[0].numpy().copy() for key, value in window.items()})
        self.noise.append(noise[0].numpy().copy())
        self.clock.sleep(self.sleep_s)
        chunk = self._chunk(window, 0)
        return Decision(self.spoil(len(self.windows) - 1, chunk) if self.spoil else chunk, noise)

    def base_decide(self, window: Mapping[str, Tensor], noise: Tensor) -> Decision:
        return Decision(self._chunk(window, 1), noise)

    def _chunk(self, window: Mapping[str, Tensor], dimension: int) -> Tensor:
        ramp = torch.zeros(1, self.spec.policy.horizon, 2)
        ramp[0, :, dimension] = STEP * torch.arange(1, self.spec.policy.horizon + 1)
        return window["command"][:, -1:] + ramp


class ToyRobot:
    """Goes where it is told at once; measures at its rate, `speed` times real time (0: whenever it is asked).

    `disturb(step, frame)` may change what is measured (None: nothing is) or raise; `length`: steps of an episode,
    which then ends with `ending`.
    """

    def __init__(
        self,
        speed: float = 0.0,
        length: int = 10**9,
        disturb: Callable[[int, dict[str, Any]], dict[str, Any] | None] = lambda step, frame: frame,
        clock: Clock | None = None,
        ending: str = "success",
    ) -> None:
        self.spec = RobotSpec("toy", toy_spec().interface, reports_success=True, speed=speed)
        self.length, self.disturb, self.clock, self.ending = length, disturb, clock or Clock(), ending
        self.sent: list[np.ndarray] = []
        self.stops = 0

    def connect(self) -> RobotSpec:
        return self.spec

    def begin(self, seed: int) -> Reading:
        self.position, self.sent, self.step, self.began = np.zeros(2, np.float32), [], 0, self.clock.now()
        self.last = self._measure()
        return self.last

    def observe(self, timeout_s: float) -> Reading:
        until = self.clock.now() + timeout_s
        if self.spec.speed:
            tick = 0.1 / self.spec.speed
            due = self.began + (self.step + 1) * tick
            if until < due:
                self.clock.sleep(max(0.0, until - self.clock.now()))
                return self.last
            self.clock.sleep(max(0.0, due - self.clock.now()))
            self.step = max(self.step + 1, int((self.clock.now() - self.began) / tick))
        else:
            self.step = len(self.sent)
        frame = self.disturb(self.step, {"state": self.position + 0.5 * self.step, "command": self.position})
        if frame is not None:
            self.last = self._measure(frame)
        elif self.spec.speed:
            self.clock.sleep(max(0.0, until - self.clock.now()))
        return self.last

    def command(self, command: np.ndarray) -> np.ndarray:
        self.position = np.array(command, np.float32)
        self.sent.append(self.position)
        return self.position

    def stop(self) -> None:
        self.stops += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _measure(self, frame: dict[str, Any] | None = None) -> Reading:
        if frame is None:
            frame = self.disturb(0, {"state": self.position, "command": self.position}) or {}
        frame = {key: np.float32(value) for key, value in frame.items()}
        ended = self.ending if self.step >= self.length else ""
        return Reading(self.step, self.clock.now(), frame, success=ended == "success", ended=ended)


def lost(step: int, frame: dict[str, Any]) -> dict[str, Any]:
    """Disturbance: the robot is gone at step 5."""
    if step >= 5:
        raise RobotLost("gone")
    return frame
