"""Joints of one articulation in PhysX: servos, and the passive torques that PhysX has not, or has otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from score_rl.sim.plant import Plant
from score_rl.sim.robot import Robot

if TYPE_CHECKING:
    from sapien import physx


class Tree:
    """The joints of one articulation, in the engine's order (breadth first).

    Servos are PhysX's drives, which are implicit in position and velocity, as MuJoCo's integrators are. Coulomb
    friction is a bristle: a damped spring that slides when its force reaches the limit. PhysX's own joint friction is
    a share of the transmitted load instead, and stays off.
    """

    def __init__(
        self, articulation: physx.PhysxArticulation, model: mujoco.MjModel, robot: Robot, plant: Plant, row: int,
        timestep_s: float, bristle_nm_rad: float,
    ) -> None:  # fmt: skip
        """plant: of several episodes, of which this is `row`; bristle_nm_rad: see `PhysxSettings`."""
        self._articulation, self._joints = articulation, articulation.active_joints
        self._dt = timestep_s
        ids = [model.joint(joint.name).id for joint in self._joints]
        self._qpos, self._qvel = model.jnt_qposadr[ids], model.jnt_dofadr[ids]
        self._zero = model.qpos0[self._qpos]
        names = list(robot.joint_names)
        mine = [(k, names.index(joint.name)) for k, joint in enumerate(self._joints) if joint.name in names]
        self._servos, self._column = (np.array([pair[side] for pair in mine], int) for side in (0, 1))
        self._gains(model, robot, plant, row)
        dofs = self._qvel
        self._dry_friction(model, plant, row, bristle_nm_rad)
        self._damping, self._spring = (
            values.astype(np.float32) for values in (model.dof_damping[dofs], model.jnt_stiffness[ids])
        )
        self._rest = (model.qpos_spring[self._qpos] - self._zero).astype(np.float32)
        self._sprung = bool(self._spring.any())
        self._passive = self._sprung or bool(self._damping.any() or self._dry.any())
        self._drives = [
            (self._joints[k].set_drive_target, int(column)) for k, column in zip(self._servos, self._column)
        ]
        self._targets: Sequence[float] = [np.nan] * len(names)
        self._told: list[tuple] = []
        """(targets, position, velocity) of the physics steps of this control period."""
        for joint, dof in zip(self._joints, dofs):
            joint.set_friction(0.0)
            joint.set_armature(np.array([model.dof_armature[dof]], np.float32))

    def _gains(self, model: mujoco.MjModel, robot: Robot, plant: Plant, row: int) -> None:
        """Position gains, velocity gains and torque limits of the servos."""
        columns = self._column
        servo = [model.actuator(robot.joint_names[column]).id for column in columns]
        self._kp = model.actuator_gainprm[servo, 0] * plant.gain_scale[row, columns]
        self._kd = -model.actuator_biasprm[servo, 2]
        self._limit = plant.torque_limit_nm[row, columns]
        for k, servo_k in enumerate(self._servos):
            figures = float(self._kp[k]), float(self._kd[k]), float(self._limit[k])
            self._joints[servo_k].set_drive_properties(*figures, "force")

    def _dry_friction(self, model: mujoco.MjModel, plant: Plant, row: int, bristle_nm_rad: float) -> None:
        """Coulomb torques and the bristles' stiffness, damping and largest bend."""
        dofs = self._qvel
        dry = model.dof_frictionloss[dofs].copy()
        dry[self._servos] = plant.dry_friction_nm[row, self._column]
        # A quarter of what an explicit spring on this inertia would bear.
        bristle = np.minimum(bristle_nm_rad, 0.25 * model.dof_M0[dofs] / self._dt**2)
        self._dry, self._bristle, self._slides, self._bristle_damping = (
            values.astype(np.float32)
            for values in (dry, bristle, dry / bristle, np.sqrt(bristle * model.dof_M0[dofs]))
        )
        self._bent = np.zeros(len(dofs), np.float32)

    def write(self, qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Set the state from MuJoCo's layout."""
        self._articulation.set_qpos((qpos[self._qpos] - self._zero).astype(np.float32))
        self._articulation.set_qvel(qvel[self._qvel].astype(np.float32))

    def read(self, qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Write the state in MuJoCo's layout."""
        qpos[self._qpos] = self._articulation.get_qpos() + self._zero
        qvel[self._qvel] = self._articulation.get_qvel()

    def push(self, targets: Sequence[float]) -> None:
        """Before a physics step: what the joints are told (a,), in the robot's order, and what acts by itself."""
        position, velocity = self._articulation.get_qpos(), self._articulation.get_qvel()
        self._told.append((targets, position, velocity))
        if self._passive:
            force = self._friction(velocity) + self._damping * velocity
            if self._sprung:
                force += self._spring * (position - self._rest)
            self._articulation.set_qf(-force)
        before, self._targets = self._targets, targets
        for aim, column in self._drives:
            target = targets[column]
            if target != before[column]:
                aim(target)

    def tell(self, torques: np.ndarray) -> None:
        """Torques of the servos, N m, in the physics steps since the last call, into (s, a)."""
        if self._drives:
            targets, position, velocity = (np.array(part, float) for part in zip(*self._told))
            away = targets[:, self._column] - position[:, self._servos]
            servo = self._kp * away - self._kd * velocity[:, self._servos]
            torques[:, self._column] = np.clip(servo, -self._limit, self._limit)
        self._told.clear()

    def _friction(self, velocity: np.ndarray) -> np.ndarray:
        """(joints,) Coulomb friction, N m, against which a joint moves."""
        self._bent = np.minimum(np.maximum(self._bent + velocity * self._dt, -self._slides), self._slides)
        force = self._bristle * self._bent + self._bristle_damping * velocity
        return np.minimum(np.maximum(force, -self._dry), self._dry)
