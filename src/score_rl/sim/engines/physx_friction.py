"""Friction in PhysX, which takes the mean of two materials, set so that MuJoCo's rule comes out; needs no PhysX.

In MuJoCo an object's own friction rules over what is no object, the larger of two between objects, and that of an
object with a higher priority, a smooth one, over everything (see `scene.scene_spec`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import product
from typing import TypeVar

import numpy as np

from score_rl.sim.parameters import OBJECT_QUANTITIES

T = TypeVar("T")

REST = ""
"""The material of all that is no object."""
_DRAWN = OBJECT_QUANTITIES["friction"]


def materials(wanted: Mapping[T, float], smooth: Collection[T]) -> dict[T | str, float]:
    """{object: coefficient of its material}, and of all else under `REST`; wanted: {object or part of one: friction}.

    With c the smallest friction, all else at c and an object that shall have mu at 2 mu - c, every contact of one
    object has that object's mu, and the larger mu rules between two objects if one of them has the smallest. Where a
    smooth object rules over the others, c is their largest friction, so that the smaller mu rules. A smooth object's
    coefficient may be negative: PhysX cuts off the mean at zero, not what it is made of.
    """
    others = [mu for name, mu in wanted.items() if name not in smooth]
    base = max(others) if smooth and others else min(wanted.values(), default=1.0)
    return {name: 2 * mu - base for name, mu in wanted.items()} | {REST: base}


def mixed(
    known: Mapping[str, float | None], smooth: Collection[str], touching: Sequence[tuple[str, str]]
) -> tuple[str, ...]:
    """Contacts between objects that may have another friction than MuJoCo's, as a result names them.

    known: {object: friction, None for one that a domain draws}; touching: pairs of objects that can touch.
    """
    drawn, found = [name for name, mu in known.items() if mu is None], {}
    for probes in product((_DRAWN.low, _DRAWN.high), repeat=len(drawn)):  # where anything goes wrong, an end does
        wanted = {name: 0.0 if mu is None else mu for name, mu in known.items()} | dict(zip(drawn, probes))
        have = materials(wanted, smooth)
        for one, other in touching:
            ruling = [wanted[name] for name in (one, other) if name in smooth]
            rule = max(ruling or (wanted[one], wanted[other]))
            if not np.isclose((have[one] + have[other]) / 2, rule):
                found[f"{one}.friction on {other}"] = None
    return tuple(found)
