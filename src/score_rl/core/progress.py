"""Progress on the terminal; in a log file a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from score_rl.core import ranks

LOG_INTERVAL_S = 30.0
"""Seconds between two lines where the output is no terminal."""


class Advance(Protocol):
    """What the body of `with progress(...)` calls."""

    def __call__(self, steps: int = 1, note: str = "") -> None:
        """Count `steps` more as done; `note` is shown behind the bar, e.g. the latest loss."""


@contextmanager
def progress(
    description: str,
    total: int,
    done: int = 0,
    console: Console | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Advance]:
    """Show progress from `done` (a resumed run's start) to `total`; `clock` counts seconds.

    >>> with progress("pretrain", total=2) as advance:  # doctest: +SKIP
    ...     advance(note="loss 0.12")
    """
    console = console or Console(stderr=True, quiet=ranks.rank() > 0)
    if console.is_terminal:
        with _bar(description, total, done, console) as advance:
            yield advance
    else:
        with _lines(description, total, done, console, clock) as advance:
            yield advance


@contextmanager
def _bar(description: str, total: int, done: int, console: Console) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(description, total=total, completed=done, note="")

        def advance(steps: int = 1, note: str = "") -> None:
            bars.advance(task, steps)
            if note:
                bars.update(task, note=note)

        yield advance


@contextmanager
def _lines(
    description: str, total: int, done: int, console: Console, clock: Callable[[], float]
) -> Iterator[Advance]:
    start = printed = clock()
    last_note = ""

    def line(now: float) -> None:
        text = f"{description}: {done}/{total} in {now - start:.0f} s {last_note}".rstrip()
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    def advance(steps: int = 1, note: str = "") -> None:
        nonlocal done, printed, last_note
        done, last_note, now = done + steps, note or last_note, clock()
        if now - printed >= LOG_INTERVAL_S:
            printed = now
            line(now)

    yield advance
    line(clock())
