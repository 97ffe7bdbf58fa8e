"""What a simulated robot is: joints, limits and gains in one record, and how its bodies enter a scene.

Collision groups are the bits `HAND`, `OBJECT` and `ARM`: hand geoms touch objects and the table, arm geoms the table,
and neither touches the robot itself. A scene gives its objects `contype=OBJECT, conaffinity=HAND | OBJECT` and its
table `contype=0, conaffinity=HAND | OBJECT | ARM`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from score_rl.contracts import COMMAND, ArraySpec, Interface
from score_rl.core.interfaces import action_spec
from score_rl.sim.parameters import Parameter

if TYPE_CHECKING:  # a robot's record is read on computers without a simulator
    from mujoco import MjSpec

CONTROL_RATE_HZ = 10.0
"""Control steps per second of every simulated robot."""

HAND, OBJECT, ARM = 1, 2, 4
"""Collision bits; see the module docstring."""


@dataclass(frozen=True)
class Robot:
    """A position-controlled robot; tuples have one entry per joint, ordered as `joint_names`; rad, N m."""

    name: str
    """Written into datasets as the robot type."""
    joint_names: tuple[str, ...]
    """Joints, actuators and actions share this order."""
    joint_lower: tuple[float, ...]
    """Mechanical stops."""
    joint_upper: tuple[float, ...]
    target_lower: tuple[float, ...]
    """Bounds of the commanded positions, inside the mechanical stops."""
    target_upper: tuple[float, ...]
    kp: tuple[float, ...]
    """Position gains of the servos, N m / rad."""
    kd: tuple[float, ...]
    """Velocity gains of the servos, N m s / rad."""
    effort: tuple[float, ...]
    """Torque limits of the servos."""
    velocity_limit_rad_s: tuple[float, ...]
    """Largest joint speeds of the hardware, rad/s."""
    acceleration_limit_rad_s2: tuple[float, ...]
    """Largest joint accelerations of the hardware, rad/s^2."""
    torque_limit_nm: tuple[float, ...]
    """Largest joint torques of the hardware, N m; `effort` stays inside."""
    armature: tuple[float, ...]
    """Reflected rotor inertia, kg m^2."""
    damping: tuple[float, ...]
    """Passive joint damping, N m s / rad."""
    home: tuple[float, ...]
    """Posture at the start of an episode."""
    arm_dof: int
    """The first `arm_dof` joints are the arm's, the rest the hand's."""
    fingers: tuple[str, ...]
    """Fingers in the order of the fingertip features; `tip_<finger>` is the site at a finger's tip, and
    `<finger>_distal` the body that carries it."""
    add_bodies: Callable[[MjSpec, Robot], None]
    """(scene, robot) -> None: adds bodies, joints, position servos and sites, in the robot's order."""
    parameters: tuple[Parameter, ...] = ()
    """Quantities in which two robots of this kind may differ. Known quantities are `joint_bias_rad`, `backlash_rad`,
    `gain_scale`, `torque_limit_nm`, `dry_friction_nm`, `encoder_error_rad`, `encoder_phase_rad`, `compliance_rad_nm`
    and `hysteresis_nm` of the owners `arm`, `hand` or `robot` (all joints), one number or one per joint, and
    `robot.delay_s`, `robot.delay_jitter_s`, `robot.lag_s`, `robot.joint_jitter_rad`."""
    palm: str = "palm"
    """Name of the palm site: origin at the middle of the palm, x along the extended fingers, z out of the
    palm towards where the fingers close, y from the index towards the ring finger."""

    def joints_of(self, owner: str) -> slice:
        """The joints of `arm`, `hand` or the whole `robot`."""
        dof = len(self.joint_names)
        return {"arm": slice(0, self.arm_dof), "hand": slice(self.arm_dof, dof), "robot": slice(0, dof)}[owner]

    def per_joint(self, values: Mapping[str, np.ndarray], quantity: str, default: ArrayLike) -> np.ndarray:
        """(k, joints) of one quantity from parameters {name: (k, size)}; `default` where the robot declares none."""
        k = len(next(iter(values.values())))
        result = np.empty((k, len(self.joint_names)))
        result[:] = default
        for owner in ("robot", "arm", "hand"):
            value = values.get(f"{owner}.{quantity}")
            if value is not None:
                result[:, self.joints_of(owner)] = value
        return result

    @property
    def fingertips(self) -> tuple[str, ...]:
        """Names of the fingertip sites."""
        return tuple(f"tip_{finger}" for finger in self.fingers)


def robot_interface(
    robot: Robot, poses: Sequence[str] = ("object_pose",), views: Mapping[str, ArraySpec] | None = None
) -> Interface:
    """What a robot with a camera shows of itself, under its own keys, and of objects, whose `poses` are keys as well;
    its `views`; and its actions: joint targets [rad]. Frame "base": the arm's mount.
    """
    xyz, joints = ("x", "y", "z"), action_spec(robot.joint_names, "rad")
    pose = ArraySpec((7,), unit="m, quaternion wxyz", frame="base", names=(*xyz, "qw", "qx", "qy", "qz"))
    tips = tuple(f"{finger}_{axis}" for finger in robot.fingers for axis in xyz)
    observation = {
        "state": joints,
        COMMAND: joints,
        **dict.fromkeys(poses, pose),
        "palm_pose": pose,
        "fingertip_pos": ArraySpec((len(tips),), unit="m", frame="base", names=tips),
    }
    return Interface(observation, joints, CONTROL_RATE_HZ, views or {})
