"""A robot with known errors is planted, moved about in free space, and recovered from what it observed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from recordings import record

from score_rl.core.checkpoints import load_tensors
from score_rl.core.errors import ScoreError
from score_rl.core.records import read_json
from score_rl.core.runs import start_run
from score_rl.core.seeding import rng
from score_rl.data.dataset import Dataset
from score_rl.real2sim.calibrate import (
    CalibrateConfig,
    Calibration,
    Estimate,
    calibrate,
    calibrated_domain,
    centre,
)
from score_rl.sim.domain import Distribution, Domain, Physics, load_domain
from score_rl.sim.task import get_task

TASK = get_task("pinch_cube")
CONFIG = CalibrateConfig(fit_episodes=12, timestep_s=1 / 240, threads=1)
STILL = 8
"""A joint (index_rot) whose command never changes in `still`."""


def planted() -> dict[str, np.ndarray]:
    """A robot drawn here, not by the priors."""
    generator = rng("planted")
    return {
        "arm.joint_bias_rad": generator.normal(0, 0.004, 7),
        "hand.joint_bias_rad": generator.normal(0, 0.04, 16),
        "hand.backlash_rad": generator.uniform(0.015, 0.05, 16),
        "arm.gain_scale": np.array([0.95]),
        "hand.gain_scale": np.array([1.1]),
        "robot.delay_s": np.array([0.033]),
        "robot.lag_s": np.array([0.025]),
        "hand.dry_friction_nm": np.array([0.012]),
        "camera.position_bias_m": np.array([0.0, 0.0, 0.004]),
    }


def robot() -> Domain:
    """The planted robot at the physics step of the fit."""
    twin = load_domain("twin")
    constants = {name: Distribution("constant", (tuple(value),)) for name, value in planted().items()}
    return replace(twin, robot=constants, physics=Physics(timestep_s=1 / 240))


@pytest.fixture(scope="module")
def recording() -> Dataset:
    return record(robot(), 0, episodes=18, steps=18)


@pytest.fixture(scope="module")
def calibration(recording: Dataset) -> Calibration:
    return calibrate(recording, TASK, load_domain("twin"), CONFIG)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("arm.joint_bias_rad", 3e-4),
        ("hand.joint_bias_rad", 1e-3),
        ("hand.backlash_rad", 2e-3),
        ("robot.lag_s", 2e-3),
        ("robot.delay_s", 2e-3),
        ("arm.gain_scale", 0.02),
        ("hand.gain_scale", 0.04),
        ("hand.dry_friction_nm", 2e-3),
    ],
)
def test_recovers_what_was_planted(calibration: Calibration, name: str, tolerance: float) -> None:
    estimate = calibration.estimates[name]
    np.testing.assert_allclose(estimate.value, planted()[name], atol=tolerance)
    assert estimate.identified


def test_uncertainty_covers_the_truth(calibration: Calibration) -> None:
    for name, truth in planted().items():
        estimate = calibration.estimates[name]
        assert (np.abs(np.array(estimate.value) - truth) <= 3 * np.array(estimate.sd)).all(), name


def test_sum_of_lag_and_delay(calibration: Calibration) -> None:
    total, sd = calibration.lag_plus_delay_s
    assert total == pytest.approx(0.058, abs=1e-3)
    assert sd > 0


@pytest.mark.slow
def test_held_out_replay_improves_to_the_noise(calibration: Calibration) -> None:
    replay = calibration.comparison
    assert replay.held_out
    assert replay.hand_before_rms_rad > 0.03
    assert replay.hand_after_rms_rad < 0.005
    assert replay.arm_after_rms_rad < replay.arm_before_rms_rad / 2
    assert len(replay.after_rms_rad) == 23


def test_sensor_jitter_is_measured(calibration: Calibration) -> None:
    episode = calibration.domain.episode
    assert episode["robot.joint_jitter_rad"].arguments[0][0] == pytest.approx(1e-3, rel=0.15)
    assert episode["camera.position_jitter_m"].arguments[0][0] == pytest.approx(2e-3, rel=0.25)
    assert episode["camera.rotation_jitter_rad"].arguments[0][0] == pytest.approx(0.02, rel=0.25)


def test_height_error_is_shared_between_camera_and_table(calibration: Calibration) -> None:
    camera = calibration.estimates["camera.position_bias_m"].value[2]
    table = calibration.estimates["table.height_m"].value[0]
    assert camera + table == pytest.approx(0.004, abs=1e-3)
    ratio = (TASK.parameters["camera.position_bias_m"].prior.sd / TASK.parameters["table.height_m"].prior.sd) ** 2
    assert camera / table == pytest.approx(ratio, rel=0.01)


def test_without_grasps_the_rest_of_the_camera_keeps_its_prior(calibration: Calibration) -> None:
    camera = calibration.estimates["camera.position_bias_m"]
    assert not camera.identified
    assert camera.statistical_sd[0] == pytest.approx(TASK.parameters["camera.position_bias_m"].prior.sd)


def test_calibrated_domain(calibration: Calibration) -> None:
    twin, domain = load_domain("twin"), calibration.domain
    assert domain.physics == twin.physics
    assert domain.episode["object.mass_scale"] == twin.episode["object.mass_scale"]
    offsets = calibration.estimates["hand.joint_bias_rad"]
    assert domain.robot["hand.joint_bias_rad"] == Distribution("constant", (offsets.value,))
    assert domain.episode["hand.joint_bias_rad"] == Distribution("normal", ((0.0,), offsets.sd))
    # Friction is left out, and the twin's play stands for it: 2 x 0.012 Nm / (1.1 x 3 Nm/rad) = 7.3 mrad more.
    assert "hand.dry_friction_nm" not in domain.robot
    wider = np.mean(calibration.effective["hand.backlash_rad"]) - np.mean(planted()["hand.backlash_rad"])
    assert wider == pytest.approx(0.0073, abs=0.004)


def test_width_scale() -> None:
    twin = load_domain("twin")
    estimates = {"robot.lag_s": estimate_of(0.03, 0.006)}
    domain = calibrated_domain(twin, TASK.parameters, estimates, {}, {}, width_scale=0.5)
    assert domain.episode["robot.lag_s"] == Distribution("normal", ((0.0,), (0.003,)))


def estimate_of(value: float, sd: float) -> Estimate:
    return Estimate((value,), (sd,), (sd,), True, "free motion")


@pytest.mark.slow
def test_run_directory_and_a_joint_that_never_moves(tmp_path) -> None:
    dataset = record(robot(), 0, episodes=8, steps=12, still=(STILL,))
    config = replace(CONFIG, fit_episodes=6)
    run = start_run(tmp_path / "run", "calibrate", config, {})
    found = calibrate(dataset, TASK, load_domain("twin"), config, run)
    # A joint that never moves keeps the prior of its play, and may rest anywhere in it: 30 / sqrt(12) = 8.7 mrad.
    play, offset = found.estimates["hand.backlash_rad"], found.estimates["hand.joint_bias_rad"]
    still = STILL - 7
    assert play.statistical_sd[still] > 0.9 * TASK.parameters["hand.backlash_rad"].prior.sd
    assert np.median(play.statistical_sd) < 0.1 * TASK.parameters["hand.backlash_rad"].prior.sd
    assert offset.sd[still] == pytest.approx(
        np.hypot(0.0087, TASK.parameters["hand.joint_bias_rad"].prior.floor), rel=0.1
    )
    assert run.finished
    assert load_domain(run.path("domain.toml")) == found.domain
    assert read_json(run.path("calibration.json"))["estimates"]["robot.lag_s"]["identified"]
    tensors, metadata = load_tensors(run.path("replay.safetensors"), "replay")
    assert tensors["measured"].shape == tensors["before"].shape == tensors["after"].shape
    assert tensors["valid"].shape == tensors["measured"].shape[:2]
    assert metadata["joint_names"][7] == "index_mcp"
    again = calibrate(dataset, TASK, load_domain("twin"), config)
    assert again.summary() == found.summary()  # deterministic


def test_centre_of_a_domain() -> None:
    domain = Domain(
        "x",
        robot={"robot.lag_s": Distribution("uniform", ((0.02,), (0.04,)))},
        episode={"robot.lag_s": Distribution("normal", ((0.01,), (5.0,)))},
    )
    values = centre(domain, TASK.parameters)
    assert values["robot.lag_s"] == pytest.approx(0.04)  # 0.03 + 0.01
    assert values["hand.gain_scale"] == pytest.approx(1.0)
    assert values.keys() == TASK.parameters.keys()


def changed(dataset: Dataset, feature: str, value: np.ndarray | None) -> Dataset:
    columns = dict(dataset.columns)
    if value is None:
        del columns[feature]
    else:
        columns[feature] = value
    return replace(dataset, columns=columns)


def test_bad_datasets_are_refused(recording: Dataset) -> None:
    def refused(dataset: Dataset, message: str) -> None:
        with pytest.raises(ScoreError, match=message):
            calibrate(dataset, TASK, load_domain("twin"), CONFIG)

    state = recording.columns["observation.state"]
    nan = state.copy()
    nan[5, 3] = np.nan
    refused(changed(recording, "observation.state", nan), "NaN")
    refused(changed(recording, "observation.state", state[:, :22]), r"shape \(22,\), expected \(23,\)")
    refused(changed(recording, "observation.palm_pose", None), "observation.palm_pose")
    refused(replace(recording, fps=20.0), "20 Hz")
    refused(replace(recording, derived=("observation.command",)), "really sent")
    beside = recording.columns["observation.object_pose"].copy()
    beside[:, :3] = recording.columns["observation.fingertip_pos"][:, :3]
    refused(changed(recording, "observation.object_pose", beside), "hand is free")
