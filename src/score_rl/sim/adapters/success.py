"""When somebody else's environment counts as solved: rules, as text or as functions of one step.

solved                  entry of the environment's info: true, or not zero
reward>0.5              the reward of this step; also >=, <, <=
terminated              the environment ended the episode by its own rules
package.module:rule     function of a `Step` that returns (n,) flags
"""

from __future__ import annotations

import importlib
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from score_rl.core.errors import ScoreError
from score_rl.core.plugins import FAILURES


@dataclass(frozen=True)
class Step:
    """What n environments returned for one control step, in their own types (numpy or torch)."""

    observation: Any
    """After the step; of an environment that resets itself, already of the next episode where one ended."""
    reward: Any
    """(n,)"""
    terminated: Any
    """(n,) the episode ended by the environment's own rules."""
    info: Mapping[str, Any]


Rule = Callable[[Step], Any]
"""Step -> (n,) flags of the state after it: boolean, or numbers that are not zero where it is solved."""

_COMPARISON = re.compile(r"reward\s*(>=|<=|>|<)\s*(\S+)")
_OPERATORS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


def success_rule(text: str, of_info: Callable[[str], Rule]) -> Rule:
    """The rule that a text means; of_info: the adapter's rule for an entry of the info.

    Raises ScoreError for a threshold that is no number, and a function that cannot be loaded.
    """
    if not text.strip():
        raise ScoreError("the success rule is empty: pass success=<key>, reward>NUMBER, terminated or module:rule")
    if text == "terminated":
        return lambda step: step.terminated
    if match := _COMPARISON.fullmatch(text):
        compare, threshold = _OPERATORS[match[1]], _number(match[2], text)
        return lambda step: _compared(step.reward, compare, threshold)
    if ":" in text:
        return load_function(text, "success rule")
    return of_info(text)


def load_function(text: str, what: str) -> Callable[..., Any]:
    """The function package.module:name. Raises ScoreError."""
    module, _, name = text.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except FAILURES as error:
        raise ScoreError(f"{what} '{text}' cannot be loaded: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ScoreError(f"{what} '{text}' is no function, but {found!r}")
    return found


def as_flags(values: Any, n: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    """(flags (n,), which are known (n,)): NaN is unknown, and so is nothing at all.

    Raises ScoreError for another number of values, or values that are no flags.
    """
    try:
        flags = np.asarray(values)
    except ValueError:  # of different shapes
        flags = np.empty(0)
    if flags.shape == (n, 1):
        flags = flags[:, 0]
    if flags.shape != (n,):
        raise ScoreError(f"{what} has shape {flags.shape}, expected one flag for each of {n} environments")
    if flags.dtype == bool:
        return flags, np.ones(n, bool)
    try:
        numbers = np.array([np.nan if value is None else float(value) for value in flags])
    except (TypeError, ValueError) as error:
        raise ScoreError(f"{what} holds no flags: {error}") from error
    known = ~np.isnan(numbers)
    return known & (numbers != 0), known


def _compared(reward: Any, compare: Callable[[Any, float], Any], threshold: float) -> Any:
    """1 where the comparison holds, else 0; NaN where the reward is not finite."""
    with np.errstate(invalid="ignore"):
        return compare(reward, threshold) + (reward - reward)


def _number(text: str, rule: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ScoreError(f"success rule '{rule}' compares the reward with {text!r}, expected a number") from None
