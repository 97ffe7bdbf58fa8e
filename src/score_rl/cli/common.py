"""What the commands share: how they talk to people, and the settings whose options have no prefix."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import tyro
from rich.console import Console

from score_rl.report.stages import Result, describe

T = TypeVar("T")
Flat = Annotated[T, tyro.conf.arg(name="")]
"""A command's settings, whose options have no prefix on the command line."""

console = Console(stderr=True)
"""Where the commands talk to people; results go to files and, as tables, to standard output."""


PIPE_WIDTH = 1000
"""Characters of a line where standard output is no terminal: whoever reads it gets tables whole."""


def output() -> Console:
    """Standard output, where tables go."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)


def say(message: Any) -> None:
    """Tell people something."""
    console.print(message, highlight=False)


def show(result: Result) -> None:
    """What a stage found: lines to people, tables to standard output."""
    for part in describe(result):
        (console if isinstance(part, str) else output()).print(part, highlight=False)
