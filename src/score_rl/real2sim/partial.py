"""A calibration applied in part: twins whose error is graded between none of it and all of it.

What `score benchmark` trains in where an experiment asks how good a twin has to be (`twin_calibration`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from score_rl.core.errors import ScoreError
from score_rl.sim.domain import Distribution, Domain
from score_rl.sim.parameters import Parameters


def partly_calibrated(start: Domain, calibrated: Domain, share: float, parameters: Parameters) -> Domain:
    """The twin that calibration would leave if it stopped on its way from `start` to `calibrated`.

    Every value and every width is start + share x (calibrated - start): 0 is `start`, 1 is `calibrated`. Physics and
    protective stop, which calibration does not estimate, are the calibrated twin's. Raises ScoreError for a share
    outside [0, 1] and for a parameter that the two domains draw in different ways.
    """
    if not 0 <= share <= 1:
        raise ScoreError(f"share of a calibration = {share!r} is outside [0, 1]")
    levels = {
        level: {
            name: _between(_known(start, level, name, end, calibrated, parameters), end, share, f"{name}.{level}")
            for name, end in getattr(calibrated, level).items()
        }
        for level in ("robot", "episode")
    }
    return replace(calibrated, **levels)


def _known(
    start: Domain, level: str, name: str, end: Distribution, calibrated: Domain, parameters: Parameters
) -> Distribution:
    """What `start` says at a level: where nothing, a value that adds up to the nominal one, without width."""
    known: Mapping[str, Distribution] = getattr(start, level)
    if name in known:
        return known[name]
    said_elsewhere = name in start.robot or name in start.episode
    # The levels of a parameter add up, so that only one of them carries the nominal value.
    carries = not said_elsewhere and (level == "robot" or name not in calibrated.robot)
    value = parameters.find(name).nominal if carries else 0.0
    return Distribution(end.kind, ((value,), (0.0,) if end.kind == "normal" else (value,))[: len(end.arguments)])


def _between(start: Distribution, end: Distribution, share: float, where: str) -> Distribution:
    if start.kind != end.kind:
        raise ScoreError(f"{where} is {start.kind} in one twin and {end.kind} in the other: nothing lies between")
    pairs = zip(start.arguments, end.arguments)
    # Written so that both ends come out exactly.
    arguments = ((1 - share) * np.asarray(first) + share * np.asarray(last) for first, last in pairs)
    return Distribution(end.kind, tuple(tuple(row.tolist()) for row in arguments))
