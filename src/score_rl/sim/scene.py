"""The MuJoCo scene of a task: robot, table and objects, compiled for a domain's physics."""

from __future__ import annotations

import mujoco
import numpy as np

from score_rl.sim.domain import Physics
from score_rl.sim.robot import ARM, HAND, OBJECT, Robot
from score_rl.sim.task import Task

TABLE_GEOM = "table"
OBJECT_GEOM = OBJECT_BODY = OBJECT_JOINT = "object"
_INTEGRATORS = {
    "implicitfast": mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
    "discrete": mujoco.mjtIntegrator.mjINT_DISCRETE,
}


def scene_spec(task: Task, physics: Physics) -> mujoco.MjSpec:
    """The editable scene: z = 0 is the nominal table top, the origin is the robot's base."""
    robot = task.robot
    spec = mujoco.MjSpec()
    spec.modelname = task.name
    option = spec.option
    option.timestep = physics.timestep_s
    option.integrator = _INTEGRATORS[physics.integrator]
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.jacobian = mujoco.mjtJacobian.mjJAC_DENSE  # the sparse Newton solver of 4.0.0 is wrong
    option.impratio = physics.impratio
    option.iterations = physics.iterations
    option.ls_iterations = physics.line_search_iterations
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
    # The object's own friction and softness rule in all of its contacts: one number a domain can set.
    spec.geom(OBJECT_GEOM).priority = 1
    robot.add_bodies(spec, robot)
    for name, effort in list(zip(robot.joint_names, robot.effort))[: robot.arm_dof]:
        limit = effort * physics.arm_torque_scale
        spec.actuator(name).forcerange = (-limit, limit)
    for body in hand_bodies(spec):
        _add_contact_force_sensor(spec, body)
    return spec


def hand_bodies(spec: mujoco.MjSpec) -> list[str]:
    """Names of the bodies of the hand (palm, finger links, tips) that have a colliding geom."""
    names = []
    for geom in spec.geoms:
        collides = geom.name.startswith(("palm", "finger", "tip")) and (geom.contype or geom.conaffinity)
        if collides and geom.parent.name not in names:
            names.append(geom.parent.name)
    return names


def _add_contact_force_sensor(spec: mujoco.MjSpec, body: str) -> None:
    """Net contact force on one body, in newtons, world frame, every physics step."""
    force_bit, net_force, one_slot = 1 << mujoco.mjtConDataField.mjCONDATA_FORCE.value, 3, 1
    spec.add_sensor(
        name=f"force_{body}",
        type=mujoco.mjtSensor.mjSENS_CONTACT,
        objtype=mujoco.mjtObj.mjOBJ_BODY,
        objname=body,
        reftype=mujoco.mjtObj.mjOBJ_UNKNOWN,
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
