"""What a newcomer writes stays short, and is read as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from score_rl.cli.main import parse

SCRIPTS = sorted(
    path for path in (Path(__file__).parents[1] / "benchmarks" / "newcomer").glob("*.py") if path.stem != "measure"
)
STEERING = [path for path in SCRIPTS if "score_rl.cli.main" in path.read_text()]
FEWER_LINES_THAN = 40


def test_five_scripts_steer() -> None:
    assert len(STEERING) >= 5


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_it_is_short_and_compiles(script: Path) -> None:
    text = script.read_text()
    assert len(text.splitlines()) < FEWER_LINES_THAN
    compile(text, script.name, "exec")


@pytest.mark.parametrize("script", STEERING, ids=lambda path: path.stem)
def test_its_commands_are_the_command_lines(script: Path) -> None:
    """As they stand, with its own constants in their places."""
    lines = [line.strip() for line in script.read_text().splitlines()]
    constants = {line.split(" = ")[0]: line.split(' = "')[1][:-1] for line in lines if ' = "--' in line}
    constants["uri"] = "openpi://127.0.0.1:8000"
    commands = [
        line.removeprefix("f").strip('",')
        for line in lines
        if line.lstrip('f"').startswith(("pretrain", "steer", "evaluate"))
    ]
    assert {command.split()[0] for command in commands} >= {"steer", "evaluate"}
    for command in commands:
        parse(f"--task generic {command.format(**constants)}".split())
