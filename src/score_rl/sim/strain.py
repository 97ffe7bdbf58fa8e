"""What a control step asks of the hardware: forces on the hand, joints at their torque limits and at their stops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from score_rl.contracts import Accumulation
from score_rl.sim.robot import Robot

FORCE_THRESHOLD_N = 15.0
"""Force on one link above which impulse is counted: twice to three times what a normal grasp needs."""
TORQUE_SHARE = 0.99
"""A joint is at its torque limit where its servo gives this share of it."""
STOP_MARGIN_RAD = 0.01
"""A joint is at a mechanical stop where it is closer than this, or beyond (stops are slightly soft)."""

RULES: Mapping[str, Accumulation] = {"impulse_ns": "sum", "torque_limit_share": "mean", "joint_limit_share": "mean"}
"""How the figures add up over an episode (see `WorldSpec.info`); the others by their maximum."""


class Strain:
    """Turns what was recorded in one control step into entries of `StepResult.info`."""

    def __init__(self, links: Sequence[str], robot: Robot, timestep_s: float) -> None:
        """links: bodies of the hand in the order of the forces (see `Engine.links`)."""
        self._tips = [links.index(f"{finger}_distal") for finger in robot.fingers]
        self._lower = np.array(robot.joint_lower) + STOP_MARGIN_RAD
        self._upper = np.array(robot.joint_upper) - STOP_MARGIN_RAD
        self._timestep_s = timestep_s

    def info(self, force: np.ndarray, torque: np.ndarray, limit: np.ndarray, joints: np.ndarray) -> dict[str, Tensor]:
        """Figures (n,) of one control step.

        force (n, s, b): filtered contact force on every link of the hand in every physics step, N; torque (n, s, a):
        of the servos, N m, within +-limit (n, a); joints (n, a): positions at the end of the step, rad.

        - `peak_fingertip_force_n`: largest force on a fingertip's link.
        - `impulse_ns`: integral over time, summed over links, of the force in excess of `FORCE_THRESHOLD_N`.
        - `torque_limit_share`: mean over time and joints of being at the torque limit.
        - `joint_limit_share`: mean over joints of being at a mechanical stop.
        """
        excess = np.maximum(force - FORCE_THRESHOLD_N, 0.0).sum((1, 2)) * self._timestep_s
        saturated = np.abs(torque) >= TORQUE_SHARE * limit[:, None]
        stopped = (joints <= self._lower) | (joints >= self._upper)
        figures = {
            "peak_fingertip_force_n": force[:, :, self._tips].max((1, 2)),
            "impulse_ns": excess,
            "torque_limit_share": saturated.mean((1, 2)),
            "joint_limit_share": stopped.mean(1),
        }
        return {name: torch.from_numpy(values.astype(np.float32)) for name, values in figures.items()}


def low_pass(signal: np.ndarray, state: np.ndarray, decay: float | np.ndarray) -> np.ndarray:
    """First-order filter y_k = d y_(k-1) + (1 - d) x_k of signals (n, steps, b), from y_0 = `state` (n, b); d is one
    number or (n, 1)."""
    result = np.empty_like(signal)
    for k in range(signal.shape[1]):
        state = decay * state + (1 - decay) * signal[:, k]
        result[:, k] = state
    return result
