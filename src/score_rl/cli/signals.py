"""Ctrl-C on a robot: brake, hold, close the recording."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from types import FrameType

from score_rl.core.terminal import say
from score_rl.deploy.runtime.control_loop import EpisodeReport
from score_rl.deploy.runtime.runtime import Runtime


def run_interruptibly(runtime: Runtime, seeds: Sequence[int]) -> list[EpisodeReport]:
    """Run the episodes; SIGINT and SIGTERM end them cleanly, a second signal at once."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def interrupt(number: int, frame: FrameType | None) -> None:
        say("braking; once more to leave at once")
        runtime.interrupt()
        for each in numbers:
            signal.signal(each, before[each])

    for number in numbers:
        signal.signal(number, interrupt)
    try:
        return runtime.run(seeds)
    finally:
        for number in numbers:
            signal.signal(number, before[number])
        runtime.close()
