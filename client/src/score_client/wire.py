"""Arrays in msgpack, in openpi's layout: maps with the bytes keys `__ndarray__`, `data`, `dtype` and `shape`."""

from __future__ import annotations

import math
from typing import Any

import msgpack
import numpy as np

ARRAY, GENERIC, DATA, DTYPE, SHAPE = b"__ndarray__", b"__npgeneric__", b"data", b"dtype", b"shape"
KINDS = "biuf"
"""Kinds of numpy data that travel: booleans, integers and floats."""


def pack(message: dict[str, Any]) -> bytes:
    """A map of names to arrays and plain values, as bytes. Raises TypeError for anything else."""
    return msgpack.packb(message, default=_plain)


def unpack(data: bytes) -> dict[str, Any]:
    """The map in `data`; arrays are read-only. Raises ValueError where it is none."""
    try:
        message = msgpack.unpackb(data, object_hook=_restore)
    except Exception as error:  # msgpack and numpy raise many types
        raise ValueError(f"not a message: {error}") from error
    if not isinstance(message, dict):
        raise ValueError(f"not a message: a {type(message).__name__}")
    return message


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind not in KINDS:
        raise TypeError(f"cannot send data of type {value.dtype}")
    if isinstance(value, np.ndarray):
        return {ARRAY: True, DATA: value.tobytes(), DTYPE: value.dtype.str, SHAPE: value.shape}
    if isinstance(value, np.generic):
        return {GENERIC: True, DATA: value.item(), DTYPE: value.dtype.str}
    raise TypeError(f"cannot send a {type(value).__name__}")


def _restore(fields: dict[Any, Any]) -> Any:
    if ARRAY not in fields and GENERIC not in fields:
        return fields
    dtype = np.dtype(fields[DTYPE])
    if dtype.kind not in KINDS:
        raise ValueError(f"data of type {dtype}")
    if GENERIC in fields:
        return dtype.type(fields[DATA])
    if len(fields[DATA]) != math.prod(fields[SHAPE]) * dtype.itemsize:
        raise ValueError(f"{len(fields[DATA])} bytes for an array of shape {fields[SHAPE]} and type {dtype}")
    return np.frombuffer(fields[DATA], dtype).reshape(fields[SHAPE])
