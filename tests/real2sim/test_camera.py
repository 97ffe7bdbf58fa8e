"""The error of the pose estimate, from objects that a kinematic hand holds."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from score_rl.core.seeding import rng
from score_rl.data.dataset import Dataset
from score_rl.real2sim.camera import CameraFit, fit_camera
from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.scene import kinematic_model
from score_rl.sim.task import get_task

PARAMETERS = get_task("pinch_cube").parameters
BIAS, YAW, TABLE, HALF = np.array([0.006, -0.005, 0.003]), 0.02, 0.0, 0.0225
PINCH = (2.0, -0.34, -0.3, -0.29, 1.95, -0.83, -0.43, -0.29, 1.6, 0, 1.2, 0.9, 0.69, 0, 0.61, 0.19)
"""Index and middle finger against the thumb, about 45 mm apart."""
REST, CARRY = 6, 12


def grasps(episodes: int, follow_estimate: bool) -> Dataset:
    """Lift and carry an object that is held at the middle of the pinch axis.

    With `follow_estimate` the hand was aimed at the estimate: across the pinch axis, the estimate (not the object)
    is at the fingers' middle.
    """
    generator, model = rng("grasps"), kinematic_model(FRANKA_LEAP)
    data = mujoco.MjData(model)
    states, poses = [], []
    turn = Rotation.from_euler("z", YAW)
    for _ in range(episodes):
        start = np.array(FRANKA_LEAP.home[:7]) + generator.uniform(-0.1, 0.1, 7)
        start[6] += generator.uniform(-0.8, 0.8)
        sweep = generator.uniform(-0.4, 0.4)
        for k in range(REST + CARRY):
            arm = start.copy()
            arm[0] += sweep * max(k - REST, 0) / CARRY
            data.qpos[:] = np.concatenate([arm, PINCH])
            mujoco.mj_kinematics(model, data)
            tips = np.stack([data.site(name).xpos for name in FRANKA_LEAP.fingertips])
            opposed = tips[:2].mean(0)
            position, axis = (opposed + tips[3]) / 2, opposed - tips[3]
            if k < REST:
                position = np.array([*position[:2], TABLE + HALF])
            elif follow_estimate:
                if k == REST:
                    error = turn.apply(position) + BIAS - position
                    axis /= np.linalg.norm(axis)
                    shift = error - axis * (axis @ error)
                position = position - Rotation.from_euler("z", arm[0] - start[0]).apply(shift)
            seen = turn.apply(position) + BIAS + generator.normal(0, 0.002, 3)
            quat = Rotation.from_rotvec(generator.normal(0, 0.02, 3)).as_quat(scalar_first=True)
            states.append(data.qpos.copy())
            poses.append(np.concatenate([seen, quat]))
    starts = np.arange(episodes) * (REST + CARRY)
    columns = {"observation.state": np.array(states), "observation.object_pose": np.array(poses)}
    ends = starts + REST + CARRY
    return Dataset(Path("x"), 10.0, "", columns, dict.fromkeys(columns), starts, ends, ("t",) * episodes, {})


def fit(dataset: Dataset) -> CameraFit:
    return fit_camera(dataset, FRANKA_LEAP, PARAMETERS, np.zeros(23), HALF)


@pytest.mark.parametrize("follow_estimate", [False, True])
def test_recovers_bias_and_yaw(follow_estimate: bool) -> None:
    found = fit(grasps(60, follow_estimate))
    assert found.used == {"rest": 60, "grasp": 60, "carry": found.used["carry"]}
    np.testing.assert_allclose(found.position_bias_m[:2], BIAS[:2], atol=2e-3)
    assert found.yaw_bias_rad == pytest.approx(YAW, abs=4e-3)
    assert (found.position_sd_m[:2] < PARAMETERS["camera.position_bias_m"].prior.sd / 2).all()
    assert (np.abs(found.position_bias_m - BIAS) < 3 * found.position_sd_m).all()


def test_jitter() -> None:
    found = fit(grasps(60, False))
    assert found.position_jitter_m == pytest.approx(0.002, rel=0.1)
    assert found.rotation_jitter_rad == pytest.approx(0.02, rel=0.1)
