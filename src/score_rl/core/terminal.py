"""How the program talks to people: text as it is, tables whole.

Text that came from outside (paths, names, errors) may hold anything, so nothing is ever read as markup, and what a
terminal would act on is written out. Where the output is no terminal, tables are as wide as they need; in a terminal,
cells fold.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

UNLIMITED = 10_000
"""Columns where the output is no terminal."""


def visible(text: str) -> str:
    r"""One line of text whose control characters, and those that turn or hide others, are written out.

    >>> visible("a\x1b[31mb\nc")
    'a\\x1b[31mb\\nc'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _Literal(Console):
    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str("\n".join(map(visible, text.split("\n"))), **options)


def terminal(stderr: bool = False, quiet: bool = False) -> Console:
    """A console on standard output or standard error that shows text as it is."""
    console = _Literal(stderr=stderr, quiet=quiet, markup=False, highlight=False, emoji=False)
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
