"""The guard: the last thing a command passes, in simulation and on hardware alike. Numpy only, no clock of its own.

One `Guard` watches one robot. It sees what is about to be sent and what the sensors say, and answers with a command
that respects the robot's limits whatever it was asked:

    |c_k - c_(k-1)| <= v dt        |c_k - 2 c_(k-1) + c_(k-2)| <= a dt^2        low <= c_k <= high

The three agree with each other only if the robot can always brake before a bound. A displacement u per step that is
braked by A = a dt^2 per step covers, with n = floor(u / A) further steps,

    u + (u - A) + (u - 2 A) + ... = (n + 1) u - A n (n + 1) / 2,

so u is allowed only where this is at most the room to the bound. Then u - A is always allowed in the next step, and
by induction there is always a legal command: the one that brakes. `hold` and `stop` send exactly that one.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from score_rl.core.errors import ScoreError
from score_rl.core.ranges import Count, NonNegative, Positive
from score_rl.core.records import validate
from score_rl.deploy.guard.limits import GuardLimits

Log = Callable[[Mapping[str, Any]], None]
"""Takes one record of plain values; called for everything but `pass`."""


class GuardAction(StrEnum):
    """What the guard did with a command or a chunk, from mild to severe."""

    PASS = "pass"
    """Sent as asked, to the bit."""
    CLIP = "clip"
    """Moved to the nearest legal command."""
    BLEND = "blend"
    """On the way from where the robot is to a chunk that starts elsewhere."""
    FALLBACK = "fallback"
    """A chunk refused: the base policy is asked instead, with z ~ N(0, I)."""
    HOLD = "hold"
    """Not sent: the robot brakes and stands until commands are good again."""
    STOP = "stop"
    """As hold, but for the rest of the episode."""


ACTIONS = tuple(GuardAction)
"""Order of the numbers under which recordings store an action."""


@dataclass(frozen=True)
class GuardConfig:
    """When the guard doubts what it is given."""

    blend_steps: Count = 4
    """Control steps in which the command moves over to a chunk that does not start where the robot is. A chunk that
    starts farther away than the robot can move in that time is refused."""
    stale_s: Positive = 0.25
    """Age of the newest observation above which the robot holds."""
    frozen_steps: Count = 3
    """Control steps of bit-identical joint readings, while the command moves, after which sensors count as frozen."""
    frozen_motion: NonNegative = 0.05
    """How far apart the commands of that time must be in some dimension, action units (rad). Ways there and back do
    not add up: encoders that are coarser than a dither rightly show nothing of it."""
    frozen_span_s: NonNegative = 1.0
    """Time within which the command must have moved so far; one that creeps may push against something."""
    stop_s: Positive = 1.0
    """Time of uninterrupted holding above which the robot stops."""
    force_limit_n: Positive | None = None
    """Sensed fingertip force above which the robot stops; None: no limit."""
    support_limit: NonNegative | None = None
    """Support score of a chunk above which the base policy is asked instead; None: no alarm. The score of
    `SupportAlarm` is a rank in [0, 1]: 0.99 would refuse one in a hundred of the base policy's own chunks."""


@dataclass(frozen=True)
class Sensed:
    """What is known of the robot when a command is about to be sent."""

    age_s: float = 0.0
    """Time since the newest valid observation was measured."""
    valid: bool = True
    """The newest observation is complete and finite."""
    joints: NDArray[Any] | None = None
    """Measured joints of the newest observation; None: frozen sensors are not looked for."""
    forces_n: NDArray[Any] | None = None
    """Fingertip forces; None where there is no sensor."""


@dataclass(frozen=True)
class Verdict:
    """What may be sent, and why."""

    command: NDArray[np.float32]
    action: GuardAction
    reason: str
    """One word (see `Guard.step`); empty for `pass`."""


NOTHING = Sensed()


class Guard:
    """Limits and alarms of one robot; `start` before every episode, then `step` once per control step.

    `step` answers with these reasons. clip: position, velocity, acceleration. blend: jump. hold: no_command,
    command_not_finite, sensor_not_finite, stale, frozen. stop: force, held_too_long, or what `stop` was given.
    """

    def __init__(self, limits: GuardLimits, config: GuardConfig | None = None, log: Log | None = None) -> None:
        """Raises ScoreError for limits that make no sense."""
        self.limits, self.config = limits, config or GuardConfig()
        self.counts: Counter[tuple[str, str]] = Counter()
        """(action, reason) -> how often, since the guard was made."""
        _check(limits, self.config)
        self._log, self._dt = log, 1.0 / limits.control_rate_hz
        span = math.ceil(self.config.frozen_span_s * limits.control_rate_hz)
        self._path: deque[NDArray[np.float64]] = deque(maxlen=1 + max(span, self.config.frozen_steps))
        """Commands of the last `frozen_span_s`, since the joint readings changed last."""
        # As commands know them: float32.
        self._low, self._high = np.float64(np.float32([limits.low, limits.high]))
        # Rounding a command to float32 must not break a limit: planning is a hair stricter than acting, and acting
        # a hair stricter than the limits.
        hair = 4 * np.finfo(np.float32).eps * np.maximum(abs(self._low), abs(self._high))
        self._max_step = np.asarray(limits.velocity) * self._dt - hair
        self._max_change = np.asarray(limits.acceleration) * self._dt**2 - hair
        self._planned_change = self._max_change - hair
        if (self._max_step <= 0).any() or (self._planned_change <= 0).any():
            raise ScoreError("the velocity or acceleration limits are below what a float32 command can resolve")
        self.start((self._low + self._high) / 2)

    # ---- life of an episode -------------------------------------------------------------------------------------

    def start(self, command: ArrayLike) -> None:
        """An episode begins with the robot at rest, holding `command` (a,).

        Raises ScoreError where that is not finite or outside the position limits: the robot must be brought back
        by hand, not by a policy.
        """
        held = self._shaped(command, "the posture at the start")
        inside = (held >= self._low) & (held <= self._high)
        if not inside.all():
            joint = int(np.argmin(inside))
            raise ScoreError(
                f"the robot starts with {self.limits.names[joint]} = {held[joint]:g}, outside "
                f"[{self._low[joint]:g}, {self._high[joint]:g}]"
            )
        self._last, self._before = held, held.copy()
        self._stopped, self._held, self._steps = "", 0, 0
        self._blend, self._offset, self._rejoin = 0, np.zeros_like(held), False
        self._joints: NDArray[Any] | None = None
        self._same = 0
        self._path.clear()
        self._path.append(held)

    @property
    def last(self) -> NDArray[np.float32]:
        """(a,) the command that was sent last."""
        return self._last.astype(np.float32)

    @property
    def resting(self) -> bool:
        """The command does not move any more."""
        return bool((self._last == self._before).all())

    @property
    def stopped(self) -> str:
        """Why the robot has been stopped for the rest of the episode; empty where it has not."""
        return self._stopped

    def stop(self, reason: str) -> None:
        """From now on brake and stand, whatever is asked (a signal, a watchdog, a person)."""
        self._stopped = self._stopped or reason

    def confirm(self, sent: ArrayLike) -> None:
        """Tell what the robot really was sent, where that differs from the last verdict. Raises ScoreError."""
        self._last = self._shaped(sent, "the command that was sent")

    # ---- once per decision --------------------------------------------------------------------------------------

    def review(self, chunk: ArrayLike, support: float | None = None, base: bool = False) -> tuple[GuardAction, str]:
        """Judge a new chunk (k, a) whose first row would be sent next: pass, fallback or, for the base's own, hold.

        support: score of the chunk or of its observation, judged against `support_limit` (`base` is exempt).
        Reasons: chunk_not_finite, chunk_jump, support. Raises ScoreError for a wrong shape.
        """
        values = _numbers(chunk, "a chunk")
        if values.ndim != 2 or values.shape[1] != len(self._last) or not len(values):
            raise ScoreError(f"a chunk has shape {values.shape}, expected (steps, {len(self._last)})")
        reason, limit = "", self.config.support_limit
        if not np.isfinite(values).all():
            reason = "chunk_not_finite"
        elif (abs(self._inside(values[0]) - self._last) > self.config.blend_steps * self._max_step).any():
            reason = "chunk_jump"
        elif limit is not None and support is not None and not base and not support <= limit:
            reason = "support"
        action = GuardAction.PASS if not reason else GuardAction.HOLD if base else GuardAction.FALLBACK
        if reason:
            self._note(action, reason, support=support)
        return action, reason

    # ---- once per control step ----------------------------------------------------------------------------------

    def step(
        self, proposed: ArrayLike | None, sensed: Sensed = NOTHING, fresh: bool = False, waiting: bool = False
    ) -> Verdict:
        """The command (a,) to send now, float32; `proposed` is what is asked for, None where there is nothing.

        fresh: `proposed` is the first of a new chunk. waiting: the first command of all is not there yet; the robot
        may stand for longer than `stop_s` then. Raises ScoreError for a wrong shape, and for what is no number.
        """
        asked = None if proposed is None else self._shaped(proposed, "a command", finite=False)
        self._watch(sensed)
        if self._over_force(sensed):
            self.stop("force")
        doubt = self._doubt(asked, sensed)
        self._held = self._held + 1 if doubt and not (waiting and doubt == "no_command") else 0
        if self._held * self._dt > self.config.stop_s + 1e-9:
            self.stop("held_too_long")
        if self._stopped or doubt or asked is None:
            self._rejoin = True
            action = GuardAction.STOP if self._stopped else GuardAction.HOLD
            return self._send(self._braking(), action, self._stopped or doubt)
        target = self._blended(self._inside(asked), fresh or self._rejoin)
        self._rejoin = False
        command, reason = self._limited(target)
        if self._blend:
            return self._send(command, GuardAction.BLEND, "jump", asked)
        reason = "position" if (self._inside(asked) != asked).any() and not reason else reason
        return self._send(command, GuardAction.CLIP if reason else GuardAction.PASS, reason, asked)

    def _watch(self, sensed: Sensed) -> None:
        """Count for how long the joint readings have not changed."""
        if sensed.joints is None:
            return
        if self._joints is not None and np.array_equal(sensed.joints, self._joints):
            self._same += 1
        else:
            self._joints, self._same = np.array(sensed.joints), 0
            self._path.clear()
            self._path.append(self._last)

    def _over_force(self, sensed: Sensed) -> bool:
        """A force that is not a number counts as too large."""
        limit, forces = self.config.force_limit_n, sensed.forces_n
        return limit is not None and forces is not None and not (np.abs(forces) <= limit).all()

    def _doubt(self, asked: NDArray[np.float64] | None, sensed: Sensed) -> str:
        """Why the robot should hold now; empty where it should not."""
        config = self.config
        if not sensed.valid:
            return "sensor_not_finite"
        if not sensed.age_s <= config.stale_s:
            return "stale"
        if self._same >= config.frozen_steps and np.ptp(np.array(self._path), axis=0).max() > config.frozen_motion:
            return "frozen"
        if asked is None:
            return "no_command"
        return "" if np.isfinite(asked).all() else "command_not_finite"

    # ---- where the command may go -------------------------------------------------------------------------------

    def _blended(self, target: NDArray[np.float64], fresh: bool) -> NDArray[np.float64]:
        """The target, or a point on the way to it where a chunk starts farther away than one step."""
        if fresh:
            self._offset = self._last - target
            far = bool((abs(self._offset) > self._max_step).any())
            self._blend = self.config.blend_steps - 1 if far else 0
        else:
            self._blend = max(0, self._blend - 1)
        return target + self._offset * self._blend / self.config.blend_steps if self._blend else target

    def _interval(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Smallest and largest legal displacement (a,) of the next command."""
        speed = self._last - self._before
        least = np.maximum(-self._max_step, speed - self._max_change)
        most = np.minimum(self._max_step, speed + self._max_change)
        up, down = self._reach(self._high - self._last), self._reach(self._last - self._low)
        # Where a robot was pushed beyond its limits (`confirm`) the two may exclude each other: braking goes first.
        return np.minimum(np.maximum(least, -down), most), np.maximum(np.minimum(most, up), least)

    def _reach(self, room: NDArray[np.float64]) -> NDArray[np.float64]:
        """Largest displacement towards a bound at distance `room` after which the robot can still brake before it.

        Solves (n + 1) u - A n (n + 1) / 2 = room for u, with n the largest whole number with A n (n + 1) / 2 <= room.
        """
        room, brake = np.maximum(room, 0.0), self._planned_change
        n = np.floor((np.sqrt(1 + 8 * room / brake) - 1) / 2)
        return (room + brake * n * (n + 1) / 2) / (n + 1)

    def _limited(self, target: NDArray[np.float64]) -> tuple[NDArray[np.float64], str]:
        """The legal command nearest to the target, and which limit moved it."""
        least, most = self._interval()
        wanted = target - self._last
        outside = (wanted < least) | (wanted > most)
        if not outside.any():
            return target, ""
        too_fast = (abs(wanted) > self._max_step).any()
        return np.where(outside, self._last + np.clip(wanted, least, most), target), (
            "velocity" if too_fast else "acceleration"
        )

    def _braking(self) -> NDArray[np.float64]:
        """The command that comes to rest soonest."""
        least, most = self._interval()
        return self._last + np.clip(0.0, least, most)

    # ---- bookkeeping --------------------------------------------------------------------------------------------

    def _send(
        self, command: NDArray[np.float64], action: GuardAction, reason: str, asked: NDArray[np.float64] | None = None
    ) -> Verdict:
        """Remember the command as sent, note what was done, answer."""
        sent = self._inside(command).astype(np.float32)
        self._before, self._last = self._last, sent.astype(np.float64)
        self._path.append(self._last)
        if action is GuardAction.PASS:
            self.counts[action, reason] += 1
        elif asked is None:
            self._note(action, reason)
        else:
            joint = int(np.argmax(abs(asked - self._last)))
            self._note(action, reason, joint=self.limits.names[joint], asked=asked[joint], sent=self._last[joint])
        self._steps += 1
        return Verdict(sent, action, reason)

    def _note(self, action: GuardAction, reason: str, **detail: Any) -> None:
        self.counts[action, reason] += 1
        if self._log is not None:
            self._log({"event": "guard", "step": self._steps, "action": str(action), "reason": reason, **detail})

    def _inside(self, command: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(command, self._low, self._high)

    def _shaped(self, values: ArrayLike, what: str, finite: bool = True) -> NDArray[np.float64]:
        """Values (a,) as float64; raises ScoreError."""
        array = _numbers(values, what)
        if array.shape != (len(self.limits.names),):
            raise ScoreError(f"{what} has shape {array.shape}, expected ({len(self.limits.names)},)")
        if finite and not np.isfinite(array).all():
            raise ScoreError(f"{what} is not finite")
        return array


def _numbers(values: ArrayLike, what: str) -> NDArray[np.float64]:
    """A copy of values as float64; raises ScoreError for text, booleans, and integers that no float is close to."""
    try:
        array = np.array(values)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ScoreError(f"{what} is no array of numbers") from error
    if array.dtype.kind not in "fiu":
        raise ScoreError(f"{what} is no array of numbers (its type is {array.dtype})")
    return array.astype(np.float64)


def summarize_counts(counts: Mapping[tuple[str, str], int]) -> dict[str, int]:
    """{"action: reason": how often}, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return {f"{action}: {reason}" if reason else str(action): number for (action, reason), number in ordered}


def _check(limits: GuardLimits, config: GuardConfig) -> None:
    values = np.array([limits.low, limits.high, limits.velocity, limits.acceleration], dtype=np.float64)
    if values.shape != (4, len(limits.names)) or not len(limits.names):
        raise ScoreError(f"limits have the shape {values.shape}, expected (4, {len(limits.names)})")
    if not np.isfinite(values).all() or (values[0] >= values[1]).any() or (values[2:] <= 0).any():
        raise ScoreError("limits must be finite, with low < high, and velocity and acceleration above 0")
    if not limits.control_rate_hz > 0:
        raise ScoreError(f"control_rate_hz is {limits.control_rate_hz}, expected a positive number")
    validate(config)
