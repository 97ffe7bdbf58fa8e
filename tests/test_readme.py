"""README's commands, run as they are written, in the sizes of `--recipe debug`."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import mujoco  # noqa: F401  reads MUJOCO_GL when it is imported, and refuses what the tests set
import pytest
from test_docs import ROOT, blocks, command_lines

from score_rl.cli import main as cli
from score_rl.policies.flow.policy import load_policy

README = ROOT / "README.md"
DOOR = ROOT.parent / "shared" / "data" / "adroit_door_human"
FACTORIES = """
from score_rl.policies.open import open_policy
from score_rl.sim.open import open_world

def policy():
    return open_policy("runs/base")

def world(num_envs):
    return open_world("twin", num_envs, "pinch_cube", views=policy().spec.interface.views)
"""
human = pytest.mark.skipif(not DOOR.exists(), reason="the human demonstrations are not here")


def inline_commands(document: Path) -> list[str]:
    """Commands of the running text that are whole lines: those with options."""
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [
        line
        for line in re.findall(r"`(score [^`]+)`", text.replace("\n  ", " "))
        if " --" in line and "COMMAND" not in line
    ]


def run(line: str, *more: str) -> None:
    """Run a command in the sizes of `debug`."""
    assert cli.main(["--recipe", "debug", *shlex.split(line, comments=True)[1:], *more]) == 0, line


def inline(start: str) -> str:
    """README's one command that starts so."""
    (line,) = [line for line in inline_commands(README) if line.startswith(start)]
    return line


def test_every_inline_command_is_run_below() -> None:
    starts = ("check PATH", "pretrain --dataset", "steer --policy", "steer --world", "collect --world", "demo --task")
    assert sorted(inline_commands(README)) == sorted(inline(f"score {start}") for start in starts)


@human
def test_demonstrations_of_somebody_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = inline("score pretrain --dataset").replace("PATH", str(DOOR))
    run(line, "--out", str(tmp_path / "base"))
    policy = load_policy(tmp_path / "base")
    assert {key: one.shape for key, one in policy.spec.interface.observation.items()} == {"state": (39,)}
    said = " ".join(capsys.readouterr().err.split())
    assert "no views, which the keys state do not serve, instead of the recipe's cloud, cloud_seen" in said
    assert 'observation "identity" instead of the recipe\'s "palm"' in said
    assert 'action "absolute" instead of the recipe\'s "relative"' in said


@human
def test_a_look_at_demonstrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(shlex.split(inline("score check").replace("PATH", str(DOOR)))[1:]) == 0
    assert "25 episodes of 223 to 300 frames (median 271) at 100 Hz, 6729 frames; 7 of 25 succeed" in " ".join(
        capsys.readouterr().err.split()
    )
    assert (tmp_path / "page.html").read_text().count("<svg") == 3


@human
def test_a_task_that_is_named_is_taken_at_its_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = ("--training.policy.representation.keys", "state")
    refused = ("--task", "pinch_cube", "pretrain", "--dataset", str(DOOR), "--out", str(tmp_path / "base"), *keys)
    assert cli.main([*refused]) == 2
    sight = ("--observation", "pose")
    assert " ".join(sight) in " ".join(capsys.readouterr().err.split())
    refused = (*sight, *refused)
    assert cli.main([*refused]) == 2
    options = ("--training.policy.representation.observation", "identity")
    assert " ".join(options) in " ".join(capsys.readouterr().err.split())
    assert cli.main([*refused, *options]) == 2
    more = ("--training.policy.representation.action", "absolute")
    assert " ".join(more) in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "base").exists()
    assert cli.main(["--recipe", "debug", *refused, *options, *more]) == 0


@human
def test_keys_that_are_not_there_are_answered_with_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pretrain", "--dataset", str(DOOR)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "Choose among them: --training.policy.representation.keys state" in said


@pytest.mark.slow
def test_the_loop_and_what_is_brought_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUJOCO_GL", "none_such")  # a machine without OpenGL must get by
    for words in command_lines(README):
        if words[0] == "score":
            run(shlex.join(words))
    (tmp_path / "my_factories.py").write_text(FACTORIES)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_robot.toml").write_text(blocks(ROOT / "docs" / "domains.md", "toml")[0])
    place = "package.module:factory"
    run(inline("score steer --policy").replace(place, "my_factories:policy"), "--out", "runs/own_policy")
    run(inline("score steer --world").replace(place, "my_factories:world"), "--out", "runs/own_world")
    run(inline("score collect --world"), "--out", "runs/own_robot")
    run(inline("score demo --task").replace("NAME", "push_ball"), "--out", "runs/own_task")


@human
@pytest.mark.slow
def test_the_quickstart_of_human_demonstrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gymnasium_robotics")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUJOCO_GL", "none_such")
    (tmp_path / "demonstrations").mkdir()
    (tmp_path / "demonstrations" / "adroit_door_human").symlink_to(DOOR)
    section = (ROOT / "docs" / "quickstart.md").read_text().split("## Human demonstrations")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("score ")]
    assert len(lines) == 4
    for line in lines:
        run(line)
    assert (tmp_path / "runs" / "door" / "report.html").exists()
