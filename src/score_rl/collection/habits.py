"""How the scripted person behaves: everything that makes a demonstration good, bad, slow or different."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Grasp:
    """One way to take hold of a cube; drawn anew for every attempt, whatever the cube's pose."""

    name: str
    share: float
    """Probability of this grasp, relative to the shares of the others."""
    middle_finger: bool
    """Whether the middle finger takes part; otherwise it is curled away as the ring finger always is."""
    height_m: float
    """Height of the fingertips' centres over the table while closing."""
    grip_n: float
    """Force with which thumb and fingers are told to press on each other; the torque limits bound it as well."""
    close_s: float
    """Time over which the fingers close."""
    settle_s: float
    """Time between the end of closing and lifting; negative: lifting starts before the grip is closed."""
    offset_m: float = 0.0
    """Distance along the cube's face by which the thumb passes the cube's centre."""
    aim_sd_m: float = 0.002
    """Standard deviation of the horizontal aiming error, one draw per attempt and axis."""


TRIPOD = Grasp("tripod", 0.35, True, 0.021, 8.0, 0.4, 0.2, aim_sd_m=0.002)
"""Thumb against index and middle finger, low, centred and firm."""
HASTY = Grasp("hasty", 0.65, False, 0.036, 1.8, 0.3, -0.1, offset_m=0.004, aim_sd_m=0.006)
"""Thumb against index alone, at the cube's upper edge, weak, and lifted at once."""


@dataclass(frozen=True)
class Habits:
    """A person at the controls. Times are in seconds, every draw comes from the episode's own generator."""

    grasps: tuple[Grasp, ...] = (TRIPOD, HASTY)
    """Styles to choose from, with their shares."""
    crosswise_probability: float = 0.4
    """Chance to take the other pair of faces (hand turned by 90 degrees), where the arm can reach it."""
    slanted_probability: float = 0.4
    """Chance to come in from the side, along the cube's faces, rather than from above."""
    slowness: tuple[float, float] = (1.0, 2.5)
    """Every segment takes a factor drawn uniformly from this range longer than a brisk one."""
    pause_probability: float = 0.35
    """Chance to stop and look at each way-point."""
    pause_s: tuple[float, float] = (0.2, 1.5)
    """Length of a pause."""
    notice_s: tuple[float, float] = (0.1, 0.8)
    """Delay until a miss or a drop is noticed."""
    retry_probability: float = 0.5
    """Chance to try again, with a newly drawn grasp, after each miss; otherwise the person gives up."""
    speed_m_s: float = 0.55
    """Brisk hand speed."""
    carry_speed_m_s: float = 0.3
    """Brisk hand speed with a cube in the hand."""
    turn_rad_s: float = 2.5
    """Brisk hand turning speed."""
    arm_noise_rad: float = 0.01
    """Execution noise: the commands sent differ from the recorded ones by a smooth noise of this standard
    deviation, so that the demonstrations show how to come back (as in DART, Laskey et al. 2017)."""
    hand_noise_rad: float = 0.03
    noise_correlation: float = 0.8
    """Correlation of the execution noise from one control step to the next."""


def careful(grasp: Grasp = TRIPOD, noise: bool = False) -> Habits:
    """A brisk person who always takes one grasp, never pauses and always tries again."""
    return Habits(
        grasps=(replace(grasp, share=1.0),),
        crosswise_probability=0.0,
        slanted_probability=0.0,
        slowness=(1.0, 1.0),
        pause_probability=0.0,
        notice_s=(0.1, 0.1),
        retry_probability=1.0,
        arm_noise_rad=Habits.arm_noise_rad if noise else 0.0,
        hand_noise_rad=Habits.hand_noise_rad if noise else 0.0,
    )
