"""The watchdog: a thread that holds, then stops the robot where the control loop has fallen silent."""

from __future__ import annotations

import threading
from collections.abc import Callable

from score_rl.deploy.clock import Clock


class Watchdog:
    """Calls `hold` once per period after `hold_s` without `feed`, and `stop` once after `stop_s`; then it is done."""

    def __init__(
        self,
        hold: Callable[[], object],
        stop: Callable[[], object],
        hold_s: float,
        stop_s: float,
        period_s: float,
        clock: Clock | None = None,
    ) -> None:
        """Times in seconds of the clock (None: this computer's)."""
        self._hold, self._stop, self._clock = hold, stop, clock or Clock()
        self._hold_s, self._stop_s, self._period_s = hold_s, stop_s, period_s
        self._fed = self._clock.now()
        self._finished = threading.Event()
        self.tripped = False
        """The robot was stopped by this watchdog."""
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self.feed()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finished.set()
        self._thread.join(timeout=2 * self._stop_s)

    def feed(self) -> None:
        """A command was sent."""
        self._fed = self._clock.now()

    def check(self) -> None:
        """Hold or stop where it is time to; what the thread does once per period."""
        silent_s = self._clock.now() - self._fed
        try:
            if silent_s > self._stop_s:
                self.tripped = True
                self._stop()
            elif silent_s > self._hold_s:
                self._hold()
        except (OSError, ValueError):  # the robot is gone or refuses; there is nothing left to try but `stop`
            pass

    def _watch(self) -> None:
        while not self.tripped and not self._finished.wait(self._period_s):
            self.check()
