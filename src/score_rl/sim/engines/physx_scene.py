"""One environment's scene in PhysX (through SAPIEN), built from a compiled MjModel."""

from __future__ import annotations

import os
import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from score_rl.sim import rotations_numpy as rotations
from score_rl.sim.engines.physx_blueprint import Blueprint
from score_rl.sim.engines.physx_friction import REST, materials
from score_rl.sim.engines.physx_joints import Tree
from score_rl.sim.plant import Plant
from score_rl.sim.scene import TABLE_GEOM

os.environ.setdefault("SAPIEN_NO_DISPLAY", "1")
with warnings.catch_warnings():  # about Vulkan, for pictures that are drawn elsewhere
    warnings.simplefilter("ignore")
    import sapien
    from sapien import Pose, physx

_GEOM, _JOINT = mujoco.mjtGeom, mujoco.mjtJoint
_Z_TO_X = np.array([np.sqrt(0.5), 0.0, -np.sqrt(0.5), 0.0])
"""PhysX's capsules, cylinders and planes lie along x, MuJoCo's along z."""
_GRAVITY = np.array([0.0, 0.0, -9.81], np.float32)
_DEPENETRATION_M_S = 1.0
"""Largest speed at which bodies that overlap are pushed apart."""
_BOUNCE_THRESHOLD_M_S = 0.5


@dataclass(frozen=True)
class _Free:
    """A body that moves freely."""

    component: physx.PhysxRigidDynamicComponent
    name: str
    qpos: int
    qvel: int
    """Addresses in MuJoCo's layout."""
    centre: np.ndarray
    """(3,) of mass, in the body's frame: PhysX's velocities are those of this point."""
    rolling_m: float
    inertia: float
    """The smallest, kg m^2."""


_Heard = tuple[Sequence[tuple[int, float]], Sequence[tuple[np.ndarray, float]]]
"""Where a force counts: rows of links and pairs with its sign, and forces (3,) of what does not move likewise."""


class PhysxScene:
    """One environment with the parameters of an episode, from its start to its end."""

    def __init__(self, blueprint: Blueprint, plant: Plant, row: int) -> None:
        """plant: of several episodes, of which this is `row`."""
        self.blueprint, self._row, self._plant = blueprint, row, plant
        settings, model = blueprint.settings, blueprint.model
        # SAPIEN reads these when it makes a scene, shapes and bodies.
        physx.set_scene_config(
            gravity=_GRAVITY * (not blueprint.free_space), bounce_threshold=_BOUNCE_THRESHOLD_M_S, enable_pcm=True,
            enable_tgs=True, enable_ccd=False, enable_enhanced_determinism=True, cpu_workers=0,
            enable_friction_every_iteration=True,
        )  # fmt: skip
        physx.set_shape_config(contact_offset=settings.contact_offset_m, rest_offset=0.0)
        physx.set_body_config(
            solver_position_iterations=settings.position_iterations,
            solver_velocity_iterations=settings.velocity_iterations, sleep_threshold=0.0,
        )  # fmt: skip
        self._scene = sapien.Scene([physx.PhysxCpuSystem()])
        self._system = self._scene.physx_system
        self._system.set_timestep(blueprint.timestep_s)
        self._materials = self._all_materials()
        self._free: list[_Free] = []
        self._trees: list[Tree] = []
        self._build_static()
        for body in range(1, model.nbody):
            if model.body_parentid[body] == 0:
                free = model.body_jntnum[body] and model.jnt_type[model.body_jntadr[body]] == _JOINT.mjJNT_FREE
                if free:
                    self._build_free(body)
                else:
                    self._build_tree(body)
        self._resting = {item.name: np.zeros(3) for item in self._free if item.rolling_m > 0}
        """Body -> force of what does not move on it, newtons, in the last step."""
        self._centres = np.array([item.centre for item in self._free]).reshape(-1, 3)
        self._heard: dict[tuple[physx.PhysxRigidBaseComponent, ...], _Heard] = {}
        """Two bodies that were in contact -> what becomes of the force on the first; their names are slow to read."""

    # ---- building -------------------------------------------------------------------------------------------

    def _all_materials(self) -> dict[Hashable, physx.PhysxMaterial]:
        """Material of every geom of the objects that touches something, and of all else under `REST`."""
        wanted = {name: self._frictions(name) for name in self._plant.objects}
        smooth = [geom for name in self.blueprint.smooth for geom in wanted[name]]
        coefficients = materials({geom: mu for geoms in wanted.values() for geom, mu in geoms.items()}, smooth)
        made: dict[Hashable, physx.PhysxMaterial] = {REST: _material(coefficients[REST])}
        for geoms in wanted.values():  # an object has one material for every friction that it has
            shared = {mu: _material(coefficients[geom]) for geom, mu in geoms.items()}
            made |= {geom: shared[mu] for geom, mu in geoms.items()}
        return made

    def _frictions(self, name: str) -> dict[int, float]:
        """Geom -> sliding friction, of the geoms of an object that touch something."""
        parts, friction = self.blueprint.parts[name], self._plant.objects[name].friction[self._row].tolist()
        touching = {geom for body in parts.bodies for geom in self.blueprint.shapes[body]}
        return {geom: mu for geom, mu in zip(parts.geoms.tolist(), friction) if geom in touching}

    def _scales(self, body: int) -> tuple[float, float]:
        """(size, mass) of a body against the nominal one."""
        owner = self.blueprint.owner.get(body)
        if owner is None:
            return 1.0, 1.0
        figures = self._plant.objects[owner]
        return float(figures.size_scale[self._row]), float(figures.mass_scale[self._row])

    def _centre(self, body: int) -> np.ndarray:
        """(3,) centre of mass of a body, in its frame."""
        model, owner = self.blueprint.model, self.blueprint.owner.get(body)
        centre = model.body_ipos[body] * self._scales(body)[0]
        if owner is None or model.body(owner).id != body:
            return centre
        return centre + self._plant.objects[owner].com_offset_m[self._row]

    def _attach_shapes(self, component: physx.PhysxRigidBaseComponent, body: int) -> None:
        model, size = self.blueprint.model, self._scales(body)[0]
        tips = self.blueprint.task.robot.fingertips
        thicker = np.array([self._plant.tip_radius_scale[self._row], 1.0, 1.0])
        for geom in self.blueprint.shapes[body]:
            position, quaternion = model.geom_pos[geom] * size, model.geom_quat[geom]
            if body == 0 and geom == model.geom(TABLE_GEOM).id:
                continue
            scale = size * thicker if model.geom(geom).name in tips else size
            shape, turned = _shape(model, geom, scale, self._materials.get(geom, self._materials[REST]))
            shape.local_pose = Pose(position, rotations.multiply(quaternion[None], turned[None])[0])
            self._finish(shape, geom)
            component.attach(shape)

    def _finish(self, shape: physx.PhysxCollisionShape, geom: int) -> None:
        model = self.blueprint.model
        shape.set_collision_groups([int(model.geom_contype[geom]), int(model.geom_conaffinity[geom]), 0, 0])
        shape.set_patch_radius(0.0)
        shape.set_min_patch_radius(self.blueprint.settings.patch_radius_m)

    def _build_static(self) -> None:
        """The table, and shapes of the world."""
        model, blueprint = self.blueprint.model, self.blueprint
        if blueprint.free_space:
            return
        table = physx.PhysxRigidStaticComponent()
        plane = physx.PhysxCollisionShapePlane(material=self._materials[REST])
        plane.local_pose = Pose([0, 0, float(self._plant.table_height_m[self._row])], _Z_TO_X)
        self._finish(plane, model.geom(TABLE_GEOM).id)
        table.attach(plane)
        self._add(table, TABLE_GEOM)
        fixtures = physx.PhysxRigidStaticComponent()
        self._attach_shapes(fixtures, 0)
        if fixtures.collision_shapes:
            self._add(fixtures, blueprint.names[0])

    def _add(self, component: physx.PhysxRigidBaseComponent, name: str) -> sapien.Entity:
        component.name = name
        entity = sapien.Entity()
        entity.name = name
        entity.add_component(component)
        self._scene.add_entity(entity)
        return entity

    def _weigh(self, component: physx.PhysxRigidBodyComponent, body: int) -> float:
        """Give a body its mass, inertia and gravity; returns its smallest inertia."""
        model, (size, mass) = self.blueprint.model, self._scales(body)
        inertia = model.body_inertia[body] * mass * size**2
        component.mass = float(model.body_mass[body]) * mass
        component.cmass_local_pose = Pose(self._centre(body), model.body_iquat[body])
        component.inertia = inertia
        component.linear_damping = component.angular_damping = 0.0
        component.max_depenetration_velocity = _DEPENETRATION_M_S
        component.disable_gravity = bool(model.body_gravcomp[body])
        return float(inertia.min())

    def _build_free(self, body: int) -> None:
        model, joint = self.blueprint.model, int(self.blueprint.model.body_jntadr[body])
        component = physx.PhysxRigidDynamicComponent()
        self._attach_shapes(component, body)
        inertia = self._weigh(component, body)
        name = self.blueprint.names[body]
        self._add(component, name)
        addresses = int(model.jnt_qposadr[joint]), int(model.jnt_dofadr[joint])
        rolling_m = float(self.blueprint.rolling_m.get(body, 0.0))
        self._free.append(_Free(component, name, *addresses, self._centre(body), rolling_m, inertia))

    def _build_tree(self, root: int) -> None:
        """A body that stands in the world or is jointed to it, with all that hangs on it."""
        model, names = self.blueprint.model, self.blueprint.names
        base = physx.PhysxArticulationLinkComponent(None)
        base.name = f"base of {names[root]}"  # stands still; without shape
        components, entities = {0: base}, [sapien.Entity()]
        entities[0].add_component(base)
        for body in np.flatnonzero(model.body_rootid == root).tolist():  # parents come first
            link = physx.PhysxArticulationLinkComponent(components[int(model.body_parentid[body])])
            self._attach_shapes(link, body)
            self._weigh(link, body)
            entity = sapien.Entity()
            entity.add_component(link)
            entity.name = link.name = names[body]
            self._join(link, body)
            components[body] = link
            entities.append(entity)
        base.joint.type = "fixed"
        entities[0].pose = Pose()
        for entity in entities:
            self._scene.add_entity(entity)
        figures = self.blueprint.timestep_s, self.blueprint.settings.bristle_nm_rad
        robot = self.blueprint.task.robot
        self._trees.append(Tree(base.articulation, model, robot, self._plant, self._row, *figures))

    def _join(self, link: physx.PhysxArticulationLinkComponent, body: int) -> None:
        """Joint to the parent."""
        model, plant = self.blueprint.model, self._plant
        place = Pose(plant.body_pos[self._row, body], model.body_quat[body])
        if not model.body_jntnum[body]:
            link.joint.type, link.joint.pose_in_parent, link.joint.pose_in_child = "fixed", place, Pose()
            return
        joint = int(model.body_jntadr[body])
        hinge = model.jnt_type[joint] == _JOINT.mjJNT_HINGE
        along = Pose(plant.joint_pos[self._row, joint], _x_onto(model.jnt_axis[joint]))
        link.joint.name = model.joint(joint).name
        link.joint.type = "revolute_unwrapped" if hinge else "prismatic"
        link.joint.pose_in_parent, link.joint.pose_in_child = place * along, along
        bounds = model.jnt_range[joint] - model.qpos0[model.jnt_qposadr[joint]]
        link.joint.limit = bounds if model.jnt_limited[joint] else np.array([-np.inf, np.inf])

    # ---- state ----------------------------------------------------------------------------------------------

    def write(self, qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Set the state, (nq,) and (nv,) in MuJoCo's layout."""
        for tree in self._trees:
            tree.write(qpos, qvel)
        for item in self._free:
            pose, twist = qpos[item.qpos : item.qpos + 7], qvel[item.qvel : item.qvel + 6]
            item.component.entity.pose = Pose(pose[:3], pose[3:])
            spin = rotations.rotate(pose[None, 3:], twist[None, 3:])
            arm = rotations.rotate(pose[None, 3:], item.centre[None])
            item.component.linear_velocity = (twist[:3] + rotations.cross(spin, arm)[0]).astype(np.float32)
            item.component.angular_velocity = spin[0].astype(np.float32)

    def read(self, qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Write the state into (nq,) and (nv,)."""
        for tree in self._trees:
            tree.read(qpos, qvel)
        if not self._free:
            return
        components = [item.component for item in self._free]
        poses = [component.entity.pose for component in components]
        quaternion = np.array([pose.q for pose in poses], float)
        spin = np.array([component.angular_velocity for component in components], float)
        arm = rotations.rotate(quaternion, self._centres)
        sliding = np.array([component.linear_velocity for component in components]) - rotations.cross(spin, arm)
        turning = rotations.rotate(rotations.inverse(quaternion), spin)
        for k, item in enumerate(self._free):
            place, turn, velocity = slice(item.qpos, item.qpos + 3), slice(item.qpos + 3, item.qpos + 7), item.qvel
            if quaternion[k] @ qpos[turn] < 0:  # of the two, the one that goes on smoothly
                quaternion[k] *= -1
            qpos[place], qpos[turn] = poses[k].p, quaternion[k]
            qvel[velocity : velocity + 3], qvel[velocity + 3 : velocity + 6] = sliding[k], turning[k]

    # ---- steps ----------------------------------------------------------------------------------------------

    def run(self, targets: np.ndarray, forces: np.ndarray, torques: np.ndarray) -> None:
        """Physics steps with servo targets (s, a); what acted goes into forces (s, b + c), newtons, of links and of
        pairs of contacts, and torques (s, a).

        Forces are the contacts' normal forces: SAPIEN does not tell those of friction.
        """
        net = np.zeros((len(targets), self.blueprint.outputs, 3))
        rolling = [item for item in self._free if item.rolling_m > 0]
        for row, acting in zip(targets.tolist(), net):
            for tree in self._trees:
                tree.push(row)
            for item in rolling:
                self._resist(item)
            self._system.step()
            if self.blueprint.outputs:
                self._add_forces(acting)
        forces[:] = np.sqrt(np.einsum("skx,skx->sk", net, net))
        for tree in self._trees:
            tree.tell(torques)

    def _add_forces(self, net: np.ndarray) -> None:
        """Add the normal forces of all contacts to (b + c, 3)."""
        rate, heard = 1 / self.blueprint.timestep_s, self._heard
        for force in self._resting.values():
            force[:] = 0
        for contact in self._system.get_contacts():
            pair = tuple(contact.bodies)
            if pair not in heard:
                heard[pair] = self._listen(*(body.name for body in pair))
            rows, resting = heard[pair]
            if not (rows or resting):
                continue
            points = contact.points
            if not points:
                continue
            force = sum(point.impulse for point in points) * rate
            for row, sign in rows:
                net[row] += sign * force
            for total, sign in resting:
                total += sign * force

    def _listen(self, first: str, second: str) -> _Heard:
        """What becomes of the force on the first of two bodies in contact."""
        still = (TABLE_GEOM, self.blueprint.names[0])
        sides = (first, second, 1.0), (second, first, -1.0)
        total = self._resting
        resting = [(total[one], sign) for one, other, sign in sides if one in total and other in still]
        return self.blueprint.slots.get((first, second), []), resting

    def _resist(self, item: _Free) -> None:
        """Rolling friction, which PhysX has not: a torque against rolling, of at most the coefficient times the force
        of what does not move, and no more than stops the body in this step."""
        force = self._resting[item.name]
        size = float(np.sqrt(force @ force))
        if size == 0.0:
            return
        normal, spin = force / size, np.asarray(item.component.angular_velocity, float)
        rolling = spin - (spin @ normal) * normal
        speed = float(np.sqrt(rolling @ rolling))
        if speed > 0.0:
            torque = min(item.rolling_m * size, speed * item.inertia / self.blueprint.timestep_s)
            item.component.add_force_torque(np.zeros(3, np.float32), (-torque / speed * rolling).astype(np.float32))


def _material(friction: float) -> physx.PhysxMaterial:
    return physx.PhysxMaterial(friction, friction, 0.0)


def _shape(
    model: mujoco.MjModel, geom: int, scale: float | np.ndarray, material: physx.PhysxMaterial
) -> tuple[physx.PhysxCollisionShape, np.ndarray]:
    """A geom's shape, and the rotation (4,) from PhysX's to MuJoCo's convention of it."""
    size, kind = (model.geom_size[geom] * scale).astype(np.float32), _GEOM(model.geom_type[geom])
    straight = np.array([1.0, 0.0, 0.0, 0.0])
    if kind == _GEOM.mjGEOM_BOX:
        return physx.PhysxCollisionShapeBox(half_size=size, material=material), straight
    if kind == _GEOM.mjGEOM_SPHERE:
        return physx.PhysxCollisionShapeSphere(radius=float(size[0]), material=material), straight
    capsule = kind == _GEOM.mjGEOM_CAPSULE
    long = physx.PhysxCollisionShapeCapsule if capsule else physx.PhysxCollisionShapeCylinder
    return long(radius=float(size[0]), half_length=float(size[1]), material=material), _Z_TO_X


def _x_onto(axis: np.ndarray) -> np.ndarray:
    """(4,) rotation that turns x onto an axis (3,)."""
    quaternion = np.array([1.0 + axis[0], 0.0, -axis[2], axis[1]])
    length = np.linalg.norm(quaternion)
    return quaternion / length if length > 1e-9 else np.array([0.0, 0.0, 0.0, 1.0])
