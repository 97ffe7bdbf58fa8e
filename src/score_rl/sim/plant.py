"""What an engine is told about an episode: the domain's parameters in terms of joints, bodies and objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mujoco
import numpy as np

from score_rl.core.errors import unknown_choice
from score_rl.sim.domain import Physics
from score_rl.sim.parameters import FACES, OBJECT_QUANTITIES
from score_rl.sim.task import Task


@dataclass(frozen=True)
class ObjectFigures:
    """How one object differs from the scene's, k environments; (k,) each where nothing else is said."""

    mass_scale: np.ndarray
    friction: np.ndarray
    """(k, geoms) sliding friction of each of its geoms, in the scene's order, in all of their contacts."""
    size_scale: np.ndarray
    """Also scales where its parts and joints are."""
    com_offset_m: np.ndarray
    """(k, 3) of its first body's centre of mass, from where the scene has it, in that body's frame."""


@dataclass(frozen=True)
class Plant:
    """Robot, surroundings and objects of k episodes."""

    gain_scale: np.ndarray
    """(k, a) factor on the servos' position gains; their damping stays."""
    torque_limit_nm: np.ndarray
    """(k, a)"""
    dry_friction_nm: np.ndarray
    """(k, a) Coulomb friction of the joints."""
    contact_time_constant_s: np.ndarray
    """(k,) softness of all contacts of objects and table."""
    tip_radius_scale: np.ndarray
    """(k,) factor on the radius of the fingertips."""
    table_height_m: np.ndarray
    """(k,)"""
    objects: Mapping[str, ObjectFigures]
    """By the name of the object."""
    body_pos: np.ndarray
    """(k, bodies, 3) place of every body of the scene in its parent: scaled with its object, and, where an object is
    fixed or jointed to the world, on the table."""
    joint_pos: np.ndarray
    """(k, joints, 3) place of every joint in its body, scaled likewise."""


def plate_name(body: str, face: str) -> str:
    """Of the geom that is a face of an object."""
    return f"{body} {face}"


class ObjectParts:
    """Bodies, geoms and joints of an object in a compiled scene."""

    def __init__(self, model: mujoco.MjModel, name: str) -> None:
        self.root = model.body(name).id
        self.bodies = [self.root]
        for body in range(self.root + 1, model.nbody):
            if model.body_parentid[body] in self.bodies:
                self.bodies.append(body)
        self.geoms = np.flatnonzero(np.isin(model.geom_bodyid, self.bodies))
        self.joints = np.flatnonzero(np.isin(model.jnt_bodyid, self.bodies))
        first = model.body_jntadr[self.root]
        plates = [plate_name(name, face) for face in FACES]
        names = [model.geom(geom).name for geom in self.geoms]
        self.faces = [plates.index(geom) if geom in plates else len(FACES) for geom in names]
        """Of every geom the face that it is (see `scene.with_faces`), by its place in `FACES`; len(FACES): none."""
        self._offsets = model.geom_pos[self.geoms], model.body_ipos[self.bodies]
        self.free = bool(first >= 0 and model.jnt_type[first] == mujoco.mjtJoint.mjJNT_FREE)

    @property
    def centred(self) -> bool:
        """One free body whose shape and mass lie about its origin: its size changes no place."""
        return self.free and len(self.bodies) == 1 and not any(offsets.any() for offsets in self._offsets)


class PlantBuilder:
    """Turns parameters of a task's episodes, {name: (k, size)}, into a `Plant`."""

    def __init__(self, model: mujoco.MjModel, task: Task, physics: Physics) -> None:
        self._model, self._task = model, task
        self._effort = np.array(task.robot.effort)
        self._effort[: task.robot.arm_dof] *= physics.arm_torque_scale
        self._parts = {item.name: ObjectParts(model, item.name) for item in task.objects}
        self._friction = {name: float(model.geom_friction[p.geoms[0], 0]) for name, p in self._parts.items()}
        self.structured = any(len(parts.bodies) > 1 or not parts.free for parts in self._parts.values())
        """Whether the places of bodies or joints differ between episodes."""

    def __call__(self, values: Mapping[str, np.ndarray], placed: Mapping[str, np.ndarray] | None = None) -> Plant:
        """placed: where objects that are no free bodies stand in these episodes, {name: (k, 3)} in the base frame;
        the others are where the scene has them, on the table. Raises ScoreError for what cannot be placed."""
        robot, model = self._task.robot, self._model
        height = values["table.height_m"][:, 0]
        k = len(height)
        objects = {
            name: _figures(name, parts, values, k, self._friction[name]) for name, parts in self._parts.items()
        }
        body_pos, joint_pos = (
            np.broadcast_to(places, (k, *places.shape)) for places in (model.body_pos, model.jnt_pos)
        )
        if self.structured:
            body_pos, joint_pos = self._places(objects, height)
        for name, place in (placed or {}).items():
            body_pos[:, self._root(name)] = place
        return Plant(
            gain_scale=robot.per_joint(values, "gain_scale", 1.0),
            torque_limit_nm=robot.per_joint(values, "torque_limit_nm", self._effort),
            dry_friction_nm=robot.per_joint(values, "dry_friction_nm", 0.0),
            contact_time_constant_s=values["contact.time_constant_s"][:, 0],
            tip_radius_scale=values.get("hand.tip_radius_scale", np.ones((k, 1)))[:, 0],
            table_height_m=height,
            objects=objects,
            body_pos=body_pos,
            joint_pos=joint_pos,
        )

    def _root(self, name: str) -> int:
        """Of an object that is no free body."""
        fixed = {name: parts.root for name, parts in self._parts.items() if not parts.free}
        if name not in fixed:
            raise unknown_choice(f"object of task '{self._task.name}' that is placed", name, fixed)
        return fixed[name]

    def _places(self, objects: Mapping[str, ObjectFigures], height: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(k, bodies, 3) and (k, joints, 3), see `Plant`."""
        model, k = self._model, len(height)
        body_pos, joint_pos = np.tile(model.body_pos, (k, 1, 1)), np.tile(model.jnt_pos, (k, 1, 1))
        for name, parts in self._parts.items():
            scale = objects[name].size_scale[:, None, None]
            body_pos[:, parts.bodies[1:]] *= scale
            joint_pos[:, parts.joints] *= scale
            if not parts.free:
                body_pos[:, parts.root, 2] += height
        return body_pos, joint_pos


def _figures(
    name: str, parts: ObjectParts, values: Mapping[str, np.ndarray], k: int, friction: float
) -> ObjectFigures:
    """Of one object; what it does not vary is as in the scene, where its friction is `friction`."""
    figures = {}
    for quantity, parameter in OBJECT_QUANTITIES.items():
        scene = friction if quantity == "friction" else float(parameter.nominal)
        value = values.get(f"{name}.{quantity}", np.full((k, parameter.size), scene))
        figures[quantity] = value[:, 0] if parameter.size == 1 else value
    factors = np.column_stack([figures.pop("face_friction_scale"), np.ones(k)])
    figures["friction"] = figures["friction"][:, None] * factors[:, parts.faces]
    return ObjectFigures(**figures)
