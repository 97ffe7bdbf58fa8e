"""The watchdog: a thread that holds, then stops the robot where the control loop has fallen silent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Watchdog:
    """Calls `hold` once per period after `hold_s` without `feed`, and `stop` once after `stop_s`; then it is done."""

    def __init__(
        self, hold: Callable[[], object], stop: Callable[[], object], hold_s: float, stop_s: float, period_s: float
    ) -> None:
        """Times in seconds of this computer's clock."""
        self._hold, self._stop = hold, stop
        self._hold_s, self._stop_s, self._period_s = hold_s, stop_s, period_s
        self._fed = time.monotonic()
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
        self._fed = time.monotonic()

    def _watch(self) -> None:
        while not self._finished.wait(self._period_s):
            silent_s = time.monotonic() - self._fed
            try:
                if silent_s > self._stop_s:
                    self.tripped = True
                    self._stop()
                    return
                if silent_s > self._hold_s:
                    self._hold()
            except (OSError, ValueError):  # the robot is gone or refuses; there is nothing left to try but `stop`
                continue
