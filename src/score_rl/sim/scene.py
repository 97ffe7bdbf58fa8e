"""The MuJoCo scene of a task: robot, table and objects, compiled for a domain's physics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import mujoco
import numpy as np

from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.sim.domain import Physics
from score_rl.sim.parameters import FACES
from score_rl.sim.plant import plate_name
from score_rl.sim.robot import ARM, HAND, OBJECT, Robot
from score_rl.sim.task import Task

TABLE_GEOM = "table"
PLATE_M = 0.005
"""Thickness of the plates that stand for a box's faces: more than contacts give way, and little of a face."""
RIM_M = 0.001
"""Strip along its edges that a face leaves out: what presses on one face meets no plate of another's, unless it goes
deeper than this. The edges are broken, as those of real boxes are."""
_UNSEEN = 3
"""Group of geoms that pictures leave out."""


def scene_spec(task: Task, physics: Physics) -> mujoco.MjSpec:
    """The editable scene, for whichever engine: z = 0 is the nominal table top, the origin is the robot's base."""
    robot = task.robot
    spec = mujoco.MjSpec()
    spec.modelname = task.name
    spec.option.timestep = physics.timestep_s
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1280, 960
    spec.worldbody.add_light(pos=[0.3, -0.6, 2.0], dir=[0.1, 0.3, -1.0], castshadow=True)
    spec.worldbody.add_light(pos=[1.5, 0.8, 1.6], dir=[-0.6, -0.4, -1.0], diffuse=[0.35] * 3, castshadow=False)
    spec.worldbody.add_camera(name="front", pos=[1.55, -0.75, 0.75], xyaxes=[0.45, 0.89, 0, -0.36, 0.18, 0.91])
    spec.worldbody.add_geom(
        name=TABLE_GEOM,
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[1.5, 1.5, 0.05],
        rgba=[0.88, 0.88, 0.86, 1],
        contype=0,
        conaffinity=HAND | OBJECT | ARM,
    )
    task.add_objects(spec)
    _prioritise(spec, task)
    robot.add_bodies(spec, robot)
    for name, effort in list(zip(robot.joint_names, robot.effort))[: robot.arm_dof]:
        limit = effort * physics.arm_torque_scale
        spec.actuator(name).forcerange = (-limit, limit)
    return spec


def off_centre(task: Task) -> Task:
    """The task, with objects whose centres of mass may lie anywhere: MuJoCo compiles a free body whose centre of mass
    is its origin into one for which it cannot move."""

    def add_objects(spec: mujoco.MjSpec) -> None:
        task.add_objects(spec)
        for body in filter(None, (spec.body(item.name) for item in task.objects)):
            body.simple = False

    return replace(task, add_objects=add_objects)


def with_faces(task: Task, names: Mapping[str, bool]) -> Task:
    """The task, with each of these objects that is one thick box touched face by face: neither engine gives one box
    several frictions.

    The box stays, with all its mass, and touches nothing any more. What is touched are six plates without mass, one
    under each face. Objects of several parts, of other shapes, or thinner than four plates, have no faces and stay
    as they are. names: object -> whether it must have faces; ScoreError, when the scene is made, where it
    has none.
    """

    def add_objects(spec: mujoco.MjSpec) -> None:
        task.add_objects(spec)
        for name, must in names.items():
            body = spec.body(name)
            box = _thick_box(body) if body else None
            if box is not None:
                _add_plates(body, box)
            elif must:
                raise ScoreError(
                    f"task '{task.name}': '{name}' is no single box at least {4 * PLATE_M * 1e3:g} mm thick, so its "
                    "faces have no friction of their own; leave face_friction_scale to the objects that have faces"
                )

    return replace(task, add_objects=add_objects)


def _thick_box(body: mujoco.MjsBody) -> mujoco.MjsGeom | None:
    """The one geom of an object, if it is a box that has room for plates."""
    geoms = body.geoms
    single = len(geoms) == 1 and not body.bodies and geoms[0].type == mujoco.mjtGeom.mjGEOM_BOX
    return geoms[0] if single and min(geoms[0].size) >= 2 * PLATE_M else None


def _add_plates(body: mujoco.MjsBody, box: mujoco.MjsGeom) -> None:
    """Plates take over the contacts of a box; nobody sees them."""
    touch = ("type", "quat", "contype", "conaffinity", "condim", "friction", "solref", "solimp", "margin", "gap")
    shared = {key: getattr(box, key) for key in (*touch, "priority", "solmix")}
    for k, face in enumerate(FACES):
        axis, side = k // 2, (-1, 1)[k % 2]
        size, centre, turned = box.size - RIM_M, np.zeros(3), np.zeros(3)
        size[axis] = PLATE_M / 2
        centre[axis] = side * (box.size[axis] - PLATE_M / 2)
        mujoco.mju_rotVecQuat(turned, centre, box.quat)
        body.add_geom(
            name=plate_name(body.name, face), pos=box.pos + turned, size=size, mass=0, group=_UNSEEN, **shared
        )
    box.contype = box.conaffinity = 0


def _prioritise(spec: mujoco.MjSpec, task: Task) -> None:
    """An object's own friction and softness rule in all of its contacts: one number a domain can set.

    A task may give a geom a higher priority: that one rules where it touches another object.
    """
    for item in task.objects:
        root = spec.body(item.name)
        if root is None:
            names = ", ".join(body.name for body in spec.bodies[1:])
            raise ScoreError(f"task '{task.name}': the scene has no body '{item.name}'; it has {names}")
        for geom in [geom for body in (root, *root.find_all("body")) for geom in body.geoms]:
            geom.priority = max(geom.priority, 1)


def hand_bodies(spec: mujoco.MjSpec) -> list[str]:
    """Names of the bodies of the hand (palm, finger links, tips) that have a colliding geom."""
    names = []
    for geom in spec.geoms:
        collides = geom.name.startswith(("palm", "finger", "tip")) and (geom.contype or geom.conaffinity)
        if collides and geom.parent.name not in names:
            names.append(geom.parent.name)
    return names


def add_contact_sensors(spec: mujoco.MjSpec, task: Task) -> None:
    """Net contact forces in newtons, world frame, every physics step: on every link of the hand, and between the
    bodies of the task's contacts, named `contact ONE OTHER ...`."""
    for body in hand_bodies(spec):
        _add_contact_sensor(spec, f"force_{body}", body)
    for one, other in task.contacts:
        for first in members(spec, task, one):
            for second in members(spec, task, other):
                _add_contact_sensor(spec, f"contact {one} {other} {first} {second}", first, second)


def members(spec: mujoco.MjSpec, task: Task, thing: str) -> list[str]:
    """Bodies (or the table's geom) that a name in `Task.contacts` stands for."""
    hand, palm = hand_bodies(spec), spec.site(task.robot.palm).parent.name
    known = {"palm": [palm], "fingers": [name for name in hand if name != palm], TABLE_GEOM: [TABLE_GEOM]}
    known |= {body.name: [body.name] for body in spec.bodies[1:]}
    if thing not in known:
        raise unknown_choice(f"thing in the contacts of task '{task.name}'", thing, known)
    return known[thing]


def _add_contact_sensor(spec: mujoco.MjSpec, name: str, one: str, other: str = "") -> None:
    """Net contact force on `one`, from `other` where it is given."""
    force_bit, net_force, one_slot = 1 << mujoco.mjtConDataField.mjCONDATA_FORCE.value, 3, 1
    kinds = {TABLE_GEOM: mujoco.mjtObj.mjOBJ_GEOM, "": mujoco.mjtObj.mjOBJ_UNKNOWN}
    spec.add_sensor(
        name=name,
        type=mujoco.mjtSensor.mjSENS_CONTACT,
        objtype=kinds.get(one, mujoco.mjtObj.mjOBJ_BODY),
        objname=one,
        reftype=kinds.get(other, mujoco.mjtObj.mjOBJ_BODY),
        refname=other,
        intprm=[force_bit, net_force, one_slot],
    )


def kinematic_model(robot: Robot) -> mujoco.MjModel:
    """The robot alone, without contacts: forward kinematics of measured joints."""
    spec = mujoco.MjSpec()
    robot.add_bodies(spec, robot)
    spec.option.disableflags = mujoco.mjtDisableBit.mjDSBL_CONTACT | mujoco.mjtDisableBit.mjDSBL_CONSTRAINT
    spec.option.jacobian = mujoco.mjtJacobian.mjJAC_DENSE
    return spec.compile()


def joint_addresses(model: mujoco.MjModel, robot: Robot) -> tuple[np.ndarray, np.ndarray]:
    """(qpos, qvel) addresses of the robot's joints, in the robot's order."""
    ids = [model.joint(name).id for name in robot.joint_names]
    return model.jnt_qposadr[ids], model.jnt_dofadr[ids]
