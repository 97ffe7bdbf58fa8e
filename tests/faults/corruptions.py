"""Ways in which a file can be other than it should be; every one is a function of (bytes, generator)."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

Corruption = Callable[[bytes, random.Random], bytes]

WHOLES = (
    "",
    "{}",
    "[]",
    "null",
    "3",
    '"x"',
    "[" * 5000,
    "[" * 100 + "]" * 100,
    "9" * 5000,
    '{"a": NaN}',
    "= 1",
    "\0",
)
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1e308, "", "x", [], {}, [[]], {"a": 1}, 10**30, "\ud83d\ude00", [1, "2", None],
)  # fmt: skip


def flip(data: bytes, draw: random.Random) -> bytes:
    """One bit."""
    place = draw.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]


def cut(data: bytes, draw: random.Random) -> bytes:
    """The end is missing."""
    return data[: draw.randrange(len(data))]


def cut_line(data: bytes, draw: random.Random) -> bytes:
    """Some whole lines at the end are missing."""
    lines = data.splitlines(keepends=True)
    return b"".join(lines[: draw.randrange(len(lines))])


def tear(data: bytes, draw: random.Random) -> bytes:
    """A piece in the middle is missing."""
    start, end = sorted(draw.randrange(len(data)) for _ in range(2))
    return data[:start] + data[end:]


def append(data: bytes, draw: random.Random) -> bytes:
    """Something follows."""
    return data + draw.choice((b"\n", b"x", b"{}\n", b"\0" * 10, b'{"a": '))


def whole(data: bytes, draw: random.Random) -> bytes:
    """Another text altogether."""
    return draw.choice(WHOLES).encode()


def digits(data: bytes, draw: random.Random) -> bytes:
    """A number becomes one of 5,000 digits."""
    places = [i for i, byte in enumerate(data) if chr(byte).isdigit()] or [0]
    place = draw.choice(places)
    return data[:place] + b"9" * 5000 + data[place + 1 :]


def nan(data: bytes, draw: random.Random) -> bytes:
    """A number becomes NaN or an infinity."""
    places = [i for i, byte in enumerate(data) if byte in b":[,"] or [0]
    place = draw.choice(places) + 1
    return data[:place] + draw.choice((b" NaN", b" -Infinity", b" 1e999")) + data[place:]


def retype(data: bytes, draw: random.Random) -> bytes:
    """A value of a record becomes another; a key goes, comes or changes its name."""
    lines = data.splitlines() if not data.startswith(b"{\n") else [data]
    number = draw.randrange(len(lines))
    try:
        record = json.loads(lines[number])
    except ValueError:
        return flip(data, draw)
    holder, key = draw.choice(list(_places(record)) or [([None], 0)])
    how = draw.randrange(4)
    if how == 0 and isinstance(holder, dict):
        del holder[key]
    elif how == 1 and isinstance(holder, dict):
        holder[f"{key}s"] = holder.pop(key)
    elif how == 2 and isinstance(holder, dict):
        holder["unknown"] = draw.choice(VALUES)
    else:
        holder[key] = draw.choice(VALUES)
    lines[number] = json.dumps(record, indent=2 if len(lines) == 1 else None).encode()
    return b"\n".join(lines) + b"\n"


def _places(value: Any) -> Any:
    """(container, key) of everything in a record."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)


CORRUPTIONS: tuple[Corruption, ...] = (
    flip,
    flip,
    cut,
    cut_line,
    tear,
    append,
    whole,
    digits,
    nan,
    retype,
    retype,
    retype,
)
