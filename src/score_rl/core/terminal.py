"""How the program talks to people: text as it is, tables whole.

Text that came from outside (paths, names, errors) may hold anything, so nothing is ever read as markup. Where the
output is no terminal, tables are as wide as they need; in a terminal, cells fold.
"""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.text import Text

UNLIMITED = 10_000
"""Columns where the output is no terminal."""


def terminal(stderr: bool = False, quiet: bool = False) -> Console:
    """A console on standard output or standard error that shows text as it is."""
    console = Console(stderr=stderr, quiet=quiet, markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = UNLIMITED
    return console


def say(message: str, style: str = "") -> None:
    """A line for people, on standard error."""
    terminal(stderr=True).print(message, style=style, soft_wrap=True)


def show(*parts: RenderableType) -> None:
    """Tables and lines of a result, on standard output."""
    for part in parts:
        terminal().print(part, soft_wrap=isinstance(part, (str, Text)))
