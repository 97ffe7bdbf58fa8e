"""Arm kinematics against MuJoCo, and inverse kinematics that reaches what can be reached."""

import mujoco
import numpy as np
import pytest

from score_rl.robots.franka_leap.model import add_bodies
from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.tasks.people.kinematics import ArmKinematics, InverseConfig, rotate_by, rotation_error


@pytest.fixture(scope="module")
def arm() -> ArmKinematics:
    return ArmKinematics.of(FRANKA_LEAP)


def _postures(arm: ArmKinematics, n: int, spread: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.clip(arm.rest + rng.normal(0, spread, (n, 7)), arm.lower, arm.upper)


def test_forward_and_jacobian_agree_with_mujoco(arm):
    spec = mujoco.MjSpec()
    add_bodies(spec, FRANKA_LEAP)
    model = spec.compile()
    data = mujoco.MjData(model)
    joints = _postures(arm, 3, 0.4)
    position, rotation, jacobian = arm.jacobian(joints)
    for i in range(3):
        data.qpos[:7] = joints[i]
        mujoco.mj_forward(model, data)
        linear, angular = np.zeros((3, model.nv)), np.zeros((3, model.nv))
        mujoco.mj_jacSite(model, data, linear, angular, model.site("palm").id)
        np.testing.assert_allclose(position[i], data.site("palm").xpos, atol=1e-12)
        np.testing.assert_allclose(rotation[i], data.site("palm").xmat.reshape(3, 3), atol=1e-12)
        np.testing.assert_allclose(jacobian[i], np.r_[linear, angular][:, :7], atol=1e-12)


def test_tool_is_fixed_to_the_palm(arm):
    offset, turn = np.array([0.01, -0.02, 0.03]), rotate_by(np.array([[0.1, 0.2, 0.3]]), np.eye(3)[None])[0]
    tool = ArmKinematics.of(FRANKA_LEAP, offset, turn)
    joints = _postures(arm, 2, 0.3)
    palm_position, palm_rotation = arm.forward(joints)
    position, rotation = tool.forward(joints)
    np.testing.assert_allclose(position, palm_position + palm_rotation @ offset, atol=1e-12)
    np.testing.assert_allclose(rotation, palm_rotation @ turn, atol=1e-12)


def test_inverse_reaches_known_poses_within_the_limits(arm):
    position, rotation = arm.forward(_postures(arm, 50, 0.3))
    start = np.tile(arm.rest, (50, 1))
    joints, residual = arm.inverse(position, rotation, start, InverseConfig(iterations=40))
    assert residual.max() < 1e-3
    reached, turned = arm.forward(joints)
    assert np.linalg.norm(reached - position, axis=1).max() < 1e-3
    assert np.linalg.norm(rotation_error(rotation, turned), axis=1).max() < 0.01
    assert (joints >= arm.lower).all() and (joints <= arm.upper).all()


def test_out_of_reach_stays_finite_and_reports_it(arm):
    start = arm.rest[None]
    joints, residual = arm.inverse(np.array([[3.0, 0.0, 0.5]]), np.eye(3)[None], start, InverseConfig(iterations=60))
    assert np.isfinite(joints).all() and residual[0] > 1.0


def test_steps_are_bounded(arm):
    config = InverseConfig(iterations=1, max_step_rad=0.05)
    joints, _ = arm.inverse(np.array([[0.3, 0.4, 0.6]]), np.eye(3)[None], arm.rest[None], config)
    assert np.abs(joints - arm.rest).max() <= 0.05 + 1e-12


def test_rotation_error_is_the_rotation_vector():
    vector = np.array([[0.0, 0.0, np.pi / 2], [0.3, -0.4, 1.2], [1e-7, 0.0, 0.0]])
    turned = rotate_by(vector, np.tile(np.eye(3), (3, 1, 1)))
    np.testing.assert_allclose(turned[0], [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12)
    np.testing.assert_allclose(rotation_error(turned, np.tile(np.eye(3), (3, 1, 1))), vector, atol=1e-9)


def test_a_row_does_not_depend_on_the_batch(arm):
    position, rotation = arm.forward(_postures(arm, 8, 0.2))
    start = np.tile(arm.rest, (8, 1))
    together, _ = arm.inverse(position, rotation, start)
    for i in (0, 5):
        alone, _ = arm.inverse(position[i : i + 1], rotation[i : i + 1], start[:1])
        np.testing.assert_array_equal(together[i], alone[0])
