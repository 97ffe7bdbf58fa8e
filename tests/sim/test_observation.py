"""Rotations, forward kinematics and the camera's errors, against scipy and by hand."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim import rotations_numpy as rotations
from score_rl.sim.scene import kinematic_model
from score_rl.sim.sensors import Kinematics, encoder_error, estimate_pose

QUARTER_Z = [np.sqrt(0.5), 0, 0, np.sqrt(0.5)]


def random_quaternions(n: int, seed: int = 0) -> np.ndarray:
    return Rotation.random(n, rng=np.random.default_rng(seed)).as_quat(scalar_first=True)


def test_rotations_agree_with_scipy() -> None:
    a, b = random_quaternions(20), random_quaternions(20, seed=1)
    scipy_a, scipy_b = (Rotation.from_quat(q, scalar_first=True) for q in (a, b))
    product = (scipy_a * scipy_b).as_quat(canonical=True, scalar_first=True)
    assert rotations.canonical(rotations.multiply(a, b)) == pytest.approx(product, abs=1e-12)
    assert rotations.matrix(a) == pytest.approx(scipy_a.as_matrix(), abs=1e-12)
    vectors = np.concatenate([np.zeros((1, 3)), np.random.default_rng(2).normal(size=(9, 3))])
    expected = Rotation.from_rotvec(vectors).as_quat(scalar_first=True)
    assert rotations.from_rotation_vector(vectors) == pytest.approx(expected, abs=1e-12)
    assert rotations.about_z(np.array([np.pi / 2]))[0] == pytest.approx(QUARTER_Z)
    assert rotations.rotate(a, vectors[:1] + [[1.0, -2.0, 3.0]]) == pytest.approx(scipy_a.apply([1.0, -2.0, 3.0]))


@pytest.mark.parametrize(("n", "m"), [(1, 1), (5, 5), (5, 1), (1, 5)])
def test_cross_products_are_numpys_to_the_bit(n: int, m: int) -> None:
    generator = np.random.default_rng(3)
    a, b = generator.normal(size=(n, 3)), generator.normal(size=(m, 3))
    assert np.array_equal(rotations.cross(a, b), np.cross(a, b))


def test_a_perfect_camera_reports_the_truth() -> None:
    pose = np.concatenate([[[0.5, 0.1, 0.2]], rotations.canonical(random_quaternions(1))], axis=1)
    seen = estimate_pose(pose, np.zeros(1), np.zeros((1, 3)), np.zeros((1, 6)))
    assert seen == pytest.approx(pose, abs=1e-12)


def test_an_orientation_that_cannot_be_seen_is_none() -> None:
    pose = np.concatenate([np.full((5, 3), 0.1), random_quaternions(5)], axis=1)
    noise = np.full((5, 6), 0.01)
    seen = estimate_pose(pose, np.full(5, 0.2), np.zeros((5, 3)), noise, orientation_seen=False)
    assert (seen[:, 3:] == [1, 0, 0, 0]).all()
    whole = estimate_pose(pose, np.full(5, 0.2), np.zeros((5, 3)), noise)
    assert (seen[:, :3] == whole[:, :3]).all()


def test_camera_errors_by_hand() -> None:
    # Turned by 90 degrees about z: (0.5, 0.1) becomes (-0.1, 0.5); then shifted, then jittered.
    pose = np.array([[0.5, 0.1, 0.2, 1, 0, 0, 0]])
    noise = np.array([[0.001, 0.002, 0.003, 0, 0, 0]])
    seen = estimate_pose(pose, np.array([np.pi / 2]), np.array([[0.01, 0.02, 0.03]]), noise)
    assert seen[0] == pytest.approx([-0.1 + 0.011, 0.5 + 0.022, 0.2 + 0.033, *QUARTER_Z])


def test_an_encoder_off_its_axis_errs_once_a_turn() -> None:
    angle = np.array([[0.0, np.pi / 2, np.pi, -np.pi / 2]])
    assert encoder_error(angle, np.full((1, 4), 0.02), np.zeros((1, 4)))[0] == pytest.approx([0, 0.02, 0, -0.02])
    assert encoder_error(angle, np.full((1, 4), 0.02), np.full((1, 4), np.pi / 2))[0, 0] == pytest.approx(0.02)


def test_orientation_jitter_is_a_rotation_of_its_size() -> None:
    quat = random_quaternions(1)
    pose, noise = np.concatenate([np.zeros((1, 3)), quat], axis=1), np.array([[0, 0, 0, 0.02, 0, 0]])
    seen = Rotation.from_quat(estimate_pose(pose, np.zeros(1), np.zeros((1, 3)), noise)[0, 3:], scalar_first=True)
    turn = seen * Rotation.from_quat(quat[0], scalar_first=True).inv()
    assert turn.as_rotvec() == pytest.approx([0.02, 0, 0])


def test_forward_kinematics_agree_with_the_model() -> None:
    model = kinematic_model(FRANKA_LEAP)
    data = mujoco.MjData(model)
    generator = np.random.default_rng(0)
    joints = generator.uniform(FRANKA_LEAP.joint_lower, FRANKA_LEAP.joint_upper, (3, 23))
    palm, tips = Kinematics(FRANKA_LEAP, size=5, threads=2)(joints)
    assert palm.shape == (3, 7) and tips.shape == (3, 4, 3)
    for row in range(3):
        data.qpos[:] = joints[row]
        mujoco.mj_kinematics(model, data)
        site = data.site("palm")
        assert palm[row, :3] == pytest.approx(site.xpos)
        assert rotations.matrix(palm[row : row + 1, 3:])[0] == pytest.approx(site.xmat.reshape(3, 3), abs=1e-12)
        for k, finger in enumerate(("index", "middle", "ring", "thumb")):
            assert tips[row, k] == pytest.approx(data.site(f"tip_{finger}").xpos)
