"""Nested frozen dataclasses told from plain data: strict about names and types, as an experiment's file is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar, get_args, get_type_hints

from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.records import parse

T = TypeVar("T")
NOTHING = "none"
"""Stands for None in TOML, which has no null."""


def changed(value: T, path: str, new: Any, source: str, above: str = "") -> T:
    """A copy with one field, named by its dotted path, set anew.

    The value is plain data, read as `core.records.parse` does. Raises ScoreError, naming `source` and the whole path
    (`above`: what stands before it), for a field that does not exist and a value of another type or out of range.
    """
    name, _, rest = path.partition(".")
    known = field_names(value) if dataclasses.is_dataclass(value) else []
    if name not in known:
        ending = f".{rest}" if rest else ""
        raise unknown_choice(f"{source}: setting", above + path, [above + other + ending for other in known])
    if rest:
        inner = changed(getattr(value, name), rest, new, source, f"{above}{name}.")
    else:
        hint = get_type_hints(type(value), include_extras=True)[name]
        inner = read_field(hint, new, source, above + path)
    return replace(value, **{name: inner})  # type: ignore[type-var]


def changed_all(value: T, settings: Mapping[str, Any], source: str) -> T:
    """`changed` for one path after the other."""
    for path, new in settings.items():
        value = changed(value, path, new, source)
    return value


def read_field(hint: Any, new: Any, source: str, key: str) -> Any:
    """Plain data as a value of a field's annotation, within its range; raises ScoreError where it is none."""
    if new == NOTHING and type(None) in get_args(hint):
        return None
    return parse(hint, new, source, key=key)


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
