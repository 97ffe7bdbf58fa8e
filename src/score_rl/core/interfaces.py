"""Interfaces: read from plain values, checked, compared. Needs no torch."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np
from numpy.typing import NDArray

from score_rl.contracts import DTYPES, ArraySpec, Interface, PolicySpec, WorldSpec
from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.records import parse, shown

MAX_RANK = 3
"""Axes of the largest array, an image."""
MAX_ENTRIES = 1 << 26
"""Entries of the largest array, window, chunk or latent: nothing is allocated for a file that asks for more."""


def action_spec(names: tuple[str, ...], unit: str = "") -> ArraySpec:
    """The array of one action, with one name per dimension."""
    return ArraySpec((len(names),), unit=unit, names=names)


def as_array(values: Any, array: ArraySpec, what: str) -> NDArray[Any]:
    """Values (*, *shape) from outside as a copy of the array's type; leading axes are free.

    Numbers of any type become float32; every other type must come as it is, since a conversion would wrap around.
    Raises ScoreError that names `what`.
    """
    found, wanted = np.asarray(values), np.dtype(array.dtype)
    if found.dtype != wanted and not (wanted.kind == "f" and found.dtype.kind in "iuf"):
        raise ScoreError(f"{what} is {found.dtype}, expected {wanted}")
    if found.shape[found.ndim - len(array.shape) :] != array.shape:
        raise ScoreError(f"{what} has shape {found.shape}, expected {array.shape}")
    with np.errstate(over="ignore"):
        return found.astype(wanted)


# ---- interfaces -------------------------------------------------------------------------------------------------


def check_interface(interface: Interface, owner: str) -> None:
    """Raise ScoreError for an interface that contradicts itself or that nothing here can carry."""
    if not isinstance(interface, Interface):
        raise ScoreError(f"{owner}: its interface is a {type(interface).__name__}, expected an Interface")
    if not interface.observation:
        raise ScoreError(f"{owner} observes nothing")
    if both := sorted(interface.observation.keys() & interface.views.keys()):
        raise ScoreError(f"{owner}: {', '.join(both)} is observed at every step and a view as well")
    for key, array in (*interface.observation.items(), *interface.views.items(), ("action", interface.action)):
        check_array(array, f"{owner}: '{key}'")
    action = interface.action
    if len(action.shape) != 1 or action.dtype != "float32" or len(set(action.names)) != action.size:
        raise ScoreError(f"{owner}: an action is (a,) float32 with a distinct name for each dimension, not {action}")
    if not (_is_finite(interface.control_rate_hz) and interface.control_rate_hz > 0):
        raise ScoreError(f"{owner}: control_rate_hz must be positive, not {interface.control_rate_hz}")


def check_array(array: ArraySpec, what: str, dtypes: tuple[str, ...] = DTYPES) -> None:
    """Raise ScoreError for a shape, type or names that make no sense."""
    if not 1 <= len(array.shape) <= MAX_RANK or not all(isinstance(n, int) and n > 0 for n in array.shape):
        raise ScoreError(f"{what} has shape {array.shape}; shapes are 1 to {MAX_RANK} positive sizes")
    check_entries(math.prod(array.shape), what)
    if array.dtype not in dtypes:
        raise unknown_choice(f"type of {what}", array.dtype, dtypes)
    if array.names and len(array.names) != array.shape[-1]:
        raise ScoreError(f"{what} has {len(array.names)} names for {array.shape[-1]} entries of its last axis")


def check_offer(needed: Interface, reader: str, offered: Interface, owner: str, same_names: bool = False) -> None:
    """Raise ScoreError unless `owner` shows all that `reader` reads, takes as many actions, and at the same rate.

    same_names: the actions must have the same names in the same order, as on a robot.
    """
    for verb, keys, there in (
        ("reads", needed.observation, offered.observation),
        ("looks at", needed.views, offered.views),
    ):
        for key, array in keys.items():
            have = there.get(key)
            if have is None or (have.shape, have.dtype) != (array.shape, array.dtype):
                listed = ", ".join(f"'{name}' {one}" for name, one in there.items()) or "nothing of the kind"
                raise ScoreError(f"{reader} {verb} '{key}' {array}, but {owner} shows {listed}")
    if needed.action_dim != offered.action_dim:
        raise ScoreError(f"{reader} has {needed.action_dim} actions, {owner} takes {offered.action_dim}")
    if same_names and needed.action_names != offered.action_names:
        raise ScoreError(
            f"{reader} commands {list(needed.action_names)}, but {owner} takes {list(offered.action_names)}"
        )
    if abs(needed.control_rate_hz - offered.control_rate_hz) > 1e-6:
        raise ScoreError(
            f"{reader} acts at {needed.control_rate_hz:g} Hz, {owner} runs at {offered.control_rate_hz:g} Hz"
        )


# ---- from plain values ------------------------------------------------------------------------------------------


def parse_interface(values: Any, source: object) -> Interface:
    """Interface of plain JSON values: every field and no other. Raises ScoreError that names `source`."""
    interface = parse(Interface, values, source)
    check_interface(interface, str(source))
    return interface


def check_policy_spec(spec: PolicySpec, source: object) -> None:
    """Raise ScoreError for a specification that is none, contradicts itself, or whose sizes are none."""
    if not isinstance(spec, PolicySpec):
        raise ScoreError(f"{source}: its spec is a {type(spec).__name__}, expected a PolicySpec")
    shape = spec.latent_shape
    if not isinstance(shape, tuple) or len(shape) != 2:
        raise ScoreError(f"{source}: latent_shape is latent steps and latent width, not {shown(shape)}")
    sizes = (spec.history, spec.horizon, *shape)
    if not all(map(_is_size, sizes)):
        raise ScoreError(f"{source}: history, horizon and the two of latent_shape are {sizes}, expected sizes >= 1")
    check_interface(spec.interface, str(source))
    window = spec.history * sum(array.size for array in spec.interface.observation.values())
    chunk, latent = spec.horizon * spec.interface.action_dim, math.prod(spec.latent_shape)
    for what, entries in (("window", window), ("chunk", chunk), ("latent", latent)):
        check_entries(entries, f"{source}: a {what}")


def check_world_spec(spec: WorldSpec, source: object) -> None:
    """Raise ScoreError for a specification that is none, contradicts itself, or that no policy can act by."""
    if not isinstance(spec, WorldSpec):
        raise ScoreError(f"{source}: its spec is a {type(spec).__name__}, expected a WorldSpec")
    for name in ("num_envs", "time_limit"):
        if not _is_size(value := getattr(spec, name)) or value > MAX_ENTRIES:
            raise ScoreError(f"{source}: {name} is {shown(value)}, expected 1 to {MAX_ENTRIES}")
    check_interface(spec.interface, str(source))
    sizes = (spec.interface.action_dim, len(spec.action_low), len(spec.action_high))
    if len(set(sizes)) != 1:
        raise ScoreError(f"{source}: the actions, action_low and action_high differ in length: {sizes}")
    for k, (low, high) in enumerate(zip(spec.action_low, spec.action_high)):
        if not (_is_finite(low) and _is_finite(high) and low < high):
            raise ScoreError(f"{source}: bounds of action {k} must be finite, the first less, not {low} to {high}")
    if not spec.critic:
        raise ScoreError(f"{source}: the critic group must not be empty")
    for key, array in spec.critic.items():
        check_array(array, f"{source}: '{key}' of the critic", ("float32",))


def _is_size(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= 1


def _is_finite(value: Any) -> bool:
    return isinstance(value, numbers.Real) and math.isfinite(value)


def check_entries(entries: int, what: str) -> None:
    """Raise ScoreError for more than `MAX_ENTRIES`."""
    if entries > MAX_ENTRIES:
        raise ScoreError(f"{what} has {entries} entries; {MAX_ENTRIES} are the most")
