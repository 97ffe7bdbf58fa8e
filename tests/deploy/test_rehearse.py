"""Rehearsal, run and example with a whole bundle: small, untrained, and calm enough for the guard to pass."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import policy_spec

from score_rl.cli import main as cli
from score_rl.cli.run import parse_options
from score_rl.core.clouds import CloudConfig, cloud_views
from score_rl.core.errors import ScoreError
from score_rl.core.records import read_json, read_json_lines
from score_rl.data.dataset import load_dataset
from score_rl.deploy.bundle.bundle import create_bundle, load_bundle
from score_rl.deploy.bundle.spec import franka_leap_limits
from score_rl.deploy.drivers.proxy import Faults, ProxyRobot, RobotProcessConfig, robot_for, robot_status, spawn_robot
from score_rl.deploy.runtime.control_loop import RunConfig
from score_rl.pipeline.rehearsal import RehearseSettings, rehearse
from score_rl.policies.flow.networks import NetworkConfig
from score_rl.policies.flow.policy import ConditionalFlow, FlowConfig, PolicyConfig, save_policy
from score_rl.policies.flow.representation import Representation, RepresentationConfig
from score_rl.robots.franka_leap.robot import FRANKA_LEAP

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "deploy.py"
SHORT_RAD = 0.02
"""Actions of about this much per control step."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(tmp_path_factory.mktemp("bundle"), {"state": 23, "command": 23, "object_pose": 7})


def packed(folder: Path, keys: dict[str, int], clouds: CloudConfig | None = None) -> Path:
    """The bundle of a base policy that moves a little, and looks at a cube's clouds where they are given."""
    views = {} if clouds is None else cloud_views(clouds, 1)
    encoders = {"cloud": "pointnet", "cloud_seen": "raw"} if views else {}
    config = RepresentationConfig(
        tuple(keys), views=tuple(views), encoders=encoders, history=2, horizon=6, action="delta"
    )
    spec = policy_spec(keys, FRANKA_LEAP.joint_names, 2, 6)
    spec = replace(spec, interface=replace(spec.interface, views=views))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        flow = FlowConfig(width=None, steps=1)
        representation = Representation(spec, config)
        policy = ConditionalFlow(spec, PolicyConfig(config, NetworkConfig(widths=(16,)), flow), representation)
        for parameter in policy.network.head.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    representation.actions.scale.fill_(SHORT_RAD)
    save_policy(folder / "base", policy.requires_grad_(False).eval(), {})
    create_bundle(
        folder / "bundle", folder / "base", None, franka_leap_limits(views=views), "pinch_cube", execute_steps=4
    )
    return folder / "bundle"


def test_deployment_costs_nothing(bundle: Path, tmp_path: Path) -> None:
    """Without faults, and with all the time in the world, every command of every episode is the evaluation's."""
    settings = RehearseSettings(world="twin", episodes=2, first_seed=5, speed=0.0)
    result = rehearse(bundle, settings, tmp_path / "out").summary
    assert result["identical_episodes"] == result["n"] == 2
    assert (result["difference"], result["missed_deadlines"], list(result["guard"])) == (0.0, 0, ["pass"])
    assert result["in_process_successes"] == result["deployed_successes"]
    stored = read_json(tmp_path / "out" / "rehearsal.json")
    assert stored["control_steps"] == load_dataset(tmp_path / "out" / "recording" / "dataset").num_frames
    assert rehearse(bundle, settings, tmp_path / "out").summary == stored  # done already: reused
    assert [r["event"] for r in read_json_lines(tmp_path / "out" / "events.jsonl")].count("episode") == 2


def test_faults_show(bundle: Path, tmp_path: Path) -> None:
    """Lost commands are noticed, held for, and counted."""
    short = RunConfig(time_limit_s=4.0)
    settings = RehearseSettings("twin", episodes=1, speed=3.0, faults=Faults(drop_commands=0.3), runtime=short)
    result = rehearse(bundle, settings, tmp_path / "out").summary
    assert 1 <= result["unconfirmed_commands"] <= 40
    assert result["identical_episodes"] == 0


def test_a_connection_that_breaks_is_an_error(bundle: Path, tmp_path: Path) -> None:
    settings = RehearseSettings(world="twin", episodes=3, speed=0.0, faults=Faults(disconnect=0.05))
    with pytest.raises(ScoreError, match="of 3 episodes were run"):
        rehearse(bundle, settings, tmp_path / "out")
    assert load_dataset(tmp_path / "out" / "recording" / "dataset").extra["ended"][-1] == "robot_lost"


def test_run_records_what_it_does(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address = tmp_path / "robot.sock"
    process = spawn_robot(RobotProcessConfig(world="twin", address=address, speed=0.0))
    arguments = ["run", str(bundle), "--options", f"address={address}", "--out", str(tmp_path / "out")]
    assert cli.main([*arguments, "--episodes", "2", "--time-limit-s", "2.5"]) == 0
    assert "time_limit, 2" in " ".join(capsys.readouterr().err.split())
    dataset = load_dataset(tmp_path / "out" / "dataset")
    assert dataset.extra["ended"].tolist() == ["time_limit"] * 2
    assert dataset.lengths.min() >= 25
    np.testing.assert_array_equal(dataset.episode(0)["action"][:25], dataset.episode(0)["policy_action"][:25])
    report = read_json(tmp_path / "out" / "report.json")
    assert [episode["seed"] for episode in report["episodes"]] == [0, 1]
    assert cli.main(arguments) == 2  # nothing recorded is ever replaced
    assert "finished recording" in capsys.readouterr().err
    # A robot that dies is an error that says so, and the recording is whole.
    with ProxyRobot(address):
        process.kill()
        process.wait()
    assert cli.main(["run", str(bundle), "--options", f"address={address}", "connect_s=0.2"]) == 2
    assert "no robot answers" in capsys.readouterr().err


def test_ctrl_c_brakes_and_closes_the_recording(bundle: Path, tmp_path: Path) -> None:
    address, out = tmp_path / "robot.sock", tmp_path / "out"
    process = spawn_robot(RobotProcessConfig(world="twin", address=address, speed=0.0))

    def interrupt() -> None:
        while not (journal := out / "journal" / "steps.bin").exists() or not journal.stat().st_size:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        options = ["--options", f"address={address}", "--out", str(out), "--episodes", "99"]
        assert cli.main(["run", str(bundle), *options]) == 0
        status = robot_status(address)
    finally:
        process.kill()
        process.wait()
    assert signal.getsignal(signal.SIGINT) is before
    assert (status["state"], status["resting"]) == ("stopped", True)
    assert load_dataset(out / "dataset").extra["ended"][-1] == "interrupted"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "BUNDLE", "--robot", "proxi"], "did you mean 'proxy'"),
        (["run", "BUNDLE", "--options", "address"], "must look like NAME=VALUE"),
        (["run", "nowhere"], "nowhere"),
        (["run", "BUNDLE", "--episodes", "0"], "episodes is 0, expected >= 1"),
        (["rehearse", "BUNDLE", "--world", "proxi"], "unknown world 'proxi'"),
        (["rehearse", "BUNDLE", "--episodes", "0"], "episodes is 0, expected >= 1"),
        (["rehearse", "BUNDLE", "--speed", "-1"], "speed is -1.0, expected 0 to 1000"),
        (["rehearse", "BUNDLE", "--speed", "nan"], "speed is nan"),
        (["rehearse", "BUNDLE", "--faults.delay-s", "inf"], "faults.delay_s is inf"),
        (["rehearse", "BUNDLE", "--runtime.time-limit-s", "nan"], "time_limit_s is nan"),
        (["run", "BUNDLE", "--time-limit-s", "nan"], "time_limit_s is nan"),
        (["run", "BUNDLE", "--options", "address=x.sock", "connect_s=abc"], "connect_s is 'abc'"),
        (["run", "BUNDLE", "--out", "BUNDLE"], "is the bundle"),
        (["run", "BUNDLE", "--out", "BUNDLE/recording"], "lies in the bundle"),
        (["rehearse", "BUNDLE", "--out", "BUNDLE/base"], "lies in the bundle"),
        (["robot", "--task", "pinch"], "did you mean 'pinch_cube'"),
        (["robot", "--world", "twin", "--speed", "inf"], "speed is inf"),
        (["robot", "--world", "twin", "--address", "x" * 200], "a Unix socket's may have"),
    ],
)
def test_errors_come_first(
    arguments: list[str], message: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert cli.main([word.replace("BUNDLE", str(bundle)) for word in arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_options() -> None:
    assert parse_options(["a=1", "b=x=y"]) == {"a": "1", "b": "x=y"}


def test_the_example_is_short_and_runs(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 40
    runpy.run_path(str(EXAMPLE))["main"](str(bundle), str(tmp_path / "out"), speed=0.0)
    assert capsys.readouterr().out.count("steps {'pass':") == 3
    assert load_dataset(tmp_path / "out" / "dataset").num_episodes == 3


def test_the_examples_robot_shows_what_is_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = {"state": 23, "command": 23, "palm_pose": 7}
    looking = packed(tmp_path, keys, CloudConfig(points=16))
    runpy.run_path(str(EXAMPLE))["main"](str(looking), str(tmp_path / "out"), speed=0.0)
    assert capsys.readouterr().out.count("steps {'pass':") == 3
    unknown = replace(load_bundle(looking).spec, task="pinch_cub")
    with pytest.raises(ScoreError, match="did you mean 'pinch_cube'"):
        robot_for(unknown)


def test_the_client_needs_neither_simulator_nor_torch() -> None:
    """What the robot's computer must import to reach the simulated robot."""
    check = "import sys, score_rl.deploy.drivers.proxy; assert not {'torch', 'mujoco'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
