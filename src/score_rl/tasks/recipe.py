"""A recipe: one value of every stage's settings, under a name."""

from __future__ import annotations

from dataclasses import dataclass

from score_rl.tasks.settings import (
    CalibrateSettings,
    CollectSettings,
    EvaluateSettings,
    PretrainSettings,
    SteerSettings,
)


@dataclass(frozen=True)
class Recipe:
    """A named composition of the whole loop."""

    name: str
    description: str
    """One line for people."""
    collect: CollectSettings
    pretrain: PretrainSettings
    calibrate: CalibrateSettings
    steer: SteerSettings
    evaluate: EvaluateSettings
    real_to_sim: bool = True
    """Whether the loop records its demonstrations in a proxy and calibrates a twin from them; otherwise the
    demonstrations are given and the world is the same throughout."""
