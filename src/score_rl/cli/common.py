"""What the commands share: how they talk to people, and the settings whose options have no prefix."""

from __future__ import annotations

from typing import Annotated, TypeVar

import tyro

from score_rl.core.terminal import say, show
from score_rl.report.stages import Result, describe

T = TypeVar("T")
Flat = Annotated[T, tyro.conf.arg(name="")]
"""A command's settings, whose options have no prefix on the command line."""


def show_result(result: Result) -> None:
    """What a stage found: lines to people, tables to standard output."""
    for part in describe(result):
        say(part) if isinstance(part, str) else show(part)
