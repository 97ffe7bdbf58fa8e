"""Camera and table from clouds that MuJoCo's own rays see, not the distances that are fitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from score_rl.core.seeding import rng
from score_rl.data.dataset import Dataset
from score_rl.real2sim.clouds import CloudFit, RestingObject, fit_clouds, hand_surface
from score_rl.real2sim.extrinsics import Extrinsics
from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.domain import Physics
from score_rl.sim.scene import joint_addresses, scene_spec
from score_rl.sim.task import get_task

TASK = get_task("pinch_cube")
EPISODES, FRAMES, POINTS = 12, 3, 64
CAMERA_M, TABLE_M, OFFSET_RAD = np.array([1.25, -0.55, 0.65]), 0.004, 0.02
TRUTH = Extrinsics(
    shift_m=np.array([0.006, -0.004, 0.003]),
    turn_rad=np.array([0.004, -0.006, 0.01]),
    about_m=np.array([0.5, 0.0, 0.2]),
    covariance=np.zeros((6, 6)),
    spread_m=0.0,
    points=0,
)


def visible(model, data, geoms: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """(count, 3) points of some geoms that rays from the camera hit first."""
    middle = data.geom_xpos[geoms].mean(0)
    found: list[np.ndarray] = []
    while len(found) < count:
        rays = middle + generator.uniform(-0.15, 0.15, (400, 3)) - CAMERA_M
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        hit, distance = np.full(400, -1, np.int32), np.full(400, -1.0)
        mujoco.mj_multiRay(
            model, data, CAMERA_M, rays.ravel(), None, True, -1, hit, distance, None, 400, mujoco.mjMAXVAL
        )
        found += list((CAMERA_M + distance[:, None] * rays)[np.isin(hit, geoms)])
    return np.array(found[:count])


def see() -> Dataset:
    """Episodes of a standing hand above a cube, whose measured joints are all off by 20 mrad."""
    generator, model = rng("clouds"), scene_spec(TASK, Physics()).compile()
    data, joints = mujoco.MjData(model), joint_addresses(model, FRANKA_LEAP)[0]
    palm = model.body(model.site("palm").bodyid[0])
    hand = np.flatnonzero(model.body_rootid[model.geom_bodyid] == model.body("link0").id)
    hand = np.array([g for g in hand if model.geom_bodyid[g] >= palm.id])
    cube = np.array([model.geom("cube").id])
    columns: dict[str, list] = {f"observation.{key}": [] for key in ("state", "cloud", "cloud_seen", "hand_cloud")}
    for _ in range(EPISODES):
        posture = np.array(FRANKA_LEAP.home) + generator.uniform(-0.2, 0.2, 23)
        yaw = generator.uniform(-np.pi, np.pi)
        place = [*generator.uniform([0.4, -0.15], [0.6, 0.15]), 0.0225 + TABLE_M]
        data.qpos[joints] = posture
        data.qpos[model.joint("cube").qposadr[0] :][:7] = [*place, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
        mujoco.mj_forward(model, data)
        for _ in range(FRAMES):
            noise = generator.normal(0, 0.001, (2, POINTS, 3))
            columns["observation.state"].append(posture - OFFSET_RAD)
            for key, geoms, error in (("cloud", cube, noise[0]), ("hand_cloud", hand, noise[1])):
                true = visible(model, data, geoms, POINTS, generator)
                columns[f"observation.{key}"].append(TRUTH.reported(true) + error)
            columns["observation.cloud_seen"].append([1.0])
    starts = np.arange(EPISODES) * FRAMES
    arrays = {name: np.array(values) for name, values in columns.items()}
    arrays["observation.hand_cloud"] = arrays["observation.hand_cloud"].astype(np.float16)
    ends = starts + FRAMES
    return Dataset(Path("x"), 10.0, "", arrays, dict.fromkeys(arrays), starts, ends, ("t",) * EPISODES, {})


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return see()


def fit(dataset: Dataset):
    return fit_clouds(dataset, TASK, TASK.parameters, np.full(23, OFFSET_RAD))


def test_camera_and_table_are_found_within_their_uncertainty(dataset: Dataset) -> None:
    found = fit(dataset)
    assert (found.hand_frames, found.rest_episodes) == (36, 12)
    workspace = np.array([0.5, 0, 0.1]) + 0.1 * rng("places").uniform(-1, 1, (20, 3))
    error = found.camera.true(TRUTH.reported(workspace)) - workspace
    assert np.linalg.norm(error, axis=1).max() < 1e-3  # without the fit: 6 to 11 mm
    # Noise of 1 mm makes fingers of 10 mm look 1 / 10 mm thicker, which no covariance knows.
    sd = np.hypot([found.camera.sd_m(place) for place in workspace], 1e-4)
    assert np.abs(error / sd).max() < 3.5
    assert found.table_height_m == pytest.approx(TABLE_M, abs=6e-4)
    assert abs(found.table_height_m - TABLE_M) < 3.5 * found.table_sd_m < 3e-3


def test_the_twins_parameters_report_every_point_as_the_camera_does() -> None:
    generator, aimed = rng("parameters"), np.array([0.5, 0.0, 0.08])
    half = 1e-4 * generator.standard_normal((6, 6))
    camera = replace(TRUTH, covariance=half @ half.T)
    found = CloudFit(camera, 0.003, 0.001, 200, 60).estimates(aimed)
    points = aimed + generator.uniform(-0.2, 0.2, (20, 3))
    turned = Rotation.from_rotvec(found["camera.cloud_turn_rad"][0]).apply(points - aimed) + aimed
    reported = Rotation.from_euler("z", found["camera.yaw_bias_rad"][0][0]).apply(turned)
    np.testing.assert_allclose(reported + found["camera.position_bias_m"][0], TRUTH.reported(points), atol=1e-12)
    assert found["camera.cloud_turn_rad"][0][2] == pytest.approx(0, abs=1e-12)
    # Standard deviations: those of the same figures of 1,000 cameras that are drawn from the covariance.
    drawn = generator.multivariate_normal(np.r_[TRUTH.shift_m, TRUTH.turn_rad], camera.covariance, 1000)
    cameras = [CloudFit(replace(camera, shift_m=x[:3], turn_rad=x[3:]), 0, 1, 1, 1).estimates(aimed) for x in drawn]
    for name in ("camera.position_bias_m", "camera.yaw_bias_rad", "camera.cloud_turn_rad"):
        spread = np.std([each[name][0] for each in cameras], axis=0)
        np.testing.assert_allclose(found[name][1], spread, rtol=0.12, atol=1e-7)


def test_a_hand_out_of_sight_counts_for_nothing(dataset: Dataset) -> None:
    columns = dict(dataset.columns)
    hidden = columns["observation.hand_cloud"].copy()
    hidden[::3] = [0.5, 0.0, 0.3]
    found = fit(replace(dataset, columns=columns | {"observation.hand_cloud": hidden}))
    assert found.hand_frames == 24
    np.testing.assert_allclose(found.camera.shift_m, fit(dataset).camera.shift_m, atol=5e-4)
    hidden[:] = [0.5, 0.0, 0.3]
    assert fit(replace(dataset, columns=columns | {"observation.hand_cloud": hidden})) is None
    del columns["observation.hand_cloud"]
    assert fit(replace(dataset, columns=columns)) is None


def test_an_object_out_of_sight_leaves_the_table_to_its_prior(dataset: Dataset) -> None:
    seen = np.zeros((EPISODES * FRAMES, 1))
    found = fit(replace(dataset, columns={**dataset.columns, "observation.cloud_seen": seen}))
    assert (found.rest_episodes, found.table_height_m) == (0, 0.0)
    assert found.table_sd_m == pytest.approx(TASK.parameters["table.height_m"].prior.sd)


def test_the_hand_is_everything_that_hangs_on_the_palm() -> None:
    home = np.array(FRANKA_LEAP.home)[None]
    surface = hand_surface(FRANKA_LEAP, np.repeat(home, 2, axis=0))
    model = scene_spec(TASK, Physics()).compile()
    data = mujoco.MjData(model)
    data.qpos[joint_addresses(model, FRANKA_LEAP)[0]] = home[0]
    mujoco.mj_kinematics(model, data)
    tip, elbow = data.site("tip_index").xpos, data.body("link4").xpos
    distance, _ = surface(np.stack([tip[None], elbow[None]]))
    assert distance[0] == pytest.approx([-0.0105], abs=1e-6)  # the middle of a sphere of 10.5 mm
    assert distance[1] > 0.2


@pytest.mark.parametrize("task", ["pinch_cube", "grasp_bottle", "push_ball"])
def test_an_object_that_lies_on_the_nominal_table_says_so(task: str) -> None:
    found = get_task(task)
    model = scene_spec(found, Physics()).compile()
    data, item = mujoco.MjData(model), next(iter(found.observed.values()))
    place = np.array(found.spawn(rng("spawn"), found.parameters.nominal())[item.name])
    first = model.jnt_qposadr[model.body_jntadr[model.body(item.name).id]]
    data.qpos[first : first + 7] = place
    mujoco.mj_forward(model, data)
    geoms = np.flatnonzero(model.geom_bodyid == model.body(item.name).id)
    points = visible(model, data, geoms, 200, rng("rays"))[None]
    resting = RestingObject.of(found)
    assert resting is not None
    assert resting.heights_m(points + [0, 0, 0.007]) == pytest.approx([0.007], abs=2e-4)
