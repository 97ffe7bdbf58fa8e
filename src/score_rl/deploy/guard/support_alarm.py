"""The support alarm: could the base policy have decided this, here? One score per decision, for the guard."""

from __future__ import annotations

from typing import Protocol

import torch

from score_rl.contracts import FlowPolicy, Window
from score_rl.evaluation.support.meter import Executed, SupportConfig, SupportMeter
from score_rl.steering.policy import Decision


class Limits(Protocol):
    """What the alarm reads of a bundle's specification."""

    execute_steps: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]


class SupportAlarm:
    """Rank of a decision's chunk among base samples of the same state (`evaluation.support.meter`).

    0: the most central of them all; 1: farther from its nearest sample than every sample is from its own. A chunk of
    the base policy itself has a uniform rank, so with `support_limit` L a share 1 - L of its chunks raise the alarm.
    """

    def __init__(self, base: FlowPolicy, spec: Limits, config: SupportConfig | None = None) -> None:
        """Raises ScoreError for settings that `SupportMeter` does not take."""
        self._meter = SupportMeter(base, spec.action_low, spec.action_high, config)
        self._steps, self._decisions = spec.execute_steps, 0

    def __call__(self, window: Window, decision: Decision) -> float:
        """Score of a decision of one row."""
        executed = Executed(
            window={key: window[key] for key in self._meter.policy.spec.window},
            chunk=decision.chunk[:, : self._steps],
            steps=torch.tensor([self._steps]),
            episode=torch.tensor([0]),
            seeds=((0, self._decisions),),
        )
        self._decisions += 1
        return float(self._meter.measure(executed).chunk[0])
