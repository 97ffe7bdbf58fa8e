"""The command line: help, errors before any work, and the whole loop in small."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from score_rl.cli import main as cli
from score_rl.cli.collect import Collect
from score_rl.cli.steer import Steer
from score_rl.contracts import ArraySpec
from score_rl.core.errors import ScoreError
from score_rl.core.locks import command_line
from score_rl.data.writer import DatasetWriter
from score_rl.evaluation.run import read_evaluation
from score_rl.pipeline.inputs import content_hash
from score_rl.pipeline.stages import evaluate
from score_rl.tasks.recipe import get_recipe, recipe_names, task_names

SECOND_OBJECTS = {"pick_card": "block_pose", "place_dishrack": "rack_pose", "pour_ball": "large_cup_pose"}
"""Of tasks whose policies see the pose of a second object, where they see poses."""
SCENES = ("pinch_cube", "grasp_bottle", "push_ball", "grasp_cup", "screw_lightbulb", *SECOND_OBJECTS)
"""Tasks of this package that have a scene of their own."""
FEATURES = ("observation.state", "action")
COMMANDS = (
    "tasks",
    "check",
    "repair",
    "collect",
    "pretrain",
    "calibrate",
    "steer",
    "evaluate",
    "support",
    "report",
    "demo",
    "audit",
    "benchmark",
    "bundle",
    "info",
    "export",
    "serve",
    "robot",
    "run",
    "rehearse",
    "doctor",
)


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command that must fail says."""
    assert cli.main(list(arguments)) == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return " ".join(message.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_every_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert f"score {command}" in text and len(text.split()) > 20


@pytest.mark.parametrize(
    "program", ["/usr/local/bin/score", "/lib/score_rl/cli/__main__.py", "/lib/score_rl/cli/main.py", "-c"]
)
def test_however_it_was_started_a_command_is_recorded_as_score(program, monkeypatch):
    recorded = []

    def parse(words):
        recorded.append((list(words), command_line()))
        raise ScoreError("far enough")

    monkeypatch.setattr(cli, "parse", parse)
    monkeypatch.setattr(sys, "argv", [program, "info", "two words"])
    assert cli.main() == 2
    assert recorded == [(["info", "two words"], "score info 'two words'")]


def test_recipes_set_the_defaults() -> None:
    door = cli.parse(["steer", "--task", "adroit_door"])
    assert isinstance(door, Steer) and door.settings == get_recipe("adroit_door").steer
    cube = cli.parse(["collect", "--robot-seed", "7", "--recipe=debug"])
    assert isinstance(cube, Collect) and cube.settings.robot_seed == 7
    assert cube.settings.demonstrations == get_recipe("pinch_cube", "debug").collect.demonstrations


def test_a_task_alone_selects_scene_demonstrator_and_settings() -> None:
    """The bottle's contact distance, and not the cube's, whatever order the options have."""
    for arguments in (["calibrate", "--task", "grasp_bottle"], ["--task=grasp_bottle", "calibrate"]):
        settings = cli.parse(arguments).settings
        assert (settings.task, settings.fit.object_distance_m) == ("grasp_bottle", 0.12)
    assert cli.parse(["calibrate"]).settings.fit.object_distance_m != 0.12
    small = cli.parse(["--recipe", "debug", "steer", "--task", "push_ball", "--num-envs", "3"]).settings
    assert (small.task, small.num_envs, small.control_steps) == ("push_ball", 3, (2000,))
    assert small.learner.ppo == get_recipe("push_ball").steer.learner.ppo


def test_a_world_that_is_no_domain_has_the_generic_defaults() -> None:
    for world in ("gymnasium:FetchPush-v4?success=is_success", "toys:ToyWorld"):
        for arguments in (["evaluate", "--world", world], ["evaluate", f"--world={world}"]):
            assert cli.parse(arguments).settings.task == "generic"
        steer = cli.parse(["steer", "--worlds", world]).settings
        assert (steer.task, steer.worlds, steer.learner) == ("generic", (world,), get_recipe("generic").steer.learner)
    assert cli.parse(["evaluate", "--world", "adroit_door"]).settings.task == "adroit_door"
    assert cli.parse(["evaluate", "--world", "twin"]).settings.task == "pinch_cube"
    assert cli.parse(["evaluate", "--world", "toys:ToyWorld", "--task", "push_ball"]).settings.task == "push_ball"


@pytest.mark.parametrize("task", task_names())
def test_every_task_has_a_full_and_a_debug_recipe(task: str) -> None:
    assert recipe_names(task)[:2] == ("full", "debug")
    full, debug = (get_recipe(task, name) for name in ("full", "debug"))
    assert {full.task, debug.task, debug.collect.task, debug.calibrate.task, debug.evaluate.task} == {task}
    assert sum(debug.steer.control_steps) < sum(full.steer.control_steps)


def test_help_shows_the_defaults_of_the_task(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["calibrate", "--help", "--task", "grasp_bottle"])
    text = " ".join(capsys.readouterr().out.split())
    assert "Defaults are those of --task grasp_bottle --recipe full" in text
    assert "(default: grasp_bottle)" in text and "(default: 0.12)" in text


def test_tasks_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tasks"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("pinch_cube", "adroit_door", "twin", "proxy", "debug"))


@pytest.mark.slow
def test_doctor_says_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("Python", "mujoco 4.0.0", "cores", "GB free", "OpenGL"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["collct"], "unknown command 'collct'; did you mean 'collect'?"),
        (["--recipe", "debg", "collect"], "unknown recipe of pinch_cube 'debg'; did you mean 'debug'?"),
        (["--recipe", "push_ball", "collect"], "that is a task, --task push_ball selects it"),
        (["collect", "--task"], "--task needs a name"),
        (["info", "--task", "push_ball"], "score info is the same for every task: it takes no --task"),
        (["collect", "--task", "adroit_door"], "unknown task with a demonstrator 'adroit_door'"),
        (["collect", "--task", "pinch"], "'pinch'; did you mean 'pinch_cube'?"),
        (["collect", "--world", "prxy"], "unknown world 'prxy'; did you mean 'proxy'?"),
        (["collect", "--world", "nowhere.toml"], "domain file nowhere.toml does not exist"),
        (["collect", "--num-envs", "0"], "num_envs is 0, expected 1 to 1000000"),
        (["pretrain", "--dataset", "nowhere"], "nowhere does not exist"),
        (["calibrate", "--dataset", "nowhere"], "nowhere does not exist"),
        (["steer", "--policy", "nowhere"], "nowhere/policy.json does not exist"),
        (["steer", "--control-steps", "1", "2"], "one budget per world"),
        (["steer", "--method", "residul"], "unknown method 'residul'; did you mean 'residual'?"),
        (["evaluate", "--policy", "nowhere"], "nowhere/policy.json does not exist"),
        (["--task", "adroit_door", "evaluate", "--world", "proxy"], "which has no scene of its own: 'proxy'"),
        (["evaluate", "--world", "adroit_dor"], "did you mean 'adroit_door'?"),
        (["evaluate", "--world", "adroit_door?time=3"], "did you mean 'time_limit'?"),
        (["evaluate", "--world", "no_such_module:make"], "No module named 'no_such_module'"),
        (["--task", "adroit_door", "demo"], "needs demonstrations from elsewhere"),
        (["report"], "needs at least one evaluation"),
    ],
)
def test_bad_input_is_one_clear_message(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in failure(capsys, *arguments)
    assert not list(tmp_path.iterdir())


def test_a_bad_domain_is_refused_before_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    domain = tmp_path / "robot.toml"
    domain.write_text('[delay]\nrobot = { distribution = "constant", value = 0.02 }\n')
    message = failure(capsys, "collect", "--world", str(domain), "--out", str(tmp_path / "run"))
    assert "robot.toml" in message and "did you mean 'robot.delay_s'?" in message
    assert not (tmp_path / "run").exists()


def test_what_does_not_fit_together_is_refused_before_a_run_exists(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, out = tmp_path / "dataset", tmp_path / "run"
    writer = DatasetWriter(dataset, 20, {name: ArraySpec((2,)) for name in FEATURES}, "other")
    writer.add_episode({name: np.zeros((30, 2), np.float32) for name in FEATURES}, "task")
    writer.finalize()
    message = failure(capsys, "calibrate", "--dataset", str(dataset), "--out", str(out))
    assert "'observation.state' has shape (2,), expected (23,)" in message
    message = failure(capsys, "pretrain", "--dataset", str(dataset), "--out", str(out))
    assert "has no feature" in message and "observation.palm_pose" in message
    assert message.endswith("--training.policy.representation.keys state")
    keys = ("--training.policy.representation.keys", "state")
    message = failure(capsys, "--task", "pinch_cube", "pretrain", "--dataset", str(dataset), "--out", str(out), *keys)
    assert message.endswith("keys state, or see poses in place of clouds: --observation pose")
    assert not out.exists()


def test_a_report_is_not_replaced_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.html"
    report.write_text("mine")
    assert "is no report that score wrote" in failure(capsys, "report", "--evaluations", "x", "--out", str(report))
    assert report.read_text() == "mine"


def test_content_hash_sees_results_and_not_logs(tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text("{}")
    before = content_hash(tmp_path)
    (tmp_path / "metrics.jsonl").write_text("{}")
    (tmp_path / "run.json").write_text("{}")
    assert content_hash(tmp_path) == before
    (tmp_path / "policy.json").write_text("[]")
    assert content_hash(tmp_path) != before


def a_rival_on_what_the_demo_left(demo: Path, out: Path) -> None:
    """Another method learns from and is compared on the same files."""
    given = ["--policy", str(demo / "base")]
    learn = ["steer", "--method", "bc_regularized", "--dataset", str(demo / "demonstrations"), *given]
    assert cli.main(["--recipe", "debug", *learn, "--out", str(out / "steering")]) == 0
    compare = ["evaluate", *given, "--steering", str(out / "steering"), "--out", str(out / "evaluation")]
    assert cli.main(["--recipe", "debug", *compare]) == 0
    methods = {record["policy"]: record["method"] for record in read_evaluation(out / "evaluation")}
    rival = dict.fromkeys(["bc_regularized_stoch", "bc_regularized_det"], "bc_regularized")
    assert methods == dict.fromkeys(["base", "base_z0"], "base") | rival


@pytest.mark.slow
def test_the_whole_loop_and_its_reuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    assert cli.main(["--recipe", "debug", "demo", "--out", str(out)]) == 0
    capsys.readouterr()
    for world in ("twin", "proxy"):
        records = {record["policy"]: record for record in read_evaluation(out / "evaluation" / world)}
        assert list(records) == ["base", "base_z0", "score_stoch", "score_det"]
        assert records["score_det"]["control_steps_trained"] > 0 == records["base"]["control_steps_trained"]
        assert records["base_z0"]["latent_norm2_mean"] == 0
        assert "vs_base_mcnemar_p" in records["score_det"]
    page = (out / "report.html").read_text()
    assert "<svg" in page and not [link for link in ('src="http', 'href="http', "url(http") if link in page]
    assert json.loads((out / "steering" / "run.json").read_text())["status"] == "finished"
    stages = [path for path in out.rglob("run.json")]
    times = [path.stat().st_mtime_ns for path in stages]
    a_rival_on_what_the_demo_left(out, tmp_path / "rival")
    capsys.readouterr()
    assert cli.main(["--recipe", "debug", "demo", "--out", str(out)]) == 0
    assert capsys.readouterr().err.count("done already") == len(stages) == 7
    assert [path.stat().st_mtime_ns for path in stages] == times
    assert "another configuration" in failure(capsys, "--recipe", "debug", "demo", "--out", str(out), "--seed", "5")
    recipe = get_recipe("pinch_cube", "debug")
    found = evaluate(recipe.evaluate, out / "base", out / "evaluation/proxy", steering=out / "steering")
    assert found.reused and found.success_rate("base_z0") == records["base_z0"]["success_rate"]
    with pytest.raises(ScoreError, match="unknown evaluated policy 'score_dt'; did you mean 'score_det'"):
        found.success_rate("score_dt")


@pytest.mark.parametrize("task", SCENES)
def test_every_task_can_be_seen_as_clouds_and_as_poses(task: str) -> None:
    pose, cloud = (get_recipe(task, observation=sight) for sight in ("pose", "cloud"))
    assert get_recipe(task) == (pose if task == "pick_card" else cloud)  # by what was measured: docs/clouds.md
    shown = pose.pretrain.training.policy.representation
    assert pose.collect.observation == pose.observation == "pose" and not shown.views
    assert "object_pose" in shown.keys and SECOND_OBJECTS.get(task, "object_pose") in shown.keys
    shown = cloud.pretrain.training.policy.representation
    assert shown.keys == ("state", "command", "palm_pose", "fingertip_pos") and shown.views == ("cloud", "cloud_seen")
    assert shown.encoders == {"cloud": "pointnet", "cloud_seen": "raw"} and cloud.collect.observation == "cloud"
    assert (cloud.pretrain.training.batch_size, cloud.pretrain.training.draws) == (128, 2)
    assert (cloud.steer, cloud.calibrate, cloud.evaluate) == (pose.steer, pose.calibrate, pose.evaluate)
    collect = cli.parse(["collect", "--task", task, "--observation", "cloud"])
    assert collect.settings == cloud.collect
    assert cli.parse(["robot", "--task", task, "--observation=cloud"]).settings.observation == "cloud"


def test_encoders_are_pairs_on_the_line() -> None:
    """Whatever the recipe's are: those that are given stand in their place."""
    chosen = ("--training.policy.representation.encoders", "cloud", "pointnet_base")
    settings = cli.parse(["pretrain", *chosen]).settings
    assert settings.training.policy.representation.encoders == {"cloud": "pointnet_base"}


def test_what_cannot_be_seen_so_is_an_error() -> None:
    for arguments, said in (
        (["--observation", "clouds", "demo"], "unknown observation 'clouds'; did you mean 'cloud'"),
        (["--observation", "cloud", "--task", "generic", "steer"], "generic has no scene of its own"),
        (["--observation", "cloud", "info"], "it takes no --observation"),
    ):
        with pytest.raises(ScoreError, match=said):
            cli.parse(arguments)
