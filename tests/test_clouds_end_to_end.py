"""Point clouds through every stage: demonstrations, base policy, calibration, steering, evaluation, bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from score_rl.cli.common import show_result
from score_rl.core.clouds import CLOUD, CLOUD_SEEN, HAND_CLOUD, CloudConfig, cloud_views
from score_rl.core.runs import start_run
from score_rl.data.dataset import load_dataset
from score_rl.data.layout import OBSERVATION
from score_rl.data.writer import DatasetWriter
from score_rl.deploy.bundle.bundle import load_bundle
from score_rl.evaluation.evaluate import evaluate
from score_rl.pipeline import deployment, stages
from score_rl.policies.flow.networks import NetworkConfig
from score_rl.policies.flow.policy import FlowConfig, load_policy
from score_rl.policies.flow.train import pretrain
from score_rl.real2sim.calibrate import POSE_JITTER
from score_rl.report.calibration_section import calibration_section
from score_rl.sim.world import make_world
from score_rl.steering.policy import BaseDecider
from score_rl.tasks.people import collect as people
from score_rl.tasks.people.habits import careful
from score_rl.tasks.recipe import Recipe, get_recipe

VIEWS = cloud_views(CloudConfig(16, hand=True, hand_points=8), 1)


def small() -> Recipe:
    """The debug recipe with clouds, smaller still."""
    recipe = get_recipe("pinch_cube", "debug", "cloud")
    training = recipe.pretrain.training
    policy = replace(training.policy, network=NetworkConfig(widths=(16,)), flow=FlowConfig(steps=1, width=0.03))
    return replace(
        recipe,
        pretrain=replace(recipe.pretrain, training=replace(training, policy=policy, steps=10, held_out_fraction=0.5)),
        steer=replace(recipe.steer, control_steps=(64,), num_envs=2),
    )


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two demonstrations in the twin."""
    root = tmp_path_factory.mktemp("clouds") / "dataset"
    world = make_world("pinch_cube", "twin", 2, threads=1, views=VIEWS)
    writer = DatasetWriter(root, 10, people.features(world), world.robot.name)
    for shown in people.demonstrate(world, careful(), [0, 1]):
        assert shown.frames[f"observation.{CLOUD}"].shape[1:] == (16, 3)
        assert shown.frames[f"observation.{HAND_CLOUD}"].shape[1:] == (8, 3)
        writer.add_episode(shown.frames, world.task.description, shown.extra)
    writer.finalize()
    return root


@pytest.mark.slow
def test_clouds_go_through_every_stage(recorded: Path, tmp_path: Path) -> None:
    recipe = small()
    pretrained = stages.pretrain(recipe.pretrain, recorded, tmp_path / "base")
    base = load_policy(pretrained.directory)
    shapes = {key: array.shape for key, array in base.spec.interface.views.items()}
    assert shapes == {CLOUD: (16, 3), CLOUD_SEEN: (2,)}
    learner = replace(recipe.steer.learner, decisions=4, execute_steps=4)
    base_folder = pretrained.directory
    steered = stages.steer(replace(recipe.steer, learner=learner), base_folder, tmp_path / "steering")
    amount = replace(recipe.evaluate, evaluation=replace(recipe.evaluate.evaluation, episodes=2, num_envs=2))
    done = stages.evaluate(amount, base_folder, tmp_path / "evaluation", steering=steered.directory)
    assert {record["policy"] for record in done.records} >= {"base", "base_z0", "score_det"}
    packed = tmp_path / "bundle"
    deployment.bundle(base_folder, packed, task="pinch_cube", world="twin", steering=steered.directory)
    spec = load_bundle(packed).spec
    assert spec.interface.views[CLOUD].frame == "base" and spec.interface.views[CLOUD].unit == "m"


def test_what_is_seen_decides(recorded: Path, tmp_path: Path) -> None:
    training = small().pretrain.training
    base = pretrain(load_dataset(recorded), training, start_run(tmp_path / "base", "pretrain", training, {}))
    world = make_world("pinch_cube", "twin", 2, threads=1, views=base.spec.interface.views)
    played = evaluate(world, BaseDecider(base), [5, 6], 8, traced=1)
    assert len(played.episodes) == 2 and f"observation.{CLOUD}" not in played.trace


@pytest.mark.slow
def test_a_robot_without_poses_goes_through_every_stage(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = load_dataset(recorded)
    features = {name: array for name, array in shown.features.items() if name != f"{OBSERVATION}object_pose"}
    assert len(features) == len(shown.features) - 1
    writer = DatasetWriter(tmp_path / "dataset", 10, features, shown.robot_type)
    for index in range(shown.num_episodes):
        frames = {name: column for name, column in shown.episode(index).items() if name in features}
        writer.add_episode(frames, shown.tasks[index], {})
    writer.finalize()
    recipe, dataset = small(), tmp_path / "dataset"
    base = stages.pretrain(recipe.pretrain, dataset, tmp_path / "base").directory
    fit = replace(recipe.calibrate.fit, fit_episodes=1, max_frames=8, timestep_s=1 / 60, threads=1)
    settings = replace(recipe.calibrate, fit=fit, camera="proxy")
    calibrated = stages.calibrate(settings, dataset, tmp_path / "calibration")
    assert set(calibrated.not_estimated) == {"hand.torque_limit_nm", *POSE_JITTER}
    assert stages.calibrate(settings, dataset, tmp_path / "calibration").not_estimated == calibrated.not_estimated
    show_result(calibrated)
    assert "not estimated: camera.position_jitter_m (needs poses of objects; as in twin)" in capsys.readouterr().err
    assert "camera.rotation_jitter_rad</code> (needs poses" in calibration_section(calibrated.directory)
    learner = replace(recipe.steer.learner, decisions=4, execute_steps=4)
    worlds = (str(calibrated.twin),)
    steered = stages.steer(replace(recipe.steer, learner=learner, worlds=worlds), base, tmp_path / "steering")
    assert steered.summary["control_steps"] >= 64
