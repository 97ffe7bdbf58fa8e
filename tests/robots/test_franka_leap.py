"""The robot's numbers, worked out by hand from the published kinematics."""

import math

import mujoco
import numpy as np
import pytest

from score_rl.robots.franka_leap.model import add_bodies
from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.robot import ARM, HAND, OBJECT


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    spec = mujoco.MjSpec()
    spec.option.timestep = 1 / 60
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    add_bodies(spec, FRANKA_LEAP)
    return spec.compile()


def _at(model: mujoco.MjModel, joints) -> mujoco.MjData:
    data = mujoco.MjData(model)
    data.qpos[:] = joints
    mujoco.mj_forward(model, data)
    return data


def test_sizes_and_order(model):
    assert (model.nq, model.nv, model.nu) == (23, 23, 23)
    assert model.ngeom == 27
    assert (model.geom_contype != 0).sum() == 17
    names = FRANKA_LEAP.joint_names
    assert [model.joint(i).name for i in range(23)] == list(names)
    assert [model.actuator(i).name for i in range(23)] == list(names)
    assert model.actuator_trnid[:, 0].tolist() == list(range(23))
    assert names[:7] == tuple(f"fr3_joint{i}" for i in range(1, 8))
    assert names[7] == "index_mcp" and names[-1] == "thumb_ipl"


def test_every_tuple_has_one_entry_per_joint():
    for field in ("joint_lower", "target_lower", "target_upper", "kp", "kd", "effort", "armature", "damping", "home"):
        assert len(getattr(FRANKA_LEAP, field)) == 23, field
    for field in ("velocity_limit_rad_s", "acceleration_limit_rad_s2", "torque_limit_nm"):
        assert len(getattr(FRANKA_LEAP, field)) == 23, field
    assert all(used <= limit for used, limit in zip(FRANKA_LEAP.effort, FRANKA_LEAP.torque_limit_nm))


def test_limits_are_radians_and_targets_lie_inside_the_stops(model):
    low, high = np.array(FRANKA_LEAP.target_lower), np.array(FRANKA_LEAP.target_upper)
    np.testing.assert_allclose(model.jnt_range[3], (-3.077, -0.1169))
    np.testing.assert_allclose(model.actuator_ctrlrange, np.stack([low, high], axis=1))
    assert (low >= model.jnt_range[:, 0]).all() and (high <= model.jnt_range[:, 1]).all()
    home = np.array(FRANKA_LEAP.home)
    assert ((low < home) & (home < high)).all()


def test_gains_and_torque_limits(model):
    assert model.actuator_gainprm[0, 0] == pytest.approx(0.15 * 4500)
    assert model.actuator_biasprm[7, 1:3].tolist() == [-3.0, -0.05]
    assert model.actuator_forcerange[[0, 4, 7], 1].tolist() == [86.0, 11.5, 0.6]
    np.testing.assert_allclose(model.dof_armature[7:], 2e-3)
    np.testing.assert_allclose(model.dof_damping[7:], 0.03)


def test_mass_is_the_published_one(model):
    arm = 2.92747 + 2.93554 + 2.2449 + 2.6156 + 2.32712 + 1.81704 + 0.627143
    hand = 0.237 + 3 * (0.044 + 0.032 + 0.037 + 0.016) + 0.032 + 0.003 + 0.038 + 0.049
    base, mount, thumb_shaft = 2.4, 0.3, 1e-3
    assert model.body_mass.sum() == pytest.approx(arm + hand + base + mount + thumb_shaft)


def test_straight_arm_points_up_at_the_published_height(model):
    data = _at(model, np.zeros(23))
    # 0.333 + 0.316 + 0.384 up to the wrist, 0.088 forward, then 0.107 down to the flange.
    flange = data.body("link7").xpos + 0.107 * data.body("link7").xmat.reshape(3, 3)[:, 2]
    np.testing.assert_allclose(flange, (0.088, 0.0, 0.333 + 0.316 + 0.384 - 0.107), atol=1e-9)


def test_home_holds_the_palm_upright_in_front_of_the_robot(model):
    data = _at(model, FRANKA_LEAP.home)
    # Shoulder to elbow 0.316 and 0.0825; joints 1 and 3 cancel; worked out in the arm's plane with q2 = 0.004:
    q2, q4, q6 = FRANKA_LEAP.home[1], FRANKA_LEAP.home[3], FRANKA_LEAP.home[5]
    elbow = np.array(
        [0.316 * math.sin(q2) + 0.0825 * math.cos(q2), 0.333 + 0.316 * math.cos(q2) - 0.0825 * math.sin(q2)]
    )
    lean = q2 - q4  # direction of the forearm from the vertical
    wrist = elbow + 0.384 * np.array([math.sin(lean), math.cos(lean)])
    wrist += 0.0825 * np.array([-math.cos(lean), math.sin(lean)])
    down = lean - q6 + math.pi  # direction of the flange axis from the vertical
    ahead = np.array([-math.cos(down), math.sin(down)])
    flange = wrist + 0.088 * ahead + 0.107 * np.array([math.sin(down), math.cos(down)])
    link7 = data.body("link7")
    x, y, z = link7.xpos + 0.107 * link7.xmat.reshape(3, 3)[:, 2]
    np.testing.assert_allclose((math.hypot(x, y), z), flange, atol=2e-3)
    palm = data.site("palm")
    assert palm.xmat.reshape(3, 3)[:, 0] @ (0, 0, -1) > 0.999
    # The palm's middle lies 0.03 behind the hand's frame, which lies 0.12 below the flange.
    assert palm.xpos[2] == pytest.approx(z - 0.12 + 0.03, abs=1e-3)


def test_index_tip_of_an_extended_finger(model):
    data = _at(model, np.zeros(23))
    palm = data.site("palm")
    tip = palm.xmat.reshape(3, 3).T @ (data.site("tip_index").xpos - palm.xpos)
    # Along x: knuckle -0.007, links 0.0381 + 0.0143 + 0.0361, tip 0.0395, palm centre at -0.03.
    assert tip[0] == pytest.approx(-0.007 + 0.0381 + 0.0143 + 0.0361 + 0.0395 + 0.03, abs=1e-3)
    # Across: knuckle at 0.023 and palm centre at -0.0224; y points from the index to the ring finger.
    assert tip[1] < -0.02
    ring = palm.xmat.reshape(3, 3).T @ (data.site("tip_ring").xpos - palm.xpos)
    assert ring[1] - tip[1] == pytest.approx(0.023 + 0.0678, abs=1e-4)


def test_gravity_compensation_holds_still(model):
    data = mujoco.MjData(model)
    data.qpos[:] = FRANKA_LEAP.home
    data.ctrl[:] = FRANKA_LEAP.home
    for _ in range(120):
        mujoco.mj_step(model, data)
    np.testing.assert_allclose(data.qpos, FRANKA_LEAP.home, atol=1e-6)


def test_targets_are_reached(model):
    data = mujoco.MjData(model)
    target = np.array(FRANKA_LEAP.home) + 0.1
    data.qpos[:] = FRANKA_LEAP.home
    data.ctrl[:] = target
    for _ in range(120):
        mujoco.mj_step(model, data)
    np.testing.assert_allclose(data.qpos, target, atol=5e-3)


def test_who_touches_whom(model):
    for geom in range(model.ngeom):
        prefix = model.geom(geom).name.split("_")[0]
        expected = {"visual": 0, "arm": ARM, "palm": HAND, "finger": HAND, "tip": HAND}[prefix]
        assert model.geom_contype[geom] == expected
        assert model.geom_conaffinity[geom] == 0  # nothing of the robot touches the robot
    assert len({HAND, OBJECT, ARM, HAND | OBJECT | ARM}) == 4
    tips = [model.geom(i).name for i in range(model.ngeom) if model.geom(i).name.startswith("tip_")]
    assert tips == list(FRANKA_LEAP.fingertips)


def test_another_robot_is_refused():
    from dataclasses import replace

    with pytest.raises(ValueError, match="other joints"):
        add_bodies(mujoco.MjSpec(), replace(FRANKA_LEAP, joint_names=("a",)))
