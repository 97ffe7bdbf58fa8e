"""Franka FR3 arm with a right LEAP hand: joints, limits and gains.

The published values (Franka Robotics' FR3 data sheet and robot description; Shaw, Agarwal, Pathak: LEAP Hand, RSS
2023, and its published model). `robots.franka_leap.model` holds the bodies.

Frames: the base frame is the arm's mounting point on the table, x forward, z up.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from score_rl.sim.parameters import AuditUnit, Parameter, Prior
from score_rl.sim.robot import Robot

if TYPE_CHECKING:
    from mujoco import MjSpec

FINGERTIPS = ("index", "middle", "ring", "thumb")
"""Fingers in the order of the fingertip features."""

_ARM_JOINTS = tuple(f"fr3_joint{i}" for i in range(1, 8))
_FINGER_JOINTS = tuple(f"{finger}_{joint}" for finger in FINGERTIPS[:3] for joint in ("mcp", "rot", "pip", "dip"))
_THUMB_JOINTS = tuple(f"thumb_{joint}" for joint in ("cmc", "axl", "mcp", "ipl"))


ARM, HAND = 7, 16
"""Joints."""

_PARAMETERS = (
    Parameter(
        "arm.joint_bias_rad", ARM, 0, -0.2, 0.2,
        "true minus measured arm joint position (sensor offset)",
        prior=Prior(0.0, 0.005, "industrial arms are calibrated to 0.1-0.3 degrees", floor=0.001),
        audit=AuditUnit("shift", 0.002),
        stream="arm_joint_bias_rad",
    ),
    Parameter(
        "hand.joint_bias_rad", HAND, 0, -0.5, 0.5,
        "true minus measured hand joint position (sensor offset)",
        prior=Prior(0.0, 0.06, "hand-assembled servo hands are zeroed by eye: a few degrees", floor=0.004),
        audit=AuditUnit("shift", 0.015),
        stream="hand_joint_bias_rad",
    ),
    Parameter(
        "arm.backlash_rad", ARM, 0, 0, 0.1,
        "full width of the arm joints' play",
        audit=AuditUnit("more", 0.002),
        stream="arm_backlash_rad",
    ),
    Parameter(
        "hand.backlash_rad", HAND, 0, 0, 0.3,
        "full width of the hand joints' play",
        prior=Prior(0.03, 0.02, "play of small gear trains, 1-3 degrees with wear", floor=0.004),
        audit=AuditUnit("more", 0.015),
        stream="hand_backlash_rad",
    ),
    Parameter(
        "arm.gain_scale", 1, 1, 0.1, 10,
        "factor on the arm's position gain",
        prior=Prior(
            1.0, 0.1, "impedance controllers reproduce their gains; the model's inertia is less sure", floor=0.05
        ),
        audit=AuditUnit("factor", 0.10),
        stream="arm_gain_scale",
    ),
    Parameter(
        "hand.gain_scale", 1, 1, 0.1, 10,
        "factor on the hand's position gain",
        prior=Prior(1.0, 0.15, "servo gains drift with temperature, voltage and firmware", floor=0.08),
        audit=AuditUnit("factor", 0.15),
        stream="hand_gain_scale",
    ),
    Parameter(
        "robot.delay_s", 1, 0, 0, 0.09,
        "dead time between a command and the servos",
        prior=Prior(0.02, 0.02, "one to three cycles of a 50-100 Hz bus and driver", floor=0.004),
        audit=AuditUnit("more", 0.010),
        stream="delay_s",
    ),
    Parameter(
        "robot.lag_s", 1, 0, 0, 0.5,
        "first-order time constant of the servos' targets",
        prior=Prior(0.02, 0.02, "target filters and trajectory smoothing of servo firmware", floor=0.006),
        audit=AuditUnit("more", 0.010),
        stream="lag_s",
    ),
    Parameter(
        "hand.torque_limit_nm", 1, 0.6, 0.05, 2,
        "torque limit of every hand joint",
        prior=Prior(0.5, 0.1, "small servos give 50-100 % of the stall torque of their data sheet"),
        audit=AuditUnit("factor", 0.20),
        stream="hand_torque_limit_nm",
    ),
    Parameter(
        "hand.dry_friction_nm", 1, 0, 0, 0.2,
        "Coulomb friction of every hand joint",
        prior=Prior(0.01, 0.01, "a few percent of a small servo's torque", floor=0.002),
        audit=AuditUnit("more", 0.010),
        stream="hand_dry_friction_nm",
    ),
    Parameter(
        "robot.joint_jitter_rad", 1, 0, 0, 0.1,
        "standard deviation, per frame, of measured joints",
        audit=AuditUnit("more", 0.002),
        stream="joint_jitter_rad",
    ),
    Parameter(
        "robot.delay_jitter_s", 1, 0, 0, 0.09,
        "how much later than its delay a command may come: uniform, each command's own",
        told=False,
    ),
    Parameter(
        "arm.encoder_error_rad", ARM, 0, 0, 0.05,
        "amplitude of the once-a-turn error of arm encoders that sit off their axes",
        told=False,
    ),
    Parameter(
        "arm.encoder_phase_rad", ARM, 0, 0, 2 * math.pi,
        "its phase: encoders read amplitude x sin(position + phase) too much",
        told=False,
    ),
    Parameter(
        "hand.encoder_error_rad", HAND, 0, 0, 0.1,
        "amplitude of the once-a-turn error of hand encoders that sit off their axes",
        told=False,
    ),
    Parameter(
        "hand.encoder_phase_rad", HAND, 0, 0, 2 * math.pi,
        "its phase: encoders read amplitude x sin(position + phase) too much",
        told=False,
    ),
    Parameter(
        "hand.compliance_rad_nm", 1, 0, 0, 0.2,
        "by how much a hand joint yields behind its servo under load, rad/(N m)",
        told=False,
    ),
    Parameter(
        "hand.hysteresis_nm", 1, 0, 0, 0.2,
        "load by which that follows late, in either direction: friction of the gears",
        told=False,
    ),
    Parameter(
        "hand.tip_radius_scale", 1, 1, 0.7, 1.4,
        "factor on the radius of the fingertips",
        told=False,
    ),
)  # fmt: skip
"""What differs between two such robots. Floors of priors: elasticity under load and temperature (offsets, play),
physics steps as long as the time constants, which trade lag against gain (a third of a 16.7 ms step; a tenth of a
gain)."""


def _add_bodies(spec: MjSpec, robot: Robot) -> None:
    from score_rl.robots.franka_leap.model import add_bodies  # needs MuJoCo, which a robot's computer need not have

    add_bodies(spec, robot)


def _franka_leap() -> Robot:
    fingers, pi_fourth = 3, math.pi / 4
    finger_lower, finger_upper = (-0.314, -1.047, -0.506, -0.366), (2.23, 1.047, 1.885, 2.042)
    thumb_lower, thumb_upper = (-0.349, -0.349, -0.47, -1.34), (2.094, 2.094, 2.443, 1.88)
    hand_lower, hand_upper = finger_lower * fingers + thumb_lower, finger_upper * fingers + thumb_upper
    return Robot(
        name="franka_leap",
        joint_names=_ARM_JOINTS + _FINGER_JOINTS + _THUMB_JOINTS,
        joint_lower=(-2.9007, -1.8361, -2.9007, -3.077, -2.8763, 0.4398, -3.0508, *hand_lower),
        joint_upper=(2.9007, 1.8361, 2.9007, -0.1169, 2.8763, 4.6216, 3.0508, *hand_upper),
        # The paper's target limits; joint 6 is cut at the FR3's stop (the paper allows 0.28).
        target_lower=(-2.60, -1.46, -2.60, -2.77, -2.60, 0.45, -2.60, *hand_lower),
        target_upper=(2.60, 1.46, 2.60, -0.37, 2.60, 3.45, 2.60, *hand_upper),
        # 0.15 of the usual position gains: the full ones saturate the wrist's torque at 60 Hz physics.
        kp=(675.0, 675.0, 525.0, 525.0, 300.0, 300.0, 300.0) + (3.0,) * 16,
        kd=(67.5, 67.5, 52.5, 52.5, 30.0, 30.0, 30.0) + (0.05,) * 16,
        effort=(86.0,) * 4 + (11.5,) * 3 + (0.6,) * 16,
        # Arm: FR3 data sheet ("Limits for Franka Research 3": q_dot_max, q_ddot_max, tau_j_max). Hand: LEAP's servos,
        # Dynamixel XC330-M288-T at 5 V (Robotis e-manual: no-load speed 81 rev/min, stall torque 0.93 N m). Their
        # acceleration has no published limit; 300 rad/s^2 is what `effort` gives the reflected inertia alone.
        velocity_limit_rad_s=(2.62,) * 4 + (5.26, 4.18, 5.26) + (81.0 * 2.0 * math.pi / 60.0,) * 16,
        acceleration_limit_rad_s2=(10.0,) * 7 + (300.0,) * 16,
        torque_limit_nm=(87.0,) * 4 + (12.0,) * 3 + (0.93,) * 16,
        armature=(0.195,) * 4 + (0.074,) * 3 + (2e-3,) * 16,
        damping=(0.21,) * 7 + (0.03,) * 16,
        home=(0.311, 0.004, -0.311, -2.051, 0.001, 2.055, pi_fourth - 0.004)
        + (0.3, 0.0, 0.3, 0.2) * fingers
        + (1.0, 0.3, 0.2, 0.2),
        arm_dof=7,
        fingers=FINGERTIPS,
        add_bodies=_add_bodies,
        parameters=_PARAMETERS,
    )


FRANKA_LEAP = _franka_leap()
"""The robot of the paper: 7 arm and 16 hand joints, absolute position targets in radians."""
