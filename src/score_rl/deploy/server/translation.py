"""Clients of somebody else as they are: other names for what the policy reads, and entries that it does not read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from score_rl.contracts import ArraySpec, PolicySpec
from score_rl.core.errors import ScoreError, unknown_choice

SMALLEST_LIMIT = 1 << 18
"""Bytes that a message may have in any case."""
IGNORED = 1 << 24
"""Bytes that it may have more where entries are ignored: some camera images."""
BYTES = {"float32": 9, "uint8": 2}
"""Of one number at most, by the type that it is read as: in a list it may come as a float64 or a uint8 of msgpack."""


@dataclass(frozen=True)
class Translation:
    """From a client's message to one that names what the policy reads."""

    rename: Mapping[str, str] = field(default_factory=dict)
    """The client's name -> key or view of the policy."""
    ignore: tuple[str, ...] = ()
    """Patterns (*, ?) of names that are dropped, unless they are renamed."""

    def apply(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The message in the policy's names. Raises ScoreError where two entries mean the same one."""
        translated: dict[str, Any] = {}
        for name, value in message.items():
            if name not in self.rename and any(fnmatchcase(name, pattern) for pattern in self.ignore):
                continue
            own = self.rename.get(name, name)
            if own in translated:
                raise ScoreError(f"two entries of the message mean '{own}'")
            translated[own] = value
        return translated


def make_translation(rename: tuple[str, ...], ignore: tuple[str, ...], policy: PolicySpec) -> Translation:
    """From `CLIENT_NAME=KEY` and patterns. Raises ScoreError for keys that the policy does not read."""
    named: dict[str, str] = {}
    for text in rename:
        name, equals, key = text.rpartition("=")
        if not equals or not name:
            raise ScoreError(f"rename is CLIENT_NAME=KEY, not '{text}'")
        if key not in policy.window:
            raise unknown_choice(f"key in rename '{text}'", key, policy.window)
        if name in named:
            raise ScoreError(f"rename names '{name}' twice, as '{named[name]}' and '{key}'")
        named[name] = key
    lost = [key for key in policy.window if key not in named.values() and any(fnmatchcase(key, p) for p in ignore)]
    if lost:
        raise ScoreError(f"the policy reads '{lost[0]}', which ignore {' '.join(ignore)} would drop")
    return Translation(named, ignore)


def message_limit(policy: PolicySpec, ignore: tuple[str, ...]) -> int:
    """Bytes of the largest message that a client has reason to send: a history and a chunk's length of frames, the
    views, and what is ignored."""
    frames = policy.history + policy.horizon
    window = frames * sum(map(_bytes, policy.interface.observation.values()))
    looked_at = sum(map(_bytes, policy.interface.views.values()))
    return max(SMALLEST_LIMIT, SMALLEST_LIMIT // 4 + window + looked_at) + (IGNORED if ignore else 0)


def _bytes(array: ArraySpec) -> int:
    return array.size * BYTES[array.dtype]
