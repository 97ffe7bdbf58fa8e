"""Domain parameters that live in the MuJoCo model, written per environment into a `Batch`."""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np
from mujoco.batch import Batch

from score_rl.sim.robot import Robot
from score_rl.sim.scene import OBJECT_BODY, OBJECT_GEOM, TABLE_GEOM, joint_addresses


class ModelFields:
    """Per-environment model fields: gains, torque limits, friction, contact softness, table, mass and size."""

    def __init__(self, model: mujoco.MjModel, batch: Batch, robot: Robot):
        self._nominal = model
        self._body = model.body(OBJECT_BODY).id
        self._object, self._table = model.geom(OBJECT_GEOM).id, model.geom(TABLE_GEOM).id
        self._arm, self._hand = slice(0, robot.arm_dof), slice(robot.arm_dof, len(robot.joint_names))
        self._hand_dofs = joint_addresses(model, robot)[1][self._hand]
        names = (
            "actuator_gainprm actuator_biasprm actuator_forcerange dof_frictionloss geom_friction geom_solref "
            "geom_pos geom_size body_mass body_inertia"
        )
        self._batch = batch
        self._field = {name: batch.expand(name) for name in names.split()}
        # Constants come from `set_const` from the start, so that an environment's past leaves no trace in them.
        batch.set_const()
        self._shape = np.tile([1.0, 1.0, 0.0], (batch.nsim, 1))

    @property
    def torque_limit(self) -> np.ndarray:
        """(n, a) torque limits of the servos, N m, as they are now."""
        return self._field["actuator_forcerange"][..., 1]

    def apply(self, rows: int | np.ndarray, parameters: Mapping[str, np.ndarray]) -> None:
        """Write episode parameters, {name: (size,)} or {name: (k, size)}, into the k environments `rows`."""
        rows = np.atleast_1d(rows)
        field, nominal = self._field, self._nominal
        value = {name: np.atleast_2d(array) for name, array in parameters.items()}  # scalars: (k, 1)
        for joints, key in ((self._arm, "arm_gain_scale"), (self._hand, "hand_gain_scale")):
            # Damping is the servo's own and stays; only the position gain is uncertain.
            field["actuator_gainprm"][rows, joints, 0] = nominal.actuator_gainprm[joints, 0] * value[key]
            field["actuator_biasprm"][rows, joints, 1] = nominal.actuator_biasprm[joints, 1] * value[key]
        limit = value["hand_torque_limit_nm"][..., None] * np.array([-1.0, 1.0])
        field["actuator_forcerange"][rows, self._hand] = limit
        field["dof_frictionloss"][rows[:, None], self._hand_dofs] = value["hand_dry_friction_nm"]
        field["geom_friction"][rows, self._object, 0] = value["object_friction"][:, 0]
        for geom in (self._object, self._table):
            field["geom_solref"][rows, geom, 0] = value["contact_time_constant_s"][:, 0]
        self._write_bodies(rows, value["object_size_scale"], value["object_mass_scale"], value["table_height_m"])

    def _write_bodies(self, rows: np.ndarray, size: np.ndarray, mass: np.ndarray, height: np.ndarray) -> None:
        """Object and table, each (k, 1), and what the engine derives from them."""
        field, nominal, body = self._field, self._nominal, self._body
        field["geom_size"][rows, self._object] = nominal.geom_size[self._object] * size
        field["body_mass"][rows, body] = nominal.body_mass[body] * mass[:, 0]
        field["body_inertia"][rows, body] = nominal.body_inertia[body] * mass * size**2
        field["geom_pos"][rows, self._table, 2] = height[:, 0]
        # Bounding volumes, subtree masses, inverse weights, static positions. Without this a table stays where it
        # was, and a heavier object has a wrong centre of mass (implicitfast reads it) and spins itself to infinity.
        shape = np.concatenate([size, mass, height], axis=1)
        changed = (self._shape[rows] != shape).any(1)
        self._shape[rows] = shape
        if changed.any():
            self._batch.set_const(rows[changed])
