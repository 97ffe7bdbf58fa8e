"""Time as the runtime knows it: one place to ask and to wait, so that tests can have a clock of their own."""

from __future__ import annotations

import time


class Clock:
    """This computer's clock, in seconds since a moment that means nothing; it never runs backwards."""

    def now(self) -> float:
        """The time."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Let time pass; nothing for 0 or less."""
        time.sleep(max(0.0, seconds))
