"""A process that may not read everything, also where the tests run as root."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

VERSION = 0x20080522
"""Of the structures of capset(2), linux/capability.h."""
OVERRIDES = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: with them root reads and writes whatever the modes of files say."""


@contextmanager
def as_anybody() -> Iterator[None]:
    """Within the block modes of files hold for this thread as they do for any user."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "capset"):
        pytest.skip("root may read everything here")
    header = ctypes.create_string_buffer(struct.pack("=Ii", VERSION, 0))
    before = ctypes.create_string_buffer(24)
    assert libc.capget(header, before) == 0
    effective, *others = struct.unpack("=6I", before.raw)
    less = ctypes.create_string_buffer(struct.pack("=6I", effective & ~OVERRIDES, *others))
    assert libc.capset(header, less) == 0
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0
