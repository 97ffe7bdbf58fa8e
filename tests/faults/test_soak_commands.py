"""The commands that the soak of interrupts gives are commands: hours are not the time to find out."""

from __future__ import annotations

from pathlib import Path

import pytest

from score_rl.cli.main import parse, validate

SOAK = Path(__file__).parents[1] / "soak"


def test_commands_of_the_interrupts_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SOAK))
    import resume

    for stage in resume.STAGES:
        words = resume.command(resume.Benchmark(), stage, Path("out"))
        given = parse(words[words.index("score_rl.cli") + 1 :])
        validate(given)
        assert type(given).__name__.lower() == stage and given.out == Path("out")
