"""One strict reader for every record: JSON, lines of JSON, TOML, headers of other files, and settings.

Two steps. `read_json`, `read_json_lines` and `read_toml` give plain data: text that is whole, no duplicate keys, no
NaN or infinity, no number or nesting beyond what any record has. `parse` turns plain data into a dataclass by its
annotations: nested dataclasses, tuples, mappings, `Literal`, `Optional`, `Path`, and numbers within the `Range` of
their field. `validate` checks a dataclass that exists already, e.g. a command's settings.

Whatever is wrong is a ScoreError that names the file, the key, the value and what would have been accepted.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import tomllib
import types
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.ranges import Range

T = TypeVar("T")

MAX_DEPTH = 32
"""Deepest nesting of a record."""
MAX_DIGITS = 40
"""Longest integer of a record; states of random generators have 39 digits."""


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Contents of a file. Raises ScoreError where it is missing or cannot be read."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise ScoreError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: NUL in the name
        raise ScoreError(f"cannot read {path}: {_reason(error)}") from error


def read_json(path: str | os.PathLike[str]) -> Any:
    """Plain data of a JSON file. Raises ScoreError that names the file."""
    return parse_json(read_bytes(path), str(path))


def read_json_lines(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """All complete records of a file of JSON lines; raises ScoreError. A torn last line is left out."""
    return [record for record, _ in json_lines(path)]


def json_lines(path: str | os.PathLike[str]) -> list[tuple[dict[str, Any], int]]:
    """Every record with the byte offset behind it; what follows the last newline is torn and left out."""
    records: list[tuple[dict[str, Any], int]] = []
    end = 0
    for line in read_bytes(path).split(b"\n")[:-1]:
        end += len(line) + 1
        where = f"{path}, line {len(records) + 1}"
        record = parse_json(line, where)
        if not isinstance(record, dict):
            raise ScoreError(f"{where} is {shown(record)}, expected a record {{...}}")
        records.append((record, end))
    return records


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Plain data of a TOML file. Raises ScoreError that names the file."""
    try:
        table = tomllib.loads(read_bytes(path).decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ScoreError(f"{path} is not valid TOML: {_reason(error)}") from error
    _check_plain(table, str(path))
    return table


def parse_json(text: str | bytes, source: str) -> Any:
    """Plain data of JSON text. Raises ScoreError that names `source` where it is no JSON, torn, nested too deeply,
    or holds a duplicate key, NaN, an infinity, half a surrogate pair or a number of too many digits."""
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_int=_integer,
            parse_float=_finite,
        )
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()  # text that no file can hold
    except (ValueError, RecursionError) as error:
        raise ScoreError(f"{source} is not readable JSON: {_reason(error)}") from error
    _check_plain(value, source)
    return value


def parse(
    cls: type[T], value: Any, source: object, *, key: str = "", defaults: bool = False, others: bool = False
) -> T:
    """A `cls` (a dataclass, or any annotation) of plain data, checked field by field.

    Every field must be there and no other; with `defaults`, missing fields that have a default take it; with
    `others`, further keys are left out, as in formats of somebody else. Integers are accepted as floats, lists as
    tuples, texts as paths. Raises ScoreError that names `source` and the key.
    """
    return _Checker(str(source), plain=True, defaults=defaults, others=others).convert(cls, value, key)


def parse_kind(cls: type[T], value: Any, source: object, kind: str, version: int, *, defaults: bool = False) -> T:
    """As `parse`, for a record with the keys `kind` and `version`. Raises ScoreError for others than these first."""
    if not isinstance(value, dict) or value.get("kind") != kind:
        found = value.get("kind") if isinstance(value, dict) else value
        raise ScoreError(f"{source} describes a {shown(found)}, expected a {kind!r}")
    if (found := value.get("version")) != version or isinstance(found, bool):
        raise ScoreError(f"{source} has format version {shown(found)}; this program reads {version}")
    return parse(cls, value, source, defaults=defaults)


def validate(config: Any, name: str = "") -> None:
    """Check a dataclass's values against its annotations and ranges, recursively. Raises ScoreError.

    name: what errors call the dataclass itself, e.g. "latent" for "latent.modes is 0, expected >= 1". Values of other
    types than those that a record can hold (tensors, functions) are left alone.
    """
    check(type(config), config, name)


def check(kind: Any, value: Any, name: str) -> None:
    """Check one value against an annotation, e.g. `check(Count, windows, "windows")`. Raises ScoreError."""
    _Checker("", plain=False).convert(kind, value, name)


def shown(value: Any) -> str:
    """A value as an error shows it: short, and never an error itself."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**MAX_DIGITS:
        return "an integer of too many digits"
    try:
        text = repr(os.fspath(value) if isinstance(value, os.PathLike) else value)
    except (ValueError, RecursionError):  # integers of more than 4300 digits inside
        return f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


@dataclasses.dataclass(frozen=True)
class _Checker:
    """One pass over one record."""

    source: str
    plain: bool
    """The values are plain data, to be converted; else they are typed already, and only checked."""
    defaults: bool = False
    others: bool = False

    def convert(self, kind: Any, value: Any, key: str) -> Any:
        """The value as `kind` says; raises ScoreError that names the key."""
        ranges: tuple[Range, ...] = ()
        while get_origin(kind) is Annotated:
            kind, *metadata = get_args(kind)
            ranges += tuple(each for each in metadata if isinstance(each, Range))
        origin = get_origin(kind) or kind
        if kind is Any or isinstance(kind, TypeVar):
            nested = not self.plain and dataclasses.is_dataclass(value) and not isinstance(value, type)
            return self._record(type(value), value, key) if nested else value
        if origin in (Union, types.UnionType):
            return self._union(get_args(kind), value, key)
        if origin is Literal:
            return self._choice(get_args(kind), value, key)
        if dataclasses.is_dataclass(origin):
            return self._record(origin, value, key)
        if origin in (tuple, list, Sequence):
            return self._sequence(origin, get_args(kind), ranges, value, key)
        if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
            return self._mapping(get_args(kind), value, key)
        if origin in (bool, int, float, str, Path):
            return self._scalar(origin, ranges, value, key)
        if self.plain:
            raise TypeError(f"a record cannot hold {kind} ({key})")
        return value

    def _scalar(self, kind: type, ranges: tuple[Range, ...], value: Any, key: str) -> Any:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        fits = {
            bool: isinstance(value, bool),
            int: number and isinstance(value, int) and -(2**63) <= value < 2**63,
            float: number and -(10.0**300) < value < 10.0**300,  # no NaN, no infinity
            str: isinstance(value, str),
            Path: isinstance(value, str) or (not self.plain and isinstance(value, os.PathLike)),
        }[kind]
        if not fits:
            self._fail(value, _NAMES[kind] + (" of 64 bits" if kind is int and isinstance(value, int) else ""), key)
        for each in ranges:
            if value not in each:
                self._fail(value, str(each), key)
        if kind is Path and "\0" in str(value):
            self._fail(value, "a path", key)
        return kind(value) if self.plain else value

    def _choice(self, choices: tuple[Any, ...], value: Any, key: str) -> Any:
        for choice in choices:
            if value == choice and isinstance(value, bool) == isinstance(choice, bool):
                return choice
        if not any(isinstance(choice, str) for choice in choices):
            self._fail(value, " or ".join(map(str, choices)), key)
        self._unknown(key or "value", value if isinstance(value, str) else shown(value), choices)

    def _union(self, kinds: tuple[Any, ...], value: Any, key: str) -> Any:
        if value is None and type(None) in kinds:
            return None
        arms = [kind for kind in kinds if kind is not type(None)]
        if len(arms) == 1:
            return self.convert(arms[0], value, key)
        for kind in arms:
            try:
                return self.convert(kind, value, key)
            except ScoreError:
                continue
        self._fail(value, " or ".join(_name(kind) for kind in kinds), key)

    def _sequence(self, origin: Any, kinds: tuple[Any, ...], lengths: tuple[Range, ...], value: Any, key: str) -> Any:
        if not isinstance(value, (list, tuple)) or (not self.plain and origin is tuple and isinstance(value, list)):
            self._fail(value, "a list" if self.plain else f"a {origin.__name__.lower()}", key)
        kinds = kinds or (Any, Ellipsis)
        repeated = origin is not tuple or Ellipsis in kinds
        if not repeated and len(value) != len(kinds):
            self._fail(value, f"{len(kinds)} entries", key)
        each = kinds[:1] * len(value) if repeated else kinds
        for limits in lengths:
            if len(value) not in limits:
                self._fail(value, f"{limits} entries", key)
        items = [self.convert(kind, item, f"{key}[{i}]") for i, (kind, item) in enumerate(zip(each, value))]
        if not self.plain:
            return value
        return items if origin is list else tuple(items)

    def _mapping(self, kinds: tuple[Any, ...], value: Any, key: str) -> Any:
        if not isinstance(value, Mapping):
            self._fail(value, "a mapping {...}", key)
        items = kinds[1] if len(kinds) == 2 else Any
        found = {name: self.convert(items, item, _inner(key, name)) for name, item in value.items()}
        return found if self.plain else value

    def _record(self, cls: type, value: Any, key: str) -> Any:
        hints = _hints(cls)
        if not self.plain:
            if not isinstance(value, cls):
                self._fail(value, f"a {cls.__name__}", key)
            for name in hints:
                self.convert(hints[name], getattr(value, name), _inner(key, name))
            return value
        if not isinstance(value, dict):
            self._fail(value, "a record {...}", key)
        for name in value:
            if name not in hints and not self.others:
                self._unknown(f"key of {key}" if key else "key", name, hints)
        missing = [name for name in hints if name not in value and not (self.defaults and _optional(cls, name))]
        if missing:
            raise ScoreError(f"{self._where(key)} lacks {', '.join(missing)}")
        known = {name: item for name, item in value.items() if name in hints}
        return cls(**{name: self.convert(hints[name], item, _inner(key, name)) for name, item in known.items()})

    def _where(self, key: str) -> str:
        return ": ".join(part for part in (self.source, key) if part) or "the value"

    def _unknown(self, kind: str, value: object, choices: Iterable[object]) -> NoReturn:
        error = unknown_choice(kind, value, choices)
        raise ScoreError(f"{self.source}: {error}") if self.source else error

    def _fail(self, value: Any, expected: str, key: str) -> NoReturn:
        raise ScoreError(f"{self._where(key)} is {shown(value)}, expected {expected}")


_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "text",
    Path: "a path",
}
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@cache
def _hints(cls: type) -> dict[str, Any]:
    """Field -> annotation, of the fields that the constructor takes."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


@cache
def _optional(cls: type, name: str) -> bool:
    field = next(field for field in dataclasses.fields(cls) if field.name == name)
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _inner(key: str, name: object) -> str:
    return f"{key}.{name}" if key else str(name)


def _name(kind: Any) -> str:
    return "null" if kind is type(None) else _NAMES.get(kind, getattr(kind, "__name__", str(kind)))


def _reason(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return getattr(error, "strerror", None) or str(error)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} stands twice")
    return record


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large a number")
    return value


def _check_plain(value: Any, source: str) -> None:
    """Limits that hold for plain data of any format: depth, digits, finite numbers."""
    level: list[Any] = [[value]]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH + 1:
            raise ScoreError(f"{source} is nested more than {MAX_DEPTH} deep")
        items = [item for each in level for item in (each.values() if isinstance(each, dict) else each)]
        for item in items:
            if isinstance(item, float) and not math.isfinite(item):
                raise ScoreError(f"{source} holds {item}, which is no finite number")
            if isinstance(item, int) and abs(item) >= 10**MAX_DIGITS:
                raise ScoreError(f"{source} holds an integer of too many digits")
        level = [item for item in items if isinstance(item, (dict, list))]
