"""One client's side of the policy: its history of frames and its noise, from the messages that it sends.

A message names every key and every view of the observation, and asks for one decision. A view is (*shape), as seen
now. Each other value has one of two shapes:

    (*shape)      the newest frame alone
    (m, *shape)   the newest m frames, one per control step, oldest first and the newest last

Frames are put behind the history that the connection already has, and the last `history` of it are the window. So
m = history (or more) says all that the policy reads, and m = steps since the last decision says what is new.
Control steps of which no frame was sent are filled on the straight line between the frames around them. How
many these are follows from `elapsed_steps`.

Names are the policy's, or what the server's `rename` makes of them; what its `ignore` lists is dropped
(`deploy.server.translation`). Further names, all optional:

    reset           true: an episode starts; the history begins with this message's first frame (repeated as padding).
                    The first message of a connection always does that.
    elapsed_steps   control steps from the newest frame of the message before to the newest of this one. If not
                    given: m for values (m, *shape), the server's `frame_steps` for values (*shape).
    seed            of the episode's noise, from this decision on. If not given: drawn from the server's seed, the
                    connection's number and the episode's.
    decision        number of this decision in its episode, from 0. If not given: one more than the last. With seed,
                    decision and a full history, the answer depends on the message alone.
    prompt          accepted and ignored (openpi's clients often send one)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from score_rl.contracts import ArraySpec, PolicySpec
from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.interfaces import as_array
from score_rl.core.seeding import derive_seed
from score_rl.deploy.server.translation import Translation
from score_rl.steering.policy import Decision, decision_noise

RESET, ELAPSED, SEED, DECISION, PROMPT = "reset", "elapsed_steps", "seed", "decision", "prompt"
OPTIONS = (RESET, ELAPSED, SEED, DECISION, PROMPT)

MAX_FRAMES = 1024
"""Frames in one message."""
MAX_INTEGER = 2**53
"""Integers from the wire are below it."""
QUATERNION = ("qw", "qx", "qy", "qz")
"""Names of the numbers of an observation that are an orientation."""


class ServedSpec(Protocol):
    """What the server needs to know of a policy; `deploy.bundle.spec.BundleSpec` is one."""

    policy: PolicySpec
    execute_steps: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    task: str
    method: str


class ServedPolicy(Protocol):
    """What can be served; `deploy.bundle.bundle.Bundle` is one."""

    spec: ServedSpec

    @property
    def digest(self) -> str:
        """Identity of weights and specification."""
        ...

    def decide(self, window: Mapping[str, Tensor], noise: Tensor) -> Decision:
        """Chunks (n, h, a) for windows {key: (n, frames, *shape)} and noise (n, l, w)."""
        ...


@dataclass(frozen=True)
class Request:
    """One decision that somebody waits for: a batch of one row."""

    window: Mapping[str, Tensor]
    """{key: (1, frames, *shape)}."""
    noise: Tensor
    """(1, l, w)."""


class Session:
    """History and noise of one connection."""

    def __init__(
        self, spec: ServedSpec, frame_steps: int, seed: int, number: int, translation: Translation | None = None
    ) -> None:
        """`seed`: of the server. `number`: of the connection; see the module for `frame_steps`."""
        self._translation = translation or Translation()
        self._spec, self._frame_steps, self._key = spec.policy, frame_steps, ("serve", seed, number)
        self._past: dict[str, np.ndarray] | None = None
        self._episode = self._decision = 0
        self._seed = derive_seed(*self._key, 0)

    def request(self, message: Mapping[str, Any]) -> Request:
        """The decision that a message asks for; the session moves on by it.

        Raises ScoreError for anything unknown, missing, of a wrong type or shape, or not finite; the session is
        then what it was.
        """
        message = self._translation.apply(message)
        known = (*self._spec.window, *OPTIONS)
        if unknown := [name for name in message if name not in known]:
            raise unknown_choice("name in the message", unknown[0][:80], known)
        frames, single = self._frames(message)
        views = {
            key: _array(message, key, array, array.shape)[None, None]
            for key, array in self._spec.interface.views.items()
        }
        reset = _boolean(message, RESET) or self._past is None
        steps = self._frame_steps if single else len(next(iter(frames.values())))
        elapsed = _integer(message, ELAPSED, steps)
        if not reset and elapsed < (1 if single else steps):
            raise ScoreError(f"{ELAPSED} is {elapsed}, but the message brings {1 if single else steps} frames")
        anew = reset and self._past is not None
        episode = self._episode + anew
        seed = _integer(message, SEED, derive_seed(*self._key, episode) if anew else self._seed)
        decision = _integer(message, DECISION, 0 if reset else self._decision)
        past = None if reset else self._past
        self._past = {
            key: extend(past[key] if past else None, values, elapsed, self._spec.history, self._orientation(key))
            for key, values in frames.items()
        }
        self._episode, self._seed, self._decision = episode, seed, decision + 1
        window = {key: torch.from_numpy(values.copy())[None] for key, values in self._past.items()}
        window |= {key: torch.from_numpy(values) for key, values in views.items()}
        return Request(window, decision_noise([seed], decision, self._spec.latent_shape))

    def _frames(self, message: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], bool]:
        """({key: (m, *shape)}, whether they were sent as single frames (*shape))."""
        frames: dict[str, np.ndarray] = {}
        counts: set[tuple[int, ...]] = set()
        for key, array in self._spec.interface.observation.items():
            values = message.get(key)
            many = isinstance(values, np.ndarray) and values.ndim == 1 + len(array.shape)
            count = (min(max(1, len(values)), MAX_FRAMES),) if many else ()
            numbers = _array(message, key, array, (*count, *array.shape))
            frames[key] = numbers if many else numbers[None]
            counts.add(count)
        if len(counts) > 1:
            raise ScoreError(f"all keys must bring the same frames, not {sorted(counts)}")
        return frames, counts == {()}

    def _orientation(self, key: str) -> slice | None:
        """Where a quaternion is among the numbers of a key."""
        array = self._spec.interface.observation[key]
        start = array.names.index("qw") if "qw" in array.names and len(array.shape) == 1 else None
        return slice(start, start + 4) if start is not None and array.names[start : start + 4] == QUATERNION else None


def _array(message: Mapping[str, Any], key: str, array: ArraySpec, shape: tuple[int, ...]) -> np.ndarray:
    """One array of a message, a copy of its type. Raises ScoreError for anything but finite numbers of the shape."""
    values = message.get(key)
    if not isinstance(values, np.ndarray):
        raise ScoreError(f"the message lacks an array '{key}' of shape {array.shape}")
    if values.shape != shape:
        many = ", ".join(map(str, array.shape))
        raise ScoreError(
            f"'{key}' has shape {values.shape}; expected {array.shape}, or (m, {many}) for the newest m frames of a "
            f"key, {MAX_FRAMES} at most"
        )
    if values.dtype == bool:
        raise ScoreError(f"'{key}' holds booleans, expected numbers")
    numbers = as_array(values, array, f"'{key}'")
    if not np.isfinite(numbers).all():
        raise ScoreError(f"'{key}' holds numbers that are not finite")
    return numbers


def extend(
    past: np.ndarray | None, frames: np.ndarray, elapsed: int, history: int, orientation: slice | None = None
) -> np.ndarray:
    """The last `history` frames (history, *shape) behind which `frames` (m, *shape) came, the newest `elapsed` steps
    later.

    past (history, *shape): None where an episode starts, which repeats the first frame as padding. Steps without a
    frame lie on the straight line between those around them; an `orientation` (quaternion) stays of unit length.
    Pixels are not mixed: the frame before stays.
    """
    if past is None:
        padding = np.repeat(frames[:1], history, axis=0)
        return np.concatenate((padding, frames))[-history:]
    gap = elapsed - len(frames)
    steps = np.arange(max(1, gap + 1 - history), gap + 1, dtype=np.float32)
    before, after = past[-1], frames[0].copy()
    if frames.dtype != np.float32:
        return np.concatenate((past, np.repeat(past[-1:], len(steps), axis=0), frames))[-history:]
    steps = steps.reshape(-1, *[1] * before.ndim)
    if orientation is not None and before[orientation] @ after[orientation] < 0:
        after[orientation] *= -1  # q and -q are one rotation: take the short way
    between = (before + (after - before) * (steps / np.float32(gap + 1))).astype(np.float32)
    if orientation is not None and len(between):
        norm = np.linalg.norm(between[:, orientation], axis=1, keepdims=True)
        between[:, orientation] /= np.maximum(norm, np.float32(1e-6))
    return np.concatenate((past, between, frames))[-history:]


def _boolean(message: Mapping[str, Any], name: str) -> bool:
    value = message.get(name, False)
    if not isinstance(value, bool | np.bool_):
        raise ScoreError(f"{name} is a {type(value).__name__}, expected true or false")
    return bool(value)


def _integer(message: Mapping[str, Any], name: str, default: int) -> int:
    value = message.get(name, default)
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not 0 <= value < MAX_INTEGER:
        raise ScoreError(f"{name} is {str(value)[:40]!r}, expected an integer from 0 to 2^53")
    return int(value)
