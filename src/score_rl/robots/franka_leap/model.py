"""The bodies of the Franka FR3 with a LEAP hand, from primitives.

Shapes are capsules and boxes: 27 geoms, 17 of which collide, so that a physics step is cheap and needs no mesh files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import mujoco

from score_rl.sim.robot import ARM, HAND, Robot


@dataclass(frozen=True)
class _Link:
    """A body, its joint (turning about +-z of the body frame) and its shape: one row of the tables below."""

    name: str
    parent: str
    pos: tuple[float, float, float]
    quat: tuple[float, float, float, float]
    joint: str
    axis: int
    mass: float
    geom: str
    """Geom name; its prefix `arm_`, `palm_`, `finger_`, `tip_` or `visual_` says what it may touch."""
    ends: tuple[float, float, float, float, float, float]
    """Capsule from one point to the other, body frame."""
    radius: float


_X90, _X270 = (1.0, 1.0, 0.0, 0.0), (1.0, -1.0, 0.0, 0.0)

_ARM = (
    _Link("link1", "link0", (0, 0, 0.333), (1, 0, 0, 0), "fr3_joint1", 1, 2.92747,
          "visual_link1", (0, 0, -0.19, 0, 0, 0), 0.06),
    _Link("link2", "link1", (0, 0, 0), _X270, "fr3_joint2", 1, 2.93554,
          "visual_link2", (0, 0, -0.06, 0, 0, 0.06), 0.06),
    _Link("link3", "link2", (0, -0.316, 0), _X90, "fr3_joint3", 1, 2.2449,
          "visual_link3", (0, 0, -0.19, 0, 0, -0.05), 0.06),
    _Link("link4", "link3", (0.0825, 0, 0), _X90, "fr3_joint4", 1, 2.6156,
          "visual_link4", (0, 0, -0.06, 0, 0, 0.06), 0.06),
    _Link("link5", "link4", (-0.0825, 0.384, 0), _X270, "fr3_joint5", 1, 2.32712,
          "arm_link5", (0, 0.03, -0.26, 0, 0.06, -0.06), 0.05),
    _Link("link6", "link5", (0, 0, 0), _X90, "fr3_joint6", 1, 1.81704,
          "arm_link6", (0.02, 0, 0, 0.088, 0.02, 0), 0.05),
    _Link("link7", "link6", (0.088, 0, 0), _X90, "fr3_joint7", 1, 0.627143,
          "arm_link7", (0, 0, 0.02, 0, 0, 0.08), 0.045),
)  # fmt: skip

_KNUCKLE_Y = {"index": 0.023, "middle": -0.0224, "ring": -0.0678}


def _finger(finger: str) -> tuple[_Link, ...]:
    """The four links of a finger: flexion, spread, flexion, flexion."""
    base, proximal, medial, distal = (f"{finger}_{part}" for part in ("base", "proximal", "medial", "distal"))
    return (
        _Link(base, "hand", (-0.007, _KNUCKLE_Y[finger], -0.0187), (1, 1, 1, -1), f"{finger}_mcp", -1, 0.044,
              f"finger_{base}", (0, 0.012, 0.0147, -0.018, 0.042, 0.0147), 0.012),
        _Link(proximal, base, (-0.0122, 0.0381, 0.0145), (1, -1, -1, 1), f"{finger}_rot", -1, 0.032,
              f"visual_{proximal}", (0.0, 0, -0.011, 0.015, 0, -0.011), 0.012),
        _Link(medial, proximal, (0.015, 0.0143, -0.013), (1, 1, -1, 1), f"{finger}_pip", -1, 0.037,
              f"finger_{medial}", (0.002, 0, 0.0145, 0.002, -0.036, 0.0145), 0.012),
        _Link(distal, medial, (0, -0.0361, 0.0002), (1, 0, 0, 0), f"{finger}_dip", -1, 0.016,
              f"tip_{finger}", (-0.001, -0.025, 0.0145, -0.001, -0.0395, 0.0145), 0.0105),
    )  # fmt: skip


_THUMB = (
    _Link("thumb_base", "hand", (-0.0693, -0.0012, -0.0216), (1, 0, 1, 0), "thumb_cmc", -1, 0.032,
          "visual_thumb_base", (-0.015, 0, -0.011, 0.0, 0, -0.011), 0.012),
    _Link("thumb_axle", "thumb_base", (0, 0.0143, -0.013), (1, 1, -1, 1), "thumb_axl", -1, 0.003,
          "visual_thumb_axle", (0, -0.008, -0.01, 0, 0.008, -0.01), 0.008),
    _Link("thumb_proximal", "thumb_axle", (0, 0.0145, -0.017), _X270, "thumb_mcp", -1, 0.038,
          "finger_thumb_proximal", (0, 0.004, -0.0145, 0, 0.045, -0.0145), 0.012),
    _Link("thumb_distal", "thumb_proximal", (0, 0.0466, 0.0002), (0, 0, 0, 1), "thumb_ipl", -1, 0.049,
          "tip_thumb", (-0.001, -0.034, -0.0145, -0.001, -0.0505, -0.0145), 0.0115),
)  # fmt: skip

_LINKS = _ARM + _finger("index") + _finger("middle") + _finger("ring") + _THUMB
JOINTS = tuple(link.joint for link in _LINKS)

_PALM_BOXES = {
    "palm_front": ((-0.03, -0.030, -0.010), (0.030, 0.058, 0.018), 0.137),
    "palm_back": ((-0.078, -0.045, -0.010), (0.022, 0.034, 0.020), 0.400),
}
"""Name: (centre, half sizes, mass) in the hand frame; the second carries the mount's 0.3 kg as well."""

_FLANGE_M = 0.107
_HAND_OFFSET_M = 0.12
"""From the flange to the hand frame (behind the knuckles), along the flange's z."""


def add_bodies(spec: mujoco.MjSpec, robot: Robot) -> None:
    """Add the robot to a scene: bodies, joints, position servos and sites, in `robot`'s order.

    The base stands at the world origin. Gravity is compensated in every body, as the real controllers do.
    Actuator i drives joint i and is named like it; its control is the joint's position target in radians.
    Sites: `palm` (see `Robot.palm`) and `tip_<finger>`, the centre of the fingertip's end sphere. The scene's
    angle unit becomes the radian.

    Raises:
        ValueError: `robot` has other joints than the FR3 with a LEAP hand.
    """
    if robot.joint_names != JOINTS:
        raise ValueError(f"robot '{robot.name}' has other joints than the FR3 with a LEAP hand: {robot.joint_names}")
    spec.compiler.degree = False
    index = {name: i for i, name in enumerate(robot.joint_names)}
    base = spec.worldbody.add_body(name="link0", gravcomp=1)
    _add_capsule(base, "visual_link0", (-0.06, 0, 0.06, 0, 0, 0.08), 0.06, 2.4)
    bodies = {"link0": base}
    for link in _LINKS:
        if link.parent == "hand" and "hand" not in bodies:
            bodies["hand"] = _add_palm(bodies["link7"])
        body = bodies[link.parent].add_body(name=link.name, pos=link.pos, quat=_unit(link.quat), gravcomp=1)
        bodies[link.name] = body
        i = index[link.joint]
        body.add_joint(
            name=link.joint,
            type=mujoco.mjtJoint.mjJNT_HINGE,
            axis=(0, 0, link.axis),
            limited=mujoco.mjtLimited.mjLIMITED_TRUE,
            range=(robot.joint_lower[i], robot.joint_upper[i]),
            armature=robot.armature[i],
            damping=robot.damping[i],
        )
        _add_capsule(body, link.geom, link.ends, link.radius, link.mass)
        if link.geom.startswith("tip_"):
            body.add_site(name=link.geom, pos=link.ends[3:], size=(0.003,) * 3)
    # The thumb's last link is twice as long as a finger's: its shaft collides too.
    _add_capsule(bodies["thumb_distal"], "finger_thumb_distal", (0, 0, -0.0145, 0, -0.03, -0.0145), 0.011, 1e-3)
    for name in robot.joint_names:
        _add_servo(spec, robot, index[name])


def _add_palm(flange_body: mujoco.MjsBody) -> mujoco.MjsBody:
    """The hand's root body: x along the flange's z, turned so that at home the palm faces the base."""
    half = math.radians(135) / 2
    c, s = math.cos(half), math.sin(half)
    # Turn about z by 135 degrees, then about y by -90 degrees.
    quat = _unit((c, s, -c, s))
    hand = flange_body.add_body(name="hand", pos=(0, 0, _FLANGE_M + _HAND_OFFSET_M), quat=quat, gravcomp=1)
    for name, (centre, half, mass) in _PALM_BOXES.items():
        hand.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_BOX, pos=centre, size=half, mass=mass, **_collision(name))
    # The published hand frame has z out of the back of the hand; the palm site looks the other way.
    hand.add_site(name="palm", pos=(-0.03, -0.0224, -0.0187), quat=(0, 1, 0, 0), size=(0.003,) * 3)
    return hand


def _add_servo(spec: mujoco.MjSpec, robot: Robot, i: int) -> None:
    actuator = spec.add_actuator(
        name=robot.joint_names[i], target=robot.joint_names[i], trntype=mujoco.mjtTrn.mjTRN_JOINT
    )
    actuator.set_to_position(kp=robot.kp[i], kv=robot.kd[i])
    actuator.ctrllimited = mujoco.mjtLimited.mjLIMITED_TRUE
    actuator.ctrlrange = (robot.target_lower[i], robot.target_upper[i])
    actuator.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE
    actuator.forcerange = (-robot.effort[i], robot.effort[i])


def _add_capsule(body: mujoco.MjsBody, name: str, ends: Sequence[float], radius: float, mass: float) -> None:
    body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_CAPSULE,
        fromto=ends,
        size=(radius, 0, 0),
        mass=mass,
        **_collision(name),
    )


def _collision(geom_name: str) -> dict[str, int | tuple[float, ...]]:
    """Collision masks and colour by the geom's name prefix."""
    prefix = geom_name.split("_")[0]
    contype = {"visual": 0, "arm": ARM, "palm": HAND, "finger": HAND, "tip": HAND}[prefix]
    shade = {"visual": 0.85, "arm": 0.85, "palm": 0.25, "finger": 0.25, "tip": 0.6}[prefix]
    return {"contype": contype, "conaffinity": 0, "rgba": (shade, shade, shade, 1.0)}


def _unit(quat: Sequence[float]) -> tuple[float, ...]:
    norm = math.sqrt(sum(q * q for q in quat))
    return tuple(q / norm for q in quat)
