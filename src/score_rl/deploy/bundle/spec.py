"""What a bundle says about itself: everything that a robot's computer must know to run it, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from score_rl.contracts import ArraySpec, Interface, PolicySpec, WorldSpec
from score_rl.core.errors import ScoreError
from score_rl.core.interfaces import check_interface, check_policy_spec
from score_rl.core.ranges import Count
from score_rl.core.records import parse, validate
from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.robot import Robot, robot_interface

VERSION = 2
"""Version of the bundle's format; a program reads its own only."""


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
    interface: Interface
    """Every key and view that the robot can show, and its actions."""
    action_low: tuple[float, ...]
    """Bounds of every action dimension [action unit]."""
    action_high: tuple[float, ...]
    action_velocity_limit: tuple[float, ...] | None
    """Largest speed of every action dimension [action unit / s]; None where none is known."""
    action_acceleration_limit: tuple[float, ...] | None
    """Largest acceleration of every action dimension [action unit / s^2]; None where none is known."""


@dataclass(frozen=True)
class BundleSpec:
    """Everything about a bundle but its weights."""

    version: int
    """Version of the format."""
    method: str
    """How the policy was made: "base" (not steered), "score", or another steering method's name."""
    task: str
    """What it was made for."""
    policy: PolicySpec
    """What the policy reads, with the robot's units, frames and names; history, horizon, latent and actions."""
    execute_steps: Count
    """Control steps to run of every chunk before the next decision, as in training."""
    action_low: tuple[float, ...]
    """Bounds of every action dimension; chunks are clipped to them."""
    action_high: tuple[float, ...]
    action_velocity_limit: tuple[float, ...] | None
    """Largest speed of every action dimension [action unit / s]; None where none is known."""
    action_acceleration_limit: tuple[float, ...] | None
    """Largest acceleration of every action dimension [action unit / s^2]; None where none is known."""
    robot: RobotInfo
    """The robot that the actions are meant for."""
    provenance: Mapping[str, Any]
    """Where it comes from: hashes of data and base policy, commits, seeds, settings."""
    evaluation: tuple[Mapping[str, Any], ...]
    """Result records of the policies (docs/metrics.md), empty where it was not evaluated."""

    @property
    def interface(self) -> Interface:
        """What the policy reads and sends."""
        return self.policy.interface


def franka_leap_limits(
    robot: Robot = FRANKA_LEAP,
    poses: Sequence[str] = ("object_pose",),
    views: Mapping[str, ArraySpec] | None = None,
) -> RobotLimits:
    """Limits and interface of the Franka + LEAP tasks, from the robot's record.

    poses: keys of its objects. views: what it can be asked for.
    """
    return RobotLimits(
        robot=RobotInfo(robot.name, robot.joint_names, robot.home, robot.torque_limit_nm),
        interface=robot_interface(robot, poses, views),
        action_low=robot.target_lower,
        action_high=robot.target_upper,
        action_velocity_limit=robot.velocity_limit_rad_s,
        action_acceleration_limit=robot.acceleration_limit_rad_s2,
    )


def world_limits(world: WorldSpec) -> RobotLimits:
    """Limits and interface of any other world: what its specification says."""
    return RobotLimits(
        robot=RobotInfo(world.name, world.interface.action_names, None, None),
        interface=world.interface,
        action_low=world.action_low,
        action_high=world.action_high,
        action_velocity_limit=None,
        action_acceleration_limit=None,
    )


def check_spec(spec: BundleSpec) -> None:
    """Raise ScoreError where a specification contradicts itself or cannot be acted on."""
    if spec.version != VERSION:
        raise ScoreError(f"the bundle has format version {spec.version}; this program reads {VERSION}")
    validate(spec)
    check_interface(spec.interface, "the bundle")
    if spec.policy.history < 1 or spec.execute_steps > spec.policy.horizon:
        raise ScoreError(
            f"the bundle needs history >= 1 and 1 <= execute_steps <= horizon, not {spec.policy.history}, "
            f"{spec.execute_steps} and {spec.policy.horizon}"
        )
    action_dim, action_names = spec.interface.action_dim, spec.interface.action_names
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
        if values is not None and len(values) != action_dim:
            raise ScoreError(f"{name} has {len(values)} entries, but there are {action_dim} actions")
    for name, low, high in zip(action_names, spec.action_low, spec.action_high):
        if not low < high or not math.isfinite(high - low):
            raise ScoreError(f"bounds of action '{name}' are [{low}, {high}]; they must be finite and in order")
    for name in ("action_velocity_limit", "action_acceleration_limit"):
        if any(not (math.isfinite(value) and value > 0) for value in per_action[name] or ()):
            raise ScoreError(f"{name} must be positive everywhere, not {per_action[name]}")


def check_policy(spec: BundleSpec, policy: PolicySpec) -> None:
    """Raise ScoreError where the policy inside is another one than the specification says.

    Units, frames and names of what is observed are the robot's to say; everything else must be the same.
    """
    has = _parts(policy)
    for name, said in _parts(spec.policy).items():
        if said != has[name]:
            raise ScoreError(f"the bundle says {name} {said}, but its policy has {has[name]}")


def _parts(policy: PolicySpec) -> dict[str, Any]:
    """What the bundle must say as its policy does."""
    interface = policy.interface
    return {
        "observation": {key: str(array) for key, array in interface.observation.items()},
        "views": {key: str(array) for key, array in interface.views.items()},
        "action names": interface.action.names,
        "action unit": interface.action.unit,
        "control_rate_hz": interface.control_rate_hz,
        "history": policy.history,
        "horizon": policy.horizon,
        "latent_shape": policy.latent_shape,
    }


def parse_spec(values: Any, source: object) -> BundleSpec:
    """Specification of plain JSON values: every field and no other. Raises ScoreError that names `source`."""
    spec = parse(BundleSpec, values, source)
    check_policy_spec(spec.policy, source)
    check_spec(spec)
    return spec
