"""How the scripted person behaves, whatever the task: what makes a demonstration slow, noisy and different."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from score_rl.core.ranges import NonNegative, Positive, Range, Share


@dataclass(frozen=True)
class Habits:
    """A person at the controls. Times are in seconds, every draw comes from the episode's own generator.

    The ways to do a task, with their shares and aiming errors, belong to the task's demonstrator.
    """

    careful: bool = False
    """Always take the task's surest way, whatever the shares of the others."""
    slowness: tuple[Positive, Positive] = (1.0, 2.5)
    """Every segment takes a factor drawn uniformly from this range longer than a brisk one."""
    pause_probability: Share = 0.35
    """Chance to stop and look at each way-point."""
    pause_s: tuple[NonNegative, NonNegative] = (0.2, 1.5)
    """Length of a pause."""
    notice_s: tuple[NonNegative, NonNegative] = (0.1, 0.8)
    """Delay until a miss or a drop is noticed."""
    retry_probability: Share = 0.5
    """Chance to try again, in a newly drawn way, after each miss; otherwise the person gives up."""
    speed_m_s: Positive = 0.55
    """Brisk hand speed."""
    carry_speed_m_s: Positive = 0.3
    """Brisk hand speed with an object in the hand."""
    turn_rad_s: Positive = 2.5
    """Brisk hand turning speed."""
    arm_noise_rad: NonNegative = 0.01
    """Execution noise: the commands sent differ from the recorded ones by a smooth noise of this standard
    deviation, so that the demonstrations show how to come back (as in DART, Laskey et al. 2017)."""
    hand_noise_rad: NonNegative = 0.03
    noise_correlation: Annotated[float, Range(0, 1, open="high")] = 0.8
    """Correlation of the execution noise from one control step to the next."""


def careful(noise: bool = False) -> Habits:
    """A brisk person who always takes the surest way, never pauses and always tries again."""
    return Habits(
        careful=True,
        slowness=(1.0, 1.0),
        pause_probability=0.0,
        notice_s=(0.1, 0.1),
        retry_probability=1.0,
        arm_noise_rad=Habits.arm_noise_rad if noise else 0.0,
        hand_noise_rad=Habits.hand_noise_rad if noise else 0.0,
    )
