"""MuJoCo on the CPU: n environments on `mujoco.batch.Batch`, all cores."""

from __future__ import annotations

import mujoco
import numpy as np
from mujoco.batch import Batch

from score_rl.sim.domain import Physics
from score_rl.sim.engines.engine import Motion
from score_rl.sim.engines.settings import MujocoSettings
from score_rl.sim.plant import ObjectParts, Plant
from score_rl.sim.scene import TABLE_GEOM, add_contact_sensors, hand_bodies, joint_addresses, scene_spec
from score_rl.sim.task import Task

_CTRL = mujoco.mjtState.mjSTATE_CTRL.value
_NONE = mujoco.mjtStage.mjSTAGE_NONE
_INTEGRATORS = {
    "implicitfast": mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
    "discrete": mujoco.mjtIntegrator.mjINT_DISCRETE,
}


def load(task: Task, physics: Physics, num_envs: int, threads: int, free_space: bool = False) -> MujocoEngine:
    """See `engines.open_engine`."""
    return MujocoEngine(task, physics, num_envs, threads, free_space)


def configured_spec(task: Task, physics: Physics, free_space: bool = False) -> mujoco.MjSpec:
    """The scene with MuJoCo's settings, and sensors of the forces that are told (none in free space)."""
    spec, settings = scene_spec(task, physics), physics.settings
    assert isinstance(settings, MujocoSettings)
    option = spec.option
    option.integrator = _INTEGRATORS[settings.integrator]
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.jacobian = mujoco.mjtJacobian.mjJAC_DENSE  # the sparse Newton solver of 4.0.0 is wrong
    option.impratio = settings.impratio
    option.iterations = settings.iterations
    option.ls_iterations = settings.line_search_iterations
    if free_space:
        # Nothing touches, and with gravity off the (gravity-compensated) robot is left as it is while objects stay.
        option.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT
        option.gravity = [0, 0, 0]
    else:
        add_contact_sensors(spec, task)
    return spec


class MujocoEngine:
    """See `engines.Engine`."""

    not_represented: frozenset[str] = frozenset()
    represented_in_part: tuple[str, ...] = ()

    def __init__(self, task: Task, physics: Physics, num_envs: int, threads: int, free_space: bool = False) -> None:
        spec = configured_spec(task, physics, free_space)
        self.model = model = spec.compile()
        self.links = () if free_space else tuple(hand_bodies(spec))
        self.batch = Batch(model, num_envs, threads)
        """The physics itself, for benchmarks and diagnostics."""
        self.fields = ModelFields(model, self.batch, task)
        self.qpos, self.qvel = self.batch.bind("qpos"), self.batch.bind("qvel")
        self._pairs = [] if free_space else _sensors_of_pairs(model, task)
        self._parked = model.qpos0.copy()
        self._parked[joint_addresses(model, task.robot)[0]] = task.robot.home
        self._record: dict[str, np.ndarray] = {}

    def begin(self, rows: np.ndarray, plant: Plant, qpos: np.ndarray) -> None:
        """See `Engine.begin`."""
        self.batch.reset(rows, stage=_NONE)
        self.fields.apply(rows, plant)
        self.qpos[rows] = qpos

    def advance(self, targets: np.ndarray) -> Motion:
        """See `Engine.advance`."""
        n, steps, joints = targets.shape
        if not self._record or self._record["actuator_force"].shape[1] != steps:
            sizes = {"sensordata": self.model.nsensordata, "actuator_force": joints}
            self._record = {name: np.zeros((n, steps, size)) for name, size in sizes.items() if size}
        record = self._record
        self.batch.rollout(steps, targets, _CTRL, record=list(record), out=record)
        # A simulation that diverges is silently reset by MuJoCo and stops stepping: the warning is the only trace.
        # The counters go back to zero when its next episode resets it.
        nan = self.batch.warning[:, :, 1].any(1)
        if not np.isfinite(self.qpos.sum() + self.qvel.sum()):
            nan |= ~np.isfinite(self.qpos).all(1) | ~np.isfinite(self.qvel).all(1)
        # Record k holds the forces that acted during physics step k.
        sensed = record.get("sensordata", np.zeros((n, steps, 0))).reshape(n, steps, -1, 3)
        links = len(self.links)
        forces, contacts = _size(sensed[:, :, :links]), np.zeros((n, steps, len(self._pairs)))
        for pair, sensors in enumerate(self._pairs):
            contacts[:, :, pair] = _size(sensed[:, :, sensors].sum(2))
        if nan.any():
            self.batch.reset(np.flatnonzero(nan), stage=_NONE)
            self.qpos[nan] = self._parked
            forces[nan] = contacts[nan] = 0
        return Motion(forces, record["actuator_force"], contacts, nan)


def _size(vectors: np.ndarray) -> np.ndarray:
    """Lengths of vectors (..., 3)."""
    return np.sqrt(np.einsum("...x,...x->...", vectors, vectors))


def _sensors_of_pairs(model: mujoco.MjModel, task: Task) -> list[list[int]]:
    """Indices of the sensors whose forces add up to that of each of the task's contacts."""
    names = [model.sensor(k).name for k in range(model.nsensor)]
    return [
        [k for k, name in enumerate(names) if name.startswith(f"contact {one} {other} ")]
        for one, other in task.contacts
    ]


class ModelFields:
    """Per-environment model fields: gains, torque limits, friction, contact softness, table, mass and size."""

    def __init__(self, model: mujoco.MjModel, batch: Batch, task: Task):
        self._batch = batch
        self._table = model.geom(TABLE_GEOM).id
        self._tips = [geom for geom in range(model.ngeom) if model.geom(geom).name in task.robot.fingertips]
        self._objects = {item.name: ObjectParts(model, item.name) for item in task.objects}
        self._soft = [geom for parts in self._objects.values() for geom in parts.geoms] + [self._table]
        self._dofs = joint_addresses(model, task.robot)[1]
        names = ["actuator_gainprm", "actuator_biasprm", "actuator_forcerange", "dof_frictionloss", "geom_friction"]
        names += ["geom_solref", "geom_pos", "geom_size", "body_mass", "body_inertia", "body_ipos"]
        if not all(parts.centred for parts in self._objects.values()):
            names += ["body_pos", "jnt_pos"]
        self._nominal = {name: getattr(model, name).copy() for name in names}
        self._field = {name: batch.expand(name) for name in names}
        # Constants come from `set_const` from the start, so that an environment's past leaves no trace in them.
        batch.set_const()
        self._standing = [parts.root for parts in self._objects.values() if not parts.free]
        nominal = (
            [0.0, 1.0]
            + [1.0, 1.0, 0.0, 0.0, 0.0] * len(self._objects)
            + model.body_pos[self._standing].ravel().tolist()
        )
        self._shape = np.tile(nominal, (batch.nsim, 1))

    def apply(self, rows: np.ndarray, plant: Plant) -> None:
        """Write the plants of k environments `rows` (k,)."""
        field, nominal = self._field, self._nominal
        # Damping is the servo's own and stays; only the position gain is uncertain.
        field["actuator_gainprm"][rows, :, 0] = nominal["actuator_gainprm"][:, 0] * plant.gain_scale
        field["actuator_biasprm"][rows, :, 1] = nominal["actuator_biasprm"][:, 1] * plant.gain_scale
        field["actuator_forcerange"][rows] = plant.torque_limit_nm[..., None] * np.array([-1.0, 1.0])
        field["dof_frictionloss"][rows[:, None], self._dofs] = plant.dry_friction_nm
        for name, parts in self._objects.items():
            field["geom_friction"][rows[:, None], parts.geoms, 0] = plant.objects[name].friction
        field["geom_solref"][rows[:, None], self._soft, 0] = plant.contact_time_constant_s[:, None]
        self._write_bodies(rows, plant)

    def _write_bodies(self, rows: np.ndarray, plant: Plant) -> None:
        """Objects and table, and what the engine derives from them."""
        field, nominal, shape = self._field, self._nominal, [plant.table_height_m, plant.tip_radius_scale]
        field["geom_pos"][rows, self._table, 2] = plant.table_height_m
        cells = rows[:, None]
        field["geom_size"][cells, self._tips, 0] = (
            nominal["geom_size"][self._tips, 0] * plant.tip_radius_scale[:, None]
        )
        if "body_pos" in field:
            field["body_pos"][rows], field["jnt_pos"][rows] = plant.body_pos, plant.joint_pos
        for name, parts in self._objects.items():
            figures, geoms, bodies = plant.objects[name], parts.geoms, parts.bodies
            size, mass = figures.size_scale[:, None, None], figures.mass_scale[:, None, None]
            field["geom_size"][cells, geoms] = nominal["geom_size"][geoms] * size
            field["body_mass"][cells, bodies] = nominal["body_mass"][bodies] * mass[..., 0]
            field["body_inertia"][cells, bodies] = nominal["body_inertia"][bodies] * mass * size**2
            field["body_ipos"][cells, bodies] = nominal["body_ipos"][bodies] * size
            field["body_ipos"][rows, parts.root] += figures.com_offset_m
            if "body_pos" in field:
                field["geom_pos"][cells, geoms] = nominal["geom_pos"][geoms] * size
            shape += [figures.size_scale, figures.mass_scale, *figures.com_offset_m.T]
        # Bounding volumes, subtree masses, inverse weights, static positions. Without this a table stays where it
        # was, and a heavier object has a wrong centre of mass (implicitfast reads it) and spins itself to infinity.
        shapes = np.column_stack([*shape, *plant.body_pos[:, self._standing].reshape(len(rows), -1).T])
        changed = (self._shape[rows] != shapes).any(1)
        self._shape[rows] = shapes
        if changed.any():
            self._batch.set_const(rows[changed])
