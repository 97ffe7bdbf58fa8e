"""Messages on the wire: maps of names to arrays and plain values, as msgpack in openpi's layout.

An array is a map with four BYTES keys: `__ndarray__` (true), `data` (its bytes, C order), `dtype` (numpy's text, e.g.
"<f4") and `shape`. A numpy scalar is a map with `__npgeneric__`, `data` and `dtype`. Everything else is a number,
a boolean, text or nil, or a list of numbers (or of equally long lists of them), which is read as an array. What comes
in is hostile until shown otherwise: nothing is allocated that the message does not pay for with its own bytes, no
other data types exist (so no objects, no pickles), and nothing else is nested, except in what a server says about
itself, which is read as `unpack(data, nested=True)`.

Client, `score serve` and remote policies read and write this format here and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

ARRAY, GENERIC, DATA, DTYPE, SHAPE = b"__ndarray__", b"__npgeneric__", b"data", b"dtype", b"shape"

DTYPES = {
    np.dtype(name).str: np.dtype(name)
    for name in ("?", "i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8")
}
"""Data types that are read, by numpy's text for them."""

MAX_DIMENSIONS = 4
MAX_KEYS = 64
"""Entries of a map (the data of an array are one entry)."""
MAX_LIST = 4096
"""Entries of a list."""
MAX_TEXT = 4096
"""Bytes of a text."""

Message = dict[str, Any]
"""Name -> array, number, boolean, text or None."""


class WireError(ValueError):
    """A message that is none; the text is safe to send to whoever wrote it."""


def pack(message: Mapping[str, Any]) -> bytes:
    """A message as bytes. Lists, tuples and maps of plain values may be nested. Raises WireError for other types."""
    try:
        return msgpack.packb(message, default=_plain)
    except (TypeError, ValueError, OverflowError) as error:
        raise WireError(f"cannot be sent: {error}") from error


def unpack(data: bytes, nested: bool = False) -> Message:
    """The message in `data`: a flat map; arrays are read-only views of `data`. Raises WireError.

    nested: maps and lists of plain values may lie in each other, and stay what they are.
    """
    try:
        message = msgpack.unpackb(
            data,
            object_pairs_hook=_read_map,
            ext_hook=_no_extension,
            max_array_len=MAX_LIST,
            max_map_len=MAX_KEYS,
            max_str_len=MAX_TEXT,
            max_ext_len=0,
        )
    except WireError:
        raise
    except Exception as error:  # msgpack raises half a dozen types, and its messages may quote the data
        if "max_array_len" in str(error):
            raise WireError(f"a list has more than {MAX_LIST} entries; send an array, or fewer numbers") from error
        raise WireError(f"the message is not valid msgpack ({type(error).__name__})") from error
    if not isinstance(message, dict):
        raise WireError(f"the message is a {type(message).__name__}, expected a map of names to values")
    if not nested:
        for name, value in message.items():
            if isinstance(value, list):
                message[name] = value = _read_list(name, value)
            if value is not None and not isinstance(value, (np.ndarray, np.generic, str, int, float)):
                raise WireError(f"{_short(name)} is a {type(value).__name__}, expected an array or a plain value")
    return message


def _plain(value: Any) -> Any:
    """What msgpack does not know, in the layout of the wire."""
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.newbyteorder("=").str not in DTYPES:
        raise TypeError(f"no place for data of type {value.dtype}")
    if isinstance(value, np.ndarray):
        value = value.astype(value.dtype.newbyteorder("<"), copy=False)
        return {ARRAY: True, DATA: value.tobytes(), DTYPE: value.dtype.str, SHAPE: value.shape}
    if isinstance(value, np.generic):
        return {GENERIC: True, DATA: value.item(), DTYPE: value.dtype.str}
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"no place for a {type(value).__name__}")


def _read_map(pairs: list[tuple[Any, Any]]) -> Any:
    """A map of the message: an array, a numpy scalar, or the message itself."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise WireError("a map has the same key twice")
    if ARRAY in fields:
        return _read_array(fields)
    if GENERIC in fields:
        return _read_generic(fields)
    if unnamed := [name for name in fields if not isinstance(name, str)]:
        raise WireError(f"a key is {_short(unnamed[0])}, expected text")
    return fields


def _read_array(fields: dict[Any, Any]) -> np.ndarray:
    if fields.keys() != {ARRAY, DATA, DTYPE, SHAPE}:
        raise WireError(f"an array needs exactly data, dtype and shape, got {_short(sorted(map(str, fields)))}")
    dtype, shape, data = _read_dtype(fields[DTYPE]), fields[SHAPE], fields[DATA]
    sizes = isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)
    if not sizes or len(shape) > MAX_DIMENSIONS:
        raise WireError(
            f"the shape of an array is {_short(shape)}, expected a list of sizes, at most {MAX_DIMENSIONS}"
        )
    if not isinstance(data, bytes):
        raise WireError(f"the data of an array are a {type(data).__name__}, expected bytes")
    expected = math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise WireError(f"an array of shape {_short(shape)} and type {dtype} has {len(data)} bytes, not {expected}")
    return np.frombuffer(data, dtype).reshape(shape)


def _read_list(name: str, values: list[Any]) -> np.ndarray:
    """A list of numbers, as clients send that have no numpy."""
    try:
        array = np.array(values)
    except (TypeError, ValueError, OverflowError, RecursionError):
        array = np.array(None)  # of different lengths, or far too deep
    if array.dtype.kind not in "biuf" or array.ndim > MAX_DIMENSIONS:
        raise WireError(f"{_short(name)} is a list, but not of numbers or of equally long lists of them")
    return array


def _read_generic(fields: dict[Any, Any]) -> np.generic:
    if fields.keys() != {GENERIC, DATA, DTYPE}:
        raise WireError(f"a scalar needs exactly data and dtype, got {_short(sorted(map(str, fields)))}")
    dtype, value = _read_dtype(fields[DTYPE]), fields[DATA]
    if not isinstance(value, (int, float)):
        raise WireError(f"a scalar's value is a {type(value).__name__}, expected a number")
    try:
        return np.array(value, dtype)[()]
    except (ValueError, OverflowError, TypeError) as error:
        raise WireError(f"a scalar's value does not fit {dtype}") from error


def _read_dtype(text: Any) -> np.dtype:
    if not isinstance(text, str) or text not in DTYPES:
        raise WireError(f"dtype {_short(text)} is not read; choose one of {', '.join(DTYPES)}")
    return DTYPES[text]


def _no_extension(code: int, data: bytes) -> Any:
    raise WireError(f"msgpack extensions are not read (code {code})")


def _short(value: object) -> str:
    """What a stranger sent, short and printable."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
