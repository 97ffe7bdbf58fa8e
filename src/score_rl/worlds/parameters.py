"""Domain parameters that live in the MuJoCo model, written per environment into a `Batch`."""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np
from mujoco.batch import Batch

from score_rl.robots.franka_leap import Robot
from score_rl.worlds.scene import OBJECT_BODY, OBJECT_GEOM, TABLE_GEOM, joint_addresses


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
            "geom_pos geom_size geom_rbound geom_aabb body_mass body_inertia"
        )
        self._field = {name: batch.expand(name) for name in names.split()}

    def apply(self, row: int, parameters: Mapping[str, np.ndarray]) -> None:
        """Write one episode's parameters {name: (size,)} into environment `row`."""
        field, nominal = self._field, self._nominal
        value = {name: float(array[0]) for name, array in parameters.items() if array.size == 1}
        for joints, key in ((self._arm, "arm_gain_scale"), (self._hand, "hand_gain_scale")):
            # Damping is the servo's own and stays; only the position gain is uncertain.
            field["actuator_gainprm"][row, joints, 0] = nominal.actuator_gainprm[joints, 0] * value[key]
            field["actuator_biasprm"][row, joints, 1] = nominal.actuator_biasprm[joints, 1] * value[key]
        field["actuator_forcerange"][row, self._hand] = np.array([-1, 1]) * value["hand_torque_limit_nm"]
        field["dof_frictionloss"][row, self._hand_dofs] = value["hand_dry_friction_nm"]
        field["geom_friction"][row, self._object, 0] = value["object_friction"]
        field["geom_solref"][row, [self._object, self._table], 0] = value["contact_time_constant_s"]
        field["geom_pos"][row, self._table, 2] = value["table_height_m"]
        size, mass = value["object_size_scale"], value["object_mass_scale"]
        for name in ("geom_size", "geom_rbound", "geom_aabb"):
            field[name][row, self._object] = getattr(nominal, name)[self._object] * size
        field["body_mass"][row, self._body] = nominal.body_mass[self._body] * mass
        field["body_inertia"][row, self._body] = nominal.body_inertia[self._body] * mass * size**2
