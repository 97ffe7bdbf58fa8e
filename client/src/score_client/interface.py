"""What a policy says of itself, reads and answers, and how it says no: the counterpart of the server's records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np


class PolicyError(Exception):
    """No action from the policy."""


class PolicyUnavailable(PolicyError):
    """No answer within the time; the next call may succeed."""


class PolicyRefused(PolicyError):
    """The server said no, or is not the one that it was; asking again would not help."""


@dataclass(frozen=True)
class ArraySpec:
    """One array at one instant."""

    shape: tuple[int, ...]
    """(23,), (512, 3) or (96, 96, 3)."""
    dtype: str
    """"float32" or "uint8"."""
    unit: str
    """Unit of the numbers; "" where nobody said."""
    frame: str
    """Frame of positions and orientations; "" where there is none."""
    names: tuple[str, ...]
    """One name per entry of the last axis; empty where nobody said."""


@dataclass(frozen=True)
class Interface:
    """What is seen and done at one control step."""

    observation: Mapping[str, ArraySpec]
    """Keys of every frame."""
    action: ArraySpec
    """One action (a,)."""
    control_rate_hz: float
    """Rate of frames and actions."""
    views: Mapping[str, ArraySpec]
    """Keys that are looked at for a decision only."""


@dataclass(frozen=True)
class Metadata:
    """What the server says about its policy."""

    bundle: str
    """Identity of the policy."""
    interface: Interface
    """Keys of a frame and views, with their shapes and types; the actions; the rate of both."""
    history: int
    """Frames that one decision reads."""
    horizon: int
    """h: actions of a chunk."""
    execute_steps: int
    """Actions to run of every chunk, as in training."""
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]


@dataclass(frozen=True)
class Answer:
    """One decision."""

    actions: np.ndarray
    """(h, a) float32: the chunk; its first action belongs to the newest frame that was observed."""
    server_timing: Mapping[str, float]
    """Milliseconds, as the server measured them."""
    total_s: float
    """Seconds that the decision took here."""


def read_metadata(message: Mapping[str, Any]) -> Metadata:
    """What a server or an exported file says of its policy. Raises ValueError where it says something else."""
    try:
        policy = message["policy"]
        return Metadata(
            bundle=message["bundle"],
            interface=read_interface(policy["interface"]),
            history=policy["history"],
            horizon=policy["horizon"],
            execute_steps=message["execute_steps"],
            action_low=tuple(message["action_low"]),
            action_high=tuple(message["action_high"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def read_interface(values: Mapping[str, Any]) -> Interface:
    """The interface in a server's metadata. Raises KeyError, TypeError or ValueError where it is none."""
    groups = {name: {key: _array(one) for key, one in values[name].items()} for name in ("observation", "views")}
    return Interface(
        groups["observation"], _array(values["action"]), float(values["control_rate_hz"]), groups["views"]
    )


def checked(values: Mapping[str, Any], arrays: Mapping[str, ArraySpec], what: str) -> dict[str, np.ndarray]:
    """Copies of the arrays that are needed. Raises ValueError for missing keys, other shapes and types, and numbers
    that are not finite; numbers of any type become float32, pixels must be uint8."""
    taken: dict[str, np.ndarray] = {}
    for key, array in arrays.items():
        if key not in values:
            raise ValueError(f"the {what} lacks '{key}'; it has {sorted(values)}")
        found = np.asarray(values[key])
        if array.dtype != "float32" and found.dtype != array.dtype:
            raise ValueError(f"'{key}' is {found.dtype}, expected {array.dtype}")
        taken[key] = np.array(found, dtype=array.dtype)
        if taken[key].shape != array.shape:
            raise ValueError(f"'{key}' has shape {taken[key].shape}, expected {array.shape}")
        if not np.isfinite(taken[key]).all():
            raise ValueError(f"'{key}' holds numbers that are not finite")
    return taken


def _array(values: Mapping[str, Any]) -> ArraySpec:
    plain = {field.name: values[field.name] for field in fields(ArraySpec)}
    return ArraySpec(**{**plain, "shape": tuple(plain["shape"]), "names": tuple(plain["names"])})
