"""What somebody else's environment returns for n rows, checked before anything is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from score_rl.contracts import ArraySpec
from score_rl.core.errors import ScoreError
from score_rl.core.records import shown

STEP = ("observations", "rewards", "terminated", "truncated", "info")
"""What a step of a Gymnasium environment returns, and of whoever follows it."""


def returned(result: Any, names: tuple[str, ...], what: str) -> tuple[Any, ...]:
    """The parts of what a step returned, the last of which is a mapping. Raises ScoreError for other results."""
    if not isinstance(result, tuple) or len(result) != len(names):
        found = f"{len(result)} values" if isinstance(result, tuple) else f"a {type(result).__name__}"
        raise ScoreError(f"a step of {what} returned {found}, expected {len(names)}: {', '.join(names)}")
    if not isinstance(result[-1], Mapping):
        raise ScoreError(f"{names[-1]} of {what} is {shown(result[-1])}, expected a mapping")
    return result


def one_per_row(values: Any, n: int, what: str) -> Any:
    """Values (n,), numpy or torch, of an environment that gives (n,) or (n, 1). Raises ScoreError for others."""
    shape = getattr(values, "shape", None)
    if shape is None or tuple(shape) not in ((n,), (n, 1)):
        found = f"is {shown(values)}" if shape is None else f"has shape {tuple(shape)}"
        raise ScoreError(f"{what} {found}, expected one for each of {n} environments")
    return values.reshape(n)


def numbers(values: Any, n: int, what: str) -> np.ndarray:
    """Numbers (n,) of an environment that gives them in numpy's types. Raises ScoreError for what is none."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ScoreError(f"{what} is {shown(values)}, expected numbers")
    return one_per_row(array, n, what)


def check_rows(values: Mapping[str, Any], n: int, what: str, promised: Mapping[str, ArraySpec] | None) -> None:
    """Raise ScoreError unless every array has n rows and, once it is `promised`, its keys and shapes of the first."""
    for key, value in values.items():
        if tuple(value.shape[:1]) != (n,):
            shape = tuple(value.shape)
            raise ScoreError(f"'{key}' of {what} has shape {shape}, expected a row for each of {n} environments")
    if promised is None:
        return
    found, expected = ({key: tuple(one.shape) for key, one in group.items()} for group in (values, promised))
    found = {key: shape[1:] for key, shape in found.items()}
    if found != expected:
        raise ScoreError(f"{what} observed {expected} at first, and now {found}")
