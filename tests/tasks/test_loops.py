"""The debug recipe of tasks with one object and with two, through the whole loop."""

from __future__ import annotations

from pathlib import Path

import mujoco  # noqa: F401  reads MUJOCO_GL when it is imported, and refuses what the test sets
import pytest

from score_rl.cli import main as cli
from score_rl.evaluation.run import read_evaluation


@pytest.mark.slow
@pytest.mark.parametrize("task", ["grasp_cup", "pick_card"])
def test_the_loop_in_small(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "none_such")  # pictures are another test's
    out = tmp_path / "demo"
    assert cli.main(["--task", task, "--recipe", "debug", "demo", "--out", str(out)]) == 0
    records = {record["policy"]: record for record in read_evaluation(out / "evaluation" / "proxy")}
    assert list(records) == ["base", "base_z0", "score_stoch", "score_det"]
    assert {record["task"] for record in records.values()} == {task}
