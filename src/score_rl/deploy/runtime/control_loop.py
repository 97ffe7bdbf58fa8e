"""One episode on a robot: a command at every tick of an absolute schedule, whatever else happens.

One control step: wait for the tick and for its measurement; move the window on; let the player say which action is
due, and ask the planner for the next decision in time; pass the action through the guard; send it; write down what
really was sent.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from score_rl.contracts import COMMAND
from score_rl.core.chunks import advance_window, start_window
from score_rl.core.errors import ScoreError
from score_rl.core.interfaces import as_array
from score_rl.core.ranges import Natural, Positive, Share
from score_rl.deploy.bundle.spec import BundleSpec
from score_rl.deploy.clock import Clock
from score_rl.deploy.drivers.protocol import Reading, RobotDriver
from score_rl.deploy.guard.guard import ACTIONS, Guard, GuardAction, GuardConfig, Log, Sensed, Verdict
from score_rl.deploy.guard.watchdog import Watchdog
from score_rl.deploy.runtime.planner import Planner, Player, Request, as_base
from score_rl.deploy.runtime.recorder import Recorder
from score_rl.steering.policy import decision_noise

STATE = "state"
"""Key of the measured joints, in which frozen sensors are looked for."""

BRAKING_STEPS = 50
"""Control steps within which any legal motion comes to rest; a robot that does not is stopped all the same."""

UNPACED_S = 30.0
"""How long a robot that waits for every command is waited for."""


@dataclass(frozen=True)
class RunConfig:
    """How a robot is driven. Shares are of one control period; seconds are the robot's."""

    time_limit_s: Positive = 60.0
    """An episode that neither the robot nor a person ended is ended after this long."""
    lead_steps: Natural | None = None
    """Control steps ahead of its first action at which a decision is asked for; None: as few as the policy's measured
    latency needs (none where it decides within its share of a period)."""
    hand_over_samples: Natural = 0
    """Latents inside the support among which a decision looks for the chunk that goes on best from the running one,
    at the cost of decoding as many; it needs an overlap (lead_steps, or execute_steps below the horizon). 0: the
    steering's own decision."""
    reading_share: Share = 0.2
    """How long after its tick a step waits for its measurement before the last one must do."""
    decision_share: Share = 0.4
    """How long after its tick a step waits for a decision before the rest of the old chunk must do."""
    first_decision_s: Positive = 10.0
    """How long a robot stands at an episode's start and waits for the first decision, before the episode ends."""
    deadline_share: Share = 0.5
    """A command that is sent later than this after its tick has missed its deadline."""
    watchdog_hold_s: Positive = 0.4
    """Silence of the loop after which the watchdog brakes and holds."""
    watchdog_stop_s: Positive = 1.5
    """Silence after which it stops the robot for good."""
    guard: GuardConfig = field(default_factory=GuardConfig)
    """When commands and sensors are doubted."""


@dataclass
class EpisodeReport:
    """What became of one episode."""

    seed: int
    ended: str = ""
    """Why: what the robot said ("success", "fault", ...), "time_limit", "interrupted", "watchdog", "robot_lost",
    "no_decision", "policy_error", or the guard's reason for a stop."""
    success: bool | None = None
    """The success condition held in the end; None where the robot does not know."""
    steps: int = 0
    """Control steps with a command."""
    decisions: int = 0
    fallbacks: int = 0
    """Decisions of the base policy in place of a steered one that the guard refused."""
    late_decisions: int = 0
    """Decisions that were not there when their first action was due."""
    waited_steps: int = 0
    """Control steps of these that the robot stood or braked, since the old chunk had come to its end as well."""
    missed_deadlines: int = 0
    """Commands sent too late, and ticks without any."""
    unconfirmed: int = 0
    """Commands that the robot did not confirm."""
    silent_s: float = 0.0
    """Longest time without a command, if it was longer than `watchdog_hold_s`: the robot braked by itself."""
    repeated_readings: int = 0
    """Ticks whose measurement did not come in time."""
    latency_s: list[float] = field(default_factory=list)
    """From each measurement to its command."""
    decision_s: list[float] = field(default_factory=list)
    """What each decision took."""
    guard: dict[str, int] = field(default_factory=dict)
    """How often the guard did what, and why."""

    def plain(self) -> dict[str, Any]:
        """As written to the log: quantiles in place of the lists, milliseconds."""
        summary = {key: value for key, value in vars(self).items() if not isinstance(value, list)}
        for name, values in (("latency", self.latency_s), ("decision", self.decision_s)):
            if values:
                p50, p99 = np.quantile(values, (0.5, 0.99))
                summary |= {f"{name}_p50_ms": 1e3 * p50, f"{name}_p99_ms": 1e3 * p99}
                summary |= {f"{name}_max_ms": 1e3 * max(values)}
        return summary


@dataclass(frozen=True)
class Parts:
    """What an episode is driven with."""

    spec: BundleSpec
    driver: RobotDriver
    guard: Guard
    planner: Planner
    recorder: Recorder | None
    log: Log
    lock: threading.Lock
    """Held while guard and wire are used: by the loop, or by the watchdog."""
    interrupted: threading.Event
    speed: float
    """Times real time; 0: the robot waits for every command."""
    lead_steps: int
    clock: Clock


class ControlLoop:
    """One episode, from its first measurement to rest."""

    def __init__(
        self, parts: Parts, config: RunConfig, report: EpisodeReport, reading: Reading, watchdog: Watchdog
    ) -> None:
        self.parts, self.config, self.report, self.watchdog = parts, config, report, watchdog
        spec = parts.spec
        self._tick_s = 1 / (spec.interface.control_rate_hz * parts.speed) if parts.speed else 0.0
        """Control period on this computer's clock; 0 where the robot waits for every command."""
        self._start = reading.measured_at
        self._limit = round(config.time_limit_s * spec.interface.control_rate_hz)
        self._clock, self._spoke = parts.clock, parts.clock.now()
        self._sent = 0
        """Actions of plans that were sent: the number of the next one."""
        self._late = -1
        """Number of the decision that was found to be late last."""
        self._player = Player(spec.execute_steps, parts.lead_steps)
        self._reading, self._valid = reading, True
        self._shown = {key: reading.frame.get(key) for key in parts.driver.spec.interface.observation}
        """The last good value of everything that the robot measures: what is recorded."""
        if missing := [key for key, values in self._shown.items() if values is None or not np.isfinite(values).all()]:
            raise ScoreError(f"the robot begins without a measurement of {', '.join(missing)}")
        views = parts.recorder.views if parts.recorder is not None else {}
        self._seen = {key: np.zeros(array.shape, array.dtype) for key, array in views.items()}
        """The last good look of every view that is recorded; zeros before there is one."""
        self._looked: dict[str, NDArray[Any]] = {}
        """Of these, what this step's look has shown."""
        self._window = start_window(_tensors(self._shown, spec), spec.interface.observation, spec.policy.history)
        parts.guard.start(reading.frame[COMMAND])

    def run(self) -> None:
        """Drive to the end. Raises RobotLost."""
        step, braking = 0, 0
        while True:
            self.report.ended = self.report.ended or self._ending(step)
            if self.report.ended:
                if self._reading.ended or self.parts.guard.resting or braking > BRAKING_STEPS:
                    break
                self.parts.guard.stop(self.report.ended)
                braking += 1
            self._act(step)
            step = self._next(step)
            self._read(step)
            step = self._reached(step)
        self._note_silence()
        self.report.success = self._reading.success

    def _ending(self, step: int) -> str:
        """Why the episode should end now; empty where it should go on."""
        if self._reading.ended:
            return self._reading.ended
        if self.watchdog.tripped:
            return "watchdog"
        if self.parts.interrupted.is_set():
            return "interrupted"
        return self.parts.guard.stopped or ("time_limit" if step >= self._limit else "")

    # ---- ticks and measurements -----------------------------------------------------------------------------------

    def _due(self, step: int) -> float:
        """When the tick of a control step is."""
        return self._start + step * self._tick_s

    def _next(self, step: int) -> int:
        """Sleep until the next tick; its number is one more, unless whole periods have been missed."""
        step = self._reached(step + 1)
        if self._tick_s:
            self._clock.sleep(self._due(step) - self._clock.now())
        return self._reached(step)

    def _reached(self, step: int) -> int:
        """The control step whose time it is: `step`, or a later one where whole periods have passed without a command
        (a busy computer, a process that was stopped)."""
        if not self._tick_s:
            return step
        missed = max(0, int((self._clock.now() - self._start) / self._tick_s) - step)
        self.report.missed_deadlines += missed
        return step + missed

    def _note_silence(self) -> bool:
        """Whether the robot has been without a command for so long that it brakes by itself; the report tells it."""
        silent_s = (self._clock.now() - self._spoke) * self.parts.speed
        if silent_s <= self.config.watchdog_hold_s:
            return False
        self.report.silent_s = max(self.report.silent_s, silent_s)
        self.parts.log({"event": "silence", "step": self.report.steps, "seconds": silent_s})
        return True

    def _read(self, step: int) -> None:
        """The measurement of this tick, or the last one where it does not come in time."""
        due, now = self._due(step), self._clock.now
        until = due + self.config.reading_share * self._tick_s if self._tick_s else now() + UNPACED_S
        last = self._reading.number
        while True:
            self._reading = self.parts.driver.observe(max(0.0, until - now()))
            # One that was late for its own tick is not yet this tick's.
            if self._reading.measured_at >= due - self._tick_s / 2 or now() >= until or not self._tick_s:
                break
        self.report.repeated_readings += self._reading.number == last
        good = {key: values for key, values in self._reading.frame.items() if self._is_good(key, values)}
        read = self.parts.spec.interface.observation.keys()
        self._valid = read <= good.keys()
        # What the policy reads is taken whole or not at all: a frame never mixes measurements of different times.
        self._shown |= good if self._valid else {key: good[key] for key in good.keys() - read}
        self._window = advance_window(self._window, _tensors(self._shown, self.parts.spec))

    def _is_good(self, key: str, values: NDArray[Any]) -> bool:
        expected = self._shown.get(key)
        return expected is not None and values.shape == expected.shape and bool(np.isfinite(values).all())

    def _sensed(self) -> Sensed:
        age_s = (self._clock.now() - self._reading.measured_at) * self.parts.speed
        return Sensed(age_s, self._valid, self._reading.frame.get(STATE), self._reading.forces_n)

    # ---- what to send ---------------------------------------------------------------------------------------------

    def _act(self, step: int) -> None:
        """Decide what is due, guard it, send it, record it."""
        sensed = self._sensed()
        usable = sensed.valid and sensed.age_s <= self.config.guard.stale_s and not self.parts.guard.stopped
        if self._note_silence() or not usable:
            self._forget()
        self._looked = self._look(self._seen) or {}
        self._seen = {**self._seen, **self._looked}
        asked, fresh = self._due_action(step) if usable else (None, False)
        waiting = usable and asked is None and self._waits(step)
        with self.parts.lock:
            before = self.parts.guard.last
            verdict = self.parts.guard.step(asked, sensed, fresh, waiting)
            sent, confirmed = self._transmit(verdict, before)
        self._spoke = self._clock.now()
        self.watchdog.feed()
        if asked is not None and verdict.action in (GuardAction.HOLD, GuardAction.STOP):
            self._forget()
        elif asked is not None:
            self._sent += confirmed
        self._note(step, asked, sent, verdict)

    def _forget(self) -> None:
        """What was decided before a hold is out of date after it."""
        self._player.drop()
        self.parts.planner.cancel()

    def _waits(self, step: int) -> bool:
        """There is no action for this step; whether that is because the episode still waits for its first decision,
        which may take `first_decision_s`."""
        self.report.waited_steps += 1
        if self._sent or not self.parts.planner.busy:
            return False
        if self._tick_s and step < self.config.first_decision_s * self.parts.spec.interface.control_rate_hz:
            return True
        self.parts.guard.stop("no_decision")
        return False

    def _note(
        self, step: int, asked: NDArray[np.float32] | None, sent: NDArray[np.float32], verdict: Verdict
    ) -> None:
        """Count and record a command that was sent."""
        now = self._clock.now()
        self.report.steps += 1
        too_late = now > self._due(step) + self.config.deadline_share * self._tick_s
        self.report.missed_deadlines += bool(self._tick_s) and too_late
        latency_s = (now - self._reading.measured_at) * (self.parts.speed or 1.0)
        self.report.latency_s.append(latency_s)
        if self.parts.recorder is not None:
            number = ACTIONS.index(verdict.action)
            finite = asked if asked is not None and np.isfinite(asked).all() else None
            shown = {**self._shown, **self._seen}
            self.parts.recorder.add(shown, sent, finite, number, latency_s, self._reading.success)

    def _transmit(self, verdict: Verdict, before: NDArray[np.float32]) -> tuple[NDArray[np.float32], bool]:
        """Send a verdict; what the robot says that it was sent is what the guard goes on from; and whether it did."""
        try:
            sent, confirmed = self.parts.driver.command(verdict.command), True
        except TimeoutError:  # it did not arrive, so the robot still holds the one before
            self.report.unconfirmed += 1
            self.parts.log({"event": "unconfirmed", "step": self.report.steps})
            sent, confirmed = before, False
        if not np.array_equal(sent, verdict.command):
            self.parts.guard.confirm(sent)
        return sent, confirmed

    def _due_action(self, step: int) -> tuple[NDArray[np.float32] | None, bool]:
        """(action, whether a new chunk begins with it) of this step; None where there is none in time."""
        planner = self.parts.planner
        if self._player.asks(self._sent) and not planner.busy and (views := self._views()) is not None:
            latent_shape = self.parts.spec.policy.latent_shape
            noise = decision_noise([self.report.seed], self.report.decisions, latent_shape)
            running = self._player.rest(self._sent) if self.config.hand_over_samples else None
            planner.submit(Request(self._sent, self.report.decisions, self._window | views, noise, running))
            self.report.decisions += 1
        if self._player.needs(self._sent) and planner.busy:
            patience = self._due(step) + self.config.decision_share * self._tick_s
            until = patience if self._tick_s else self._clock.now() + UNPACED_S
            while planner.busy and self._take_over(max(0.0, until - self._clock.now())):
                pass
            if planner.busy and self._late != self.report.decisions:
                self._late = self.report.decisions
                self.report.late_decisions += 1
        return self._player.action(self._sent)

    def _views(self) -> dict[str, Tensor] | None:
        """The views of a decision as windows of one row and frame; None where the robot has no good ones."""
        wanted = self.parts.spec.interface.views
        more = self._look([key for key in wanted if key not in self._looked])
        if more is None:
            return None
        views = {**self._looked, **more}
        return {key: torch.from_numpy(views[key])[None, None] for key in wanted}

    def _look(self, keys: Collection[str]) -> dict[str, NDArray[Any]] | None:
        """Some of the robot's views as of the newest measurement; None where they are not there, or not finite."""
        if not keys:
            return {}
        try:
            found, seen = self.parts.driver.look(tuple(keys)), {}
            for key in keys:
                seen[key] = as_array(found[key], self.parts.driver.spec.interface.views[key], f"view '{key}'")
        except (TimeoutError, KeyError, ScoreError) as error:
            self.parts.log({"event": "no_view", "step": self.report.steps, "error": str(error)})
            return None
        return seen if all(bool(np.isfinite(view).all()) for view in seen.values()) else None

    def _take_over(self, wait_s: float) -> bool:
        """Change to the next plan if it is there and good; whether another decision was asked for instead."""
        guard, planner = self.parts.guard, self.parts.planner
        try:
            plan = planner.take(wait_s)
        except Exception as error:  # whatever a policy throws, the robot must be brought to rest
            planner.cancel()
            guard.stop("policy_error")
            self.parts.log({"event": "policy_error", "error": repr(error)})
            return False
        if plan is None:
            return False
        self.report.decision_s.append(plan.seconds)
        rows = plan.chunk[self._sent - plan.request.step :]
        if not len(rows):
            self._player.drop()
            return False
        action, _ = guard.review(rows, plan.support, plan.request.base)
        if action is GuardAction.PASS:
            self._player.take(plan)
        elif action is GuardAction.FALLBACK:
            self.report.fallbacks += 1
            planner.submit(as_base(plan.request))
            return True
        else:
            self._player.drop()
        return False


def _tensors(frame: Mapping[str, NDArray[Any]], spec: BundleSpec) -> dict[str, Tensor]:
    """What the policy reads of a frame, as a batch of one."""
    arrays = spec.interface.observation
    return {key: torch.from_numpy(as_array(frame[key], array, f"'{key}'"))[None] for key, array in arrays.items()}
