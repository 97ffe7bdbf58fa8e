"""A policy whose actions say which decision and row they come from, and a robot without physics."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from score_rl.deploy.bundle.spec import VERSION, BundleSpec, ObservationField, RobotInfo
from score_rl.deploy.drivers.protocol import Reading, RobotLost, RobotSpec
from score_rl.steering.policy import Decision

NAMES = ("one", "two")
STEP = 0.01
"""What one row of a chunk adds to the command: far below every limit."""


def toy_spec(horizon: int = 6, execute_steps: int = 4, history: int = 2) -> BundleSpec:
    return BundleSpec(
        version=VERSION,
        method="base",
        task="toy",
        observation={
            "state": ObservationField(2, "rad", "", NAMES),
            "command": ObservationField(2, "rad", "", NAMES),
        },
        history=history,
        horizon=horizon,
        execute_steps=execute_steps,
        action_names=NAMES,
        action_unit="rad",
        action_low=(-3.0, -3.0),
        action_high=(3.0, 3.0),
        action_velocity_limit=(2.0, 2.0),
        action_acceleration_limit=(20.0, 20.0),
        control_rate_hz=10.0,
        robot=RobotInfo("toy", NAMES, None, None),
        provenance={},
        evaluation=(),
    )


class ToyPolicy:
    """Goes on from the command in its window: row j is command + (j + 1) STEP, in dimension one (two for the base).

    `sleep_s` makes it slow, `spoil` changes its chunks (by the number of the decision), `windows` remembers.
    """

    def __init__(
        self, sleep_s: float = 0.0, spoil: Callable[[int, Tensor], Tensor] | None = None, **spec: int
    ) -> None:
        self.spec, self.sleep_s, self.spoil = toy_spec(**spec), sleep_s, spoil
        self.windows: list[dict[str, np.ndarray]] = []
        self.noise: list[np.ndarray] = []

    def decide(self, window: Mapping[str, Tensor], noise: Tensor) -> Decision:
        self.windows.append({key: value[0].numpy().copy() for key, value in window.items()})
        self.noise.append(noise[0].numpy().copy())
        time.sleep(self.sleep_s)
        chunk = self._chunk(window, 0)
        return Decision(self.spoil(len(self.windows) - 1, chunk) if self.spoil else chunk, noise)

    def base_decide(self, window: Mapping[str, Tensor], noise: Tensor) -> Decision:
        return Decision(self._chunk(window, 1), noise)

    def _chunk(self, window: Mapping[str, Tensor], dimension: int) -> Tensor:
        ramp = torch.zeros(1, self.spec.horizon, 2)
        ramp[0, :, dimension] = STEP * torch.arange(1, self.spec.horizon + 1)
        return window["command"][:, -1:] + ramp


class ToyRobot:
    """Goes where it is told at once; measures at its rate, `speed` times real time (0: whenever it is asked).

    `disturb(step, frame)` may change what is measured (None: nothing is) or raise; `length`: steps of an episode.
    """

    def __init__(
        self,
        speed: float = 0.0,
        length: int = 10**9,
        disturb: Callable[[int, dict[str, Any]], dict[str, Any] | None] = lambda step, frame: frame,
    ) -> None:
        self.spec = RobotSpec("toy", {"state": 2, "command": 2}, NAMES, 10.0, reports_success=True, speed=speed)
        self.length, self.disturb = length, disturb
        self.sent: list[np.ndarray] = []
        self.stops = 0

    def connect(self) -> RobotSpec:
        return self.spec

    def begin(self, seed: int) -> Reading:
        self.position, self.sent, self.step, self.began = np.zeros(2, np.float32), [], 0, time.monotonic()
        self.last = self._measure()
        return self.last

    def observe(self, timeout_s: float) -> Reading:
        until = time.monotonic() + timeout_s
        if self.spec.speed:
            tick = 0.1 / self.spec.speed
            due = self.began + (self.step + 1) * tick
            if until < due:
                time.sleep(max(0.0, until - time.monotonic()))
                return self.last
            time.sleep(max(0.0, due - time.monotonic()))
            self.step = max(self.step + 1, int((time.monotonic() - self.began) / tick))
        else:
            self.step = len(self.sent)
        frame = self.disturb(self.step, {"state": self.position + 0.5 * self.step, "command": self.position})
        if frame is not None:
            self.last = self._measure(frame)
        elif self.spec.speed:
            time.sleep(max(0.0, until - time.monotonic()))
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
        ended = "success" if self.step >= self.length else ""
        return Reading(self.step, time.monotonic(), frame, success=bool(ended), ended=ended)


def lost(step: int, frame: dict[str, Any]) -> dict[str, Any]:
    """Disturbance: the robot is gone at step 5."""
    if step >= 5:
        raise RobotLost("gone")
    return frame
