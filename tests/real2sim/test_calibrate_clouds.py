"""Demonstrations with clouds of the hand, recorded to disk, checked and calibrated from, end to end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from score_rl.core.clouds import CLOUD, CLOUD_SEEN, HAND_CLOUD, CloudConfig, cloud_views
from score_rl.core.errors import ScoreError
from score_rl.core.records import parse
from score_rl.data.dataset import Dataset, load_dataset
from score_rl.data.writer import DatasetWriter
from score_rl.pipeline.datasets import check
from score_rl.real2sim.calibrate import CalibrateConfig, Calibration, calibrate
from score_rl.real2sim.clouds import check_clouds
from score_rl.real2sim.estimates import Estimates
from score_rl.sim.camera import Camera, reported
from score_rl.sim.domain import Distribution, Domain, load_domain
from score_rl.sim.task import get_task
from score_rl.sim.world import make_world
from score_rl.tasks.people.collect import demonstrate, features
from score_rl.tasks.people.habits import careful

TASK = get_task("pinch_cube")
VIEWS = cloud_views(CloudConfig(32, hand_points=64), 1)
CAMERA = Camera(position_m=(1.2, 0.5, 0.7), target_m=(0.48, 0.02, 0.1))
PLANTED = {
    "hand.joint_bias_rad": np.full(16, 0.03),
    "table.height_m": np.array([0.006]),
    "camera.position_bias_m": np.array([0.004, -0.006, 0.005]),
    "camera.yaw_bias_rad": np.array([0.02]),
    "camera.cloud_turn_rad": np.array([0.01, -0.015, 0.0]),
    "camera.depth_noise_m": np.array([0.001]),
}
"""Errors of the robot; all others are nominal."""
EPISODES = 6


def twin() -> Domain:
    return replace(load_domain("twin"), camera=CAMERA)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demonstrations of the planted robot, at the twin's physics."""
    constants = {name: Distribution("constant", (tuple(value.tolist()),)) for name, value in PLANTED.items()}
    world = make_world("pinch_cube", replace(twin(), robot=constants), EPISODES, threads=1, views=VIEWS)
    root = tmp_path_factory.mktemp("clouds") / "dataset"
    writer = DatasetWriter(root, 10, features(world), world.robot.name)
    for shown in demonstrate(world, careful(), range(EPISODES)):
        writer.add_episode(shown.frames, TASK.description, shown.extra)
    writer.finalize()
    return root


@pytest.fixture(scope="module")
def calibration(recorded: Path) -> Calibration:
    config = CalibrateConfig(fit_episodes=3, max_frames=12, timestep_s=1 / 60, threads=1)
    return calibrate(load_dataset(recorded), TASK, twin(), config)


@pytest.fixture(scope="module")
def poseless(recorded: Path) -> Calibration:
    """From joints and clouds alone."""
    config = CalibrateConfig(fit_episodes=3, max_frames=12, timestep_s=1 / 60, threads=1)
    return calibrate(without(load_dataset(recorded), "object_pose"), TASK, twin(), config)


def without(dataset: Dataset, *keys: str) -> Dataset:
    """The recording of a robot that has not shown these keys."""
    gone = {f"observation.{key}" for key in keys}
    columns, features = (
        {k: v for k, v in part.items() if k not in gone} for part in (dataset.columns, dataset.features)
    )
    return replace(dataset, columns=columns, features=features)


def seen(points_m: float = 1.0, **columns: np.ndarray) -> Dataset:
    """A palm at (0.3, 0, 0.4), whose hand is evenly around it, in another unit than metres where asked for."""
    palm = np.tile(np.float32([0.3, 0, 0.4, 1, 0, 0, 0]), (5, 1))
    half = np.random.default_rng(0).uniform(-0.05, 0.05, (5, 8, 3))
    hand = (palm[:, None, :3] + np.concatenate([half, -half], axis=1)).astype(np.float32) * np.float32(points_m)
    shown = {"observation.palm_pose": palm, f"observation.{HAND_CLOUD}": hand, **columns}
    return Dataset(Path("d"), 10, "toy", shown, {}, np.array([0]), np.array([5]), ("",), {})


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (seen(1001.0), r"are 500 m from the palm; they must be metres in the robot's base frame"),
        (seen(-1.0), r"are 1 m from the palm"),
        (seen(**{f"observation.{HAND_CLOUD}": np.zeros((5, 16, 4))}), r"has shape \(16, 4\), expected \(points, 3\)"),
        (seen(**{f"observation.{CLOUD}": np.zeros((5, 48))}), r"has shape \(48,\), expected \(points, 3\)"),
        (seen(**{f"observation.{CLOUD}": np.zeros((5, 2, 3)), f"observation.{CLOUD_SEEN}": np.ones((5, 3))}),
         "has 2 points for 3 segments"),
    ],
)  # fmt: skip
def test_clouds_that_are_none_of_this_hand_are_refused(dataset: Dataset, message: str) -> None:
    with pytest.raises(ScoreError, match=message):
        check_clouds(dataset)


def test_a_hand_that_is_seen_or_never_seen_is_as_it_should_be() -> None:
    check_clouds(seen())
    check_clouds(seen(**{f"observation.{HAND_CLOUD}": np.ones((5, 16, 3))}))


@pytest.mark.slow
def test_a_dataset_with_clouds_is_checked(recorded: Path) -> None:
    checked = check((recorded,))
    shown = checked.dataset.columns[f"observation.{HAND_CLOUD}"]
    assert shown.shape[1:] == (64, 3) and checked.dataset.columns[f"observation.{CLOUD}"].shape[1:] == (32, 3)
    assert not any("cloud" in line for line in checked.warnings)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["calibration", "poseless"])
def test_the_calibrated_twin_shows_points_where_the_robots_camera_does(
    request: pytest.FixtureRequest, source: str
) -> None:
    calibration: Calibration = request.getfixturevalue(source)
    values = {name: np.zeros((1, parameter.size)) for name, parameter in TASK.parameters.items()}
    places = np.array(CAMERA.target_m) + [[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [0, 0, 0.1]]

    def shown(errors: dict[str, np.ndarray]) -> np.ndarray:
        matrix, offset = reported(CAMERA, {**values, **{name: value[None] for name, value in errors.items()}})
        return places @ matrix[0].T + offset[0]

    found = {name: np.array(calibration.domain.robot[name].arguments[0]) for name in PLANTED if "noise" not in name}
    assert np.linalg.norm(shown(PLANTED) - places, axis=1).min() > 5e-3
    assert np.linalg.norm(shown(found) - shown(PLANTED), axis=1).max() < 1.5e-3
    assert found["table.height_m"] == pytest.approx(PLANTED["table.height_m"], abs=1.5e-3)
    assert found["camera.cloud_turn_rad"] == pytest.approx(PLANTED["camera.cloud_turn_rad"], abs=5e-3)
    assert calibration.used["hand_clouds"] > 100 and calibration.used["rest_clouds"] == EPISODES
    tilt = calibration.estimates["camera.cloud_turn_rad"]
    assert tilt.identified and tilt.source.startswith("clouds")
    assert calibration.domain.episode["camera.cloud_turn_rad"] == Distribution("normal", ((0.0,), tilt.sd))


@pytest.mark.slow
def test_what_clouds_cannot_tell_is_named_and_the_twins_own_stays(
    calibration: Calibration, poseless: Calibration
) -> None:
    torque = {"hand.torque_limit_nm": "shows in contact only; its prior"}
    assert calibration.not_estimated == torque
    assert poseless.not_estimated == torque | {
        "camera.position_jitter_m": "needs poses of objects; as in twin",
        "camera.rotation_jitter_rad": "needs poses of objects; as in twin",
    }
    assert poseless.used.keys() == {"free_motion_fitted", "free_motion", "hand_clouds", "rest_clouds"}
    assert poseless.domain.episode["camera.position_jitter_m"] == twin().episode["camera.position_jitter_m"]
    assert poseless.estimates["table.height_m"].source.startswith("clouds")
    assert parse(Estimates, poseless.summary(), "summary").not_estimated == poseless.not_estimated
    for name in ("hand.joint_bias_rad", "robot.lag_s"):  # free motion is free motion
        assert poseless.estimates[name].value == pytest.approx(calibration.estimates[name].value, abs=1e-3)


@pytest.mark.slow
def test_without_clouds_of_the_hand_the_cameras_place_has_its_prior(recorded: Path) -> None:
    config = CalibrateConfig(fit_episodes=2, max_frames=8, timestep_s=1 / 60, threads=1)
    known = replace(twin(), robot={"table.height_m": Distribution("constant", ((0.004,),))})
    found = calibrate(without(load_dataset(recorded), "object_pose", "hand_cloud"), TASK, known, config)
    place = "needs clouds of the hand, or poses of objects"
    assert found.not_estimated["camera.yaw_bias_rad"] == f"{place}; its prior"
    assert found.not_estimated["table.height_m"] == f"{place}; as in twin"
    shift = found.estimates["camera.position_bias_m"]
    # A prior of 5 mm, with its floor of 1.5 mm.
    assert shift.value == (0, 0, 0) and shift.sd == pytest.approx((np.hypot(0.005, 0.0015),) * 3)
    assert shift.source == "prior" and not shift.identified
    assert found.domain.episode["camera.position_bias_m"] == Distribution("normal", ((0.0,), shift.sd))
    assert found.domain.robot["table.height_m"] == known.robot["table.height_m"]
