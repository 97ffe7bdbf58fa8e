"""The error of the pose estimate, from objects that a kinematic hand holds."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from score_rl.core.seeding import rng
from score_rl.data.dataset import Dataset
from score_rl.real2sim.camera import CameraFit, fit_camera, held_evidence
from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.scene import kinematic_model
from score_rl.sim.task import get_task
from score_rl.tasks.pour_ball.task import SMALL_CUP

PARAMETERS = get_task("pinch_cube").parameters
POUR = get_task("pour_ball")
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
            hand = Rotation.from_matrix(data.site("palm").xmat.reshape(3, 3))
            if k < REST:
                position = np.array([*position[:2], TABLE + HALF])
            elif follow_estimate:
                if k == REST:
                    error = turn.apply(position) + BIAS - position
                    axis /= np.linalg.norm(axis)
                    shift = error - axis * (axis @ error)
                position = position - Rotation.from_euler("z", arm[0] - start[0]).apply(shift)
            seen = turn.apply(position) + BIAS + generator.normal(0, 0.002, 3)
            held = hand if k >= REST else Rotation.identity()
            quat = (Rotation.from_rotvec(generator.normal(0, 0.02, 3)) * held).as_quat(scalar_first=True)
            states.append(data.qpos.copy())
            poses.append(np.concatenate([seen, quat]))
    return dataset(state=states, object_pose=poses)


def dataset(**observed: list[np.ndarray]) -> Dataset:
    """Of episodes of REST and CARRY frames each."""
    columns = {f"observation.{key}": np.array(values) for key, values in observed.items()}
    starts = np.arange(0, len(columns["observation.state"]), REST + CARRY)
    ends = starts + REST + CARRY
    return Dataset(Path("x"), 10.0, "", columns, dict.fromkeys(columns), starts, ends, ("t",) * len(starts), {})


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


def pours(episodes: int, table_m: float) -> Dataset:
    """A small cup with a ball in it is lifted, carried and tilted by some 70 degrees over a large cup.

    The cup sits firmly, some 14 mm from the middle of the pinch, in every episode a little elsewhere.
    """
    generator, model = rng("pours"), kinematic_model(FRANKA_LEAP)
    data, turn = mujoco.MjData(model), Rotation.from_euler("z", YAW)
    columns: dict[str, list[np.ndarray]] = {"state": [], **{key: [] for key in POUR.observed}}

    def see(key: str, place: np.ndarray, held: Rotation) -> None:
        seen = turn.apply(place) + BIAS + generator.normal(0, 0.002, 3)
        quat = (Rotation.from_rotvec(generator.normal(0, 0.02, 3)) * held).as_quat(scalar_first=True)
        columns[key].append(np.concatenate([seen, quat]))

    for _ in range(episodes):
        start = np.array(FRANKA_LEAP.home[:7]) + generator.uniform(-0.1, 0.1, 7)
        start[6] += generator.uniform(-0.8, 0.8)
        sits, sweep = np.array([0.010, 0.010, 0.0]) + generator.normal(0, 0.003, 3), generator.uniform(0.3, 0.6)
        spawned = POUR.spawn(generator, POUR.parameters.nominal())
        for k in range(REST + CARRY):
            share = max(k - REST, 0) / CARRY
            data.qpos[:] = [*(start + share * np.array([sweep, 0, 0, 0, 0, 1.3, 0])), *PINCH]
            mujoco.mj_kinematics(model, data)
            tips = np.stack([data.site(name).xpos for name in FRANKA_LEAP.fingertips])
            hand = Rotation.from_matrix(data.site("palm").xmat.reshape(3, 3))
            places = {name: pose[:3] + (0, 0, table_m) for name, pose in spawned.items()}
            if k >= REST:
                places["small_cup"] = (tips[:2].mean(0) + tips[3]) / 2 + hand.apply(sits)
                places["ball"] = places["small_cup"] - hand.apply([0.0, 0.0, 0.051])
            columns["state"].append(data.qpos.copy())
            for key, item in POUR.observed.items():
                see(key, places[item.name], hand if k >= REST and key == "object_pose" else Rotation.identity())
    return dataset(**columns)


def test_of_several_objects_the_one_that_is_handled_tells_the_error() -> None:
    found = fit_camera(pours(24, 0.004), FRANKA_LEAP, POUR.parameters, np.zeros(23), SMALL_CUP.height_m / 2, 0.075)
    assert found.used == {"rest": 24, "grasp": 24, "carry": 24}
    np.testing.assert_allclose(found.position_bias_m[:2], BIAS[:2], atol=2.5e-3)
    assert found.yaw_bias_rad == pytest.approx(YAW, abs=4e-3)
    assert (np.abs(found.position_bias_m - BIAS) < 3 * found.position_sd_m).all()
    assert abs(found.yaw_bias_rad - YAW) < 3 * found.yaw_sd_rad < PARAMETERS["camera.yaw_bias_rad"].prior.sd
    # Only the sum of the camera's height and the table's shows: 3 + 4 mm.
    assert found.position_bias_m[2] + found.table_height_m == pytest.approx(0.007, abs=5e-4)


def tilted(slip: Rotation, off_m: float = 0.0) -> list[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """A hand that moves 0.1 m along y, tilting about x by 90 degrees, with an object 0.03 m in front of the palm,
    `off_m` from the middle of fingers and thumb; without noise. In its last third the object is turned by `slip`."""
    poses, palms, tips = [], [], []
    for share in np.repeat([0.0, 0.5, 1.0], 6):
        hand, at = Rotation.from_euler("x", share * np.pi / 2), np.array([0.5, 0.1 * share, 0.3])
        true = at + hand.apply([0.03, off_m, 0.0])
        seen = true + BIAS + YAW * np.array([-true[1], true[0], 0.0])
        turned = hand * slip if share == 1.0 else hand
        poses.append([*seen, *turned.as_quat(scalar_first=True)])
        palms.append([*at, *hand.as_quat(scalar_first=True)])
        tips.append([at + hand.apply([0.03, y, 0.0]) for y in (0.04, -0.04)])
    return held_evidence(np.array(poses), np.array(palms), np.array(tips), 0.06)


def test_a_hand_that_tilts_tells_the_error_whatever_is_in_it() -> None:
    for off_m in (0.0, 0.01):
        (_, (centred, seen)), (kind, (rows, moved)) = tilted(Rotation.identity(), off_m)
        # Turned by 90 degrees about x, what was y in the palm is z: z falls by b_y, and y by it where it pointed up.
        np.testing.assert_allclose(rows[:, :3], [[0, 0, 0], [0, -1, 0], [0, -1, 0]], atol=1e-12)
        np.testing.assert_allclose(rows[:, 6], [0, 1, -1], atol=1e-12)  # not b_z, but the sag that looks like it
        np.testing.assert_allclose(rows @ [*BIAS, YAW, 0, 0, BIAS[2]], moved, atol=2e-4)  # psi is small, not nothing
        assert kind == "carry"
        # The pinch says the same only of an object that is in its middle.
        level = centred[0] @ [*BIAS, YAW, 0, off_m, 0]
        assert seen[0] - level == pytest.approx(BIAS[2] * np.mean([0.0, np.sqrt(0.5), 1.0]), abs=2e-4)


def test_an_object_that_turns_in_the_hand_is_another_grasp() -> None:
    for slip, moves in ((0.0, True), (0.1, True), (0.3, False)):
        _, (_, (rows, _)) = tilted(Rotation.from_euler("z", slip))
        # Without the last third the hand has tilted by 45 degrees only.
        assert rows[1, 1] == pytest.approx(-1.0 if moves else np.sqrt(0.5) - 1.0, abs=1e-9)


def test_what_turns_all_the_time_says_nothing() -> None:
    loose = np.tile([0.5, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0], (12, 1))
    loose[:, 3:] = Rotation.from_euler("z", np.linspace(0, 6, 12)[:, None]).as_quat(scalar_first=True)
    tips = np.tile([[0.5, 0.04, 0.3], [0.5, -0.04, 0.3]], (12, 1, 1))
    assert held_evidence(loose, np.tile([0.5, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0], (12, 1)), tips, 0.06) == []
