"""Nested frozen dataclasses told from plain data: strict about names and types, as an experiment's file is read."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from score_rl.core.errors import ScoreError, unknown_choice

T = TypeVar("T")
NOTHING = "none"
"""Stands for None in TOML, which has no null."""


def changed(value: T, path: str, new: Any, source: str, above: str = "") -> T:
    """A copy with one field, named by its dotted path, set anew.

    Lists become tuples, whole numbers become fractions where the field holds one. Raises ScoreError, naming
    `source` and the whole path (`above`: what stands before it), for a field that does not exist or a value of
    another type.
    """
    name, _, rest = path.partition(".")
    known = field_names(value) if dataclasses.is_dataclass(value) else []
    if name not in known:
        ending = f".{rest}" if rest else ""
        raise unknown_choice(f"{source}: setting", above + path, [above + other + ending for other in known])
    if rest:
        inner = changed(getattr(value, name), rest, new, source, f"{above}{name}.")
    else:
        inner = converted(get_type_hints(type(value))[name], new, f"{source}: {above}{path}")
    return replace(value, **{name: inner})  # type: ignore[type-var]


def changed_all(value: T, settings: Mapping[str, Any], source: str) -> T:
    """`changed` for one path after the other."""
    for path, new in settings.items():
        value = changed(value, path, new, source)
    return value


def converted(hint: Any, new: Any, where: str) -> Any:
    """Plain data as a value of an annotated type; ScoreError where it is none."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if new == NOTHING and type(None) in arguments:
            return None
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return converted(inner, new, where)
    if origin is Literal:
        if new not in arguments:
            raise unknown_choice(where, new, arguments)
        return new
    if origin is tuple and isinstance(new, (list, tuple)):
        hints = arguments[:1] * len(new) if arguments[-1] is ... else arguments
        if len(hints) != len(new):
            raise ScoreError(f"{where} = {list(new)} must have {len(hints)} entries")
        return tuple(converted(inner, item, where) for inner, item in zip(hints, new))
    if hint is float and isinstance(new, int) and not isinstance(new, bool):
        return float(new)
    kind = origin or hint
    if not isinstance(new, kind) or (isinstance(new, bool) and kind is not bool):
        name = "list" if kind is tuple else kind.__name__
        raise ScoreError(f"{where} = {new!r} must be of type {name}")
    return new


def field_names(value: Any) -> list[str]:
    """Names of a dataclass's fields."""
    return [field.name for field in dataclasses.fields(value)]


def check_keys(known: Iterable[str], given: Iterable[str], where: str, required: tuple[str, ...] = ()) -> None:
    """Raise ScoreError for a key that is not known, and for a required one that is missing."""
    known, given = list(known), list(given)
    for key in given:
        if key not in known:
            raise unknown_choice(f"{where}: key", key, known)
    if missing := [key for key in required if key not in given]:
        raise ScoreError(f"{where}: {', '.join(missing)} missing")
