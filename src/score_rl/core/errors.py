"""The one error that a user is meant to read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ScoreError(ValueError):
    """Bad input: the message names the value, where it came from and what would have been accepted."""


class Diverged(ScoreError):
    """A number that learning cannot go on with, NaN or infinite: the message names it."""


def unknown_choice(kind: str, value: object, choices: Iterable[object]) -> ScoreError:
    """Error (to raise) for a value that is none of the choices; suggests the nearest one.

    >>> str(unknown_choice("task", "pinch", ["pinch_cube", "door"]))
    "unknown task 'pinch'; did you mean 'pinch_cube'? Choices: door, pinch_cube"
    """
    names = sorted(str(choice) for choice in choices)
    nearest = difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
    hint = f" did you mean '{nearest[0]}'?" if nearest else ""
    return ScoreError(f"unknown {kind} '{value}';{hint} Choices: {', '.join(names) or '(none)'}")
