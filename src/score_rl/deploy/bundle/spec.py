"""What a bundle says about itself: everything that a robot's computer must know to run it, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from score_rl.contracts import COMMAND, PolicySpec, WorldSpec
from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.robot import Robot

VERSION = 1
"""Version of the bundle's format; a program reads its own only."""


@dataclass(frozen=True)
class ObservationField:
    """One key of the observation."""

    width: int
    """d: numbers per frame."""
    unit: str
    """Unit of the numbers, e.g. "rad"; "m, quaternion wxyz" for a pose; "" where nobody said."""
    frame: str
    """Frame of positions and orientations, e.g. "base"; "" where there is none."""
    names: tuple[str, ...]
    """One name per number, e.g. the joints; empty where nobody said."""


@dataclass(frozen=True)
class RobotInfo:
    """The robot that the actions are meant for."""

    name: str
    """Robot type, as in datasets; the world's name where the robot is not known further."""
    joint_names: tuple[str, ...]
    """Joints, in the order of the actions."""
    home: tuple[float, ...] | None
    """Posture [rad] at the start of an episode, where one is known."""
    torque_limit_nm: tuple[float, ...] | None
    """Largest joint torques [N m], where they are known."""


@dataclass(frozen=True)
class RobotLimits:
    """A robot, what it observes and what may be sent to it: the part of a bundle that no policy knows."""

    robot: RobotInfo
    action_low: tuple[float, ...]
    """Bounds of every action dimension [action unit]."""
    action_high: tuple[float, ...]
    action_velocity_limit: tuple[float, ...] | None
    """Largest speed of every action dimension [action unit / s]; None where none is known."""
    action_acceleration_limit: tuple[float, ...] | None
    """Largest acceleration of every action dimension [action unit / s^2]; None where none is known."""
    observation: Mapping[str, ObservationField]
    """Every key that the robot can show."""


@dataclass(frozen=True)
class BundleSpec:
    """Everything about a bundle but its weights. n: rows decided together, h: horizon, a: action dimension."""

    version: int
    """Version of the format."""
    method: str
    """How the policy was made: "base" (not steered), "score", or another steering method's name."""
    task: str
    """What it was made for."""
    observation: Mapping[str, ObservationField]
    """Keys that the policy reads, in its order."""
    history: int
    """Consecutive frames, one per control step, of every key in a window; the first is repeated as padding."""
    horizon: int
    """h: control steps in a chunk."""
    execute_steps: int
    """Control steps to run of every chunk before the next decision, as in training."""
    action_names: tuple[str, ...]
    """One per action dimension."""
    action_unit: str
    """Unit of an action, e.g. "rad"."""
    action_low: tuple[float, ...]
    """Bounds of every action dimension; chunks are clipped to them."""
    action_high: tuple[float, ...]
    action_velocity_limit: tuple[float, ...] | None
    """Largest speed of every action dimension [action unit / s]; None where none is known."""
    action_acceleration_limit: tuple[float, ...] | None
    """Largest acceleration of every action dimension [action unit / s^2]; None where none is known."""
    control_rate_hz: float
    """Rate at which the actions of a chunk are sent, and at which frames are taken."""
    robot: RobotInfo
    """The robot that the actions are meant for."""
    provenance: Mapping[str, Any]
    """Where it comes from: hashes of data and base policy, commits, seeds, settings."""
    evaluation: tuple[Mapping[str, Any], ...]
    """Result records of the policies (docs/metrics.md), empty where it was not evaluated."""

    @property
    def action_dim(self) -> int:
        """a: width of one action."""
        return len(self.action_names)

    @property
    def latent_shape(self) -> tuple[int, int]:
        """(h, a): shape of the noise and of the latent of one decision."""
        return (self.horizon, self.action_dim)


def franka_leap_limits(robot: Robot = FRANKA_LEAP) -> RobotLimits:
    """Limits and observation of the Franka + LEAP tasks, from the robot's record. Base frame: the arm's mount."""
    joints, xyz, quaternion = robot.joint_names, ("x", "y", "z"), ("qw", "qx", "qy", "qz")
    pose, pose_unit = xyz + quaternion, "m, quaternion wxyz"
    tips = tuple(f"{finger}_{axis}" for finger in robot.fingers for axis in xyz)
    return RobotLimits(
        robot=RobotInfo(robot.name, joints, robot.home, robot.torque_limit_nm),
        action_low=robot.target_lower,
        action_high=robot.target_upper,
        action_velocity_limit=robot.velocity_limit_rad_s,
        action_acceleration_limit=robot.acceleration_limit_rad_s2,
        observation={
            "state": ObservationField(len(joints), "rad", "", joints),
            COMMAND: ObservationField(len(joints), "rad", "", joints),
            "object_pose": ObservationField(7, pose_unit, "base", pose),
            "palm_pose": ObservationField(7, pose_unit, "base", pose),
            "fingertip_pos": ObservationField(len(tips), "m", "base", tips),
        },
    )


def world_limits(world: WorldSpec) -> RobotLimits:
    """Limits and observation of any other world: what its specification says."""
    names = world.action_names
    return RobotLimits(
        robot=RobotInfo(world.name, names, None, None),
        action_low=world.action_low,
        action_high=world.action_high,
        action_velocity_limit=None,
        action_acceleration_limit=None,
        observation={
            key: ObservationField(width, "", "", names if key == COMMAND else ())
            for key, width in world.actor.items()
        },
    )


def check_spec(spec: BundleSpec) -> None:
    """Raise ScoreError where a specification contradicts itself or cannot be acted on."""
    if spec.version != VERSION:
        raise ScoreError(f"the bundle has format version {spec.version}; this program reads {VERSION}")
    if spec.history < 1 or not 1 <= spec.execute_steps <= spec.horizon:
        raise ScoreError(
            f"the bundle needs history >= 1 and 1 <= execute_steps <= horizon, not {spec.history}, "
            f"{spec.execute_steps} and {spec.horizon}"
        )
    if not (math.isfinite(spec.control_rate_hz) and spec.control_rate_hz > 0):
        raise ScoreError(f"control_rate_hz must be positive, not {spec.control_rate_hz}")
    per_action = {
        "action_low": spec.action_low,
        "action_high": spec.action_high,
        "action_velocity_limit": spec.action_velocity_limit,
        "action_acceleration_limit": spec.action_acceleration_limit,
        "robot.joint_names": spec.robot.joint_names,
        "robot.home": spec.robot.home,
        "robot.torque_limit_nm": spec.robot.torque_limit_nm,
    }
    for name, values in per_action.items():
        if values is not None and len(values) != spec.action_dim:
            raise ScoreError(f"{name} has {len(values)} entries, but there are {spec.action_dim} actions")
    for name, low, high in zip(spec.action_names, spec.action_low, spec.action_high):
        if not low < high or not math.isfinite(high - low):
            raise ScoreError(f"bounds of action '{name}' are [{low}, {high}]; they must be finite and in order")
    for name in ("action_velocity_limit", "action_acceleration_limit"):
        if any(not (math.isfinite(value) and value > 0) for value in per_action[name] or ()):
            raise ScoreError(f"{name} must be positive everywhere, not {per_action[name]}")
    for key, field in spec.observation.items():
        if field.width < 1 or (field.names and len(field.names) != field.width):
            raise ScoreError(f"observation '{key}' has {len(field.names)} names for {field.width} numbers")


def check_policy(spec: BundleSpec, policy: PolicySpec) -> None:
    """Raise ScoreError where the policy inside is another one than the specification says."""
    said = {
        "observation": {key: field.width for key, field in spec.observation.items()},
        "history": spec.history,
        "horizon": spec.horizon,
        "action_names": spec.action_names,
        "action_unit": spec.action_unit,
        "control_rate_hz": spec.control_rate_hz,
    }
    has = {
        "observation": dict(policy.observation),
        "history": policy.history,
        "horizon": policy.horizon,
        "action_names": policy.action_names,
        "action_unit": policy.action_units,
        "control_rate_hz": policy.control_rate_hz,
    }
    for name, value in said.items():
        if value != has[name]:
            raise ScoreError(f"the bundle says {name} {value}, but its policy has {has[name]}")


def parse_spec(values: Any, source: object) -> BundleSpec:
    """Specification of plain JSON values: every field and no other. Raises ScoreError that names `source`."""
    plain = _fields(BundleSpec, values, source)
    try:
        observation = {key: _fields(ObservationField, field, source) for key, field in plain["observation"].items()}
        plain |= {
            "observation": {key: ObservationField(**field) for key, field in observation.items()},
            "robot": RobotInfo(**_fields(RobotInfo, plain["robot"], source)),
        }
        spec = BundleSpec(**plain)
        check_spec(spec)
    except (TypeError, AttributeError) as error:
        raise ScoreError(f"{source}: a value has the wrong type: {error}") from error
    return spec


def _fields(cls: type, values: Any, source: object) -> dict[str, Any]:
    """The values by field, lists as tuples."""
    names = [field.name for field in fields(cls)]
    if not isinstance(values, dict):
        raise ScoreError(f"{source}: {cls.__name__} must map names to values, not {values!r}")
    for name in values:
        if name not in names:
            raise unknown_choice(f"field of {cls.__name__} in {source}", name, names)
    if missing := [name for name in names if name not in values]:
        raise ScoreError(f"{source}: {cls.__name__} lacks {', '.join(missing)}")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
