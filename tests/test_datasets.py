"""`score check`, `score repair` and several datasets, as commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from door import DATA, EPISODES, as_version21, write

from score_rl.cli import main as cli
from score_rl.core.records import read_json
from score_rl.pipeline import datasets
from score_rl.policies.flow.policy import load_provenance

KEYS = ("--training.policy.representation.keys", "state")


def said(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """(tables, lines) with single spaces."""
    out, err = capsys.readouterr()
    return " ".join(out.split()), " ".join(err.split())


def spiked(episode: int, frames: dict[str, np.ndarray]) -> None:
    if episode == 1:
        frames["action"][7, 0] = 50.0


def test_check_says_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, page = write(tmp_path / "d", change=spiked), tmp_path / "page.html"
    assert cli.main(["check", str(root), "--out", str(page)]) == 0
    table, lines = said(capsys)
    assert "3 episodes of 40 to 60 frames (median 50) at 10 Hz, 150 frames; nothing says which succeed" in lines
    assert "warning: a spike: 50 in 'action' (entry 0, episode 1, frame 7)" in lines
    assert "--training.policy.representation.keys state" in lines and "--learner.latent.modes" in lines
    assert "observation.state 2 -1 0.9996" in table
    text = page.read_text()
    assert text.count("<svg") == 3 and "a spike: 50 in" in text
    assert cli.main(["check", str(root), "--out", str(page)]) == 2
    assert "pass --overwrite" in said(capsys)[1]


def test_repair_is_offered_for_the_dataset_that_needs_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, torn = write(tmp_path / "a"), write(tmp_path / "b")
    (torn / EPISODES).write_bytes((torn / EPISODES).read_bytes()[:100])
    for words, offered in (((whole, torn), f"`score repair {torn} --out NEW`"), (("nowhere",), None), ((), None)):
        assert cli.main(["check", *map(str, words)]) == 2
        line = said(capsys)[1]
        assert offered in line if offered else "score repair" not in line and line.startswith("error: no")


def test_check_counts_successes(tmp_path: Path) -> None:
    checked = datasets.check(write(tmp_path / "d"))
    assert checked.success is None and list(checked.entries) == ["observation.state", "action"]
    dataset = checked.dataset
    label = np.zeros((dataset.num_frames, 1), bool)
    label[[10, 149]] = True
    dataset.columns["next.success"] = label
    assert datasets._success(dataset).tolist() == [True, False, True]


def test_a_torn_recording_is_repaired_as_check_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = as_version21(write(tmp_path / "d"))
    torn = root / "data" / "chunk-000" / "episode_000002.parquet"
    torn.write_bytes(torn.read_bytes()[:100])
    assert cli.main(["check", str(root)]) == 2
    assert f"`score repair {root} --out NEW`" in said(capsys)[1]
    assert cli.main(["repair", str(root), "--out", str(tmp_path / "new")]) == 0
    lines = said(capsys)[1]
    assert "2 whole episodes, 90 frames" in lines and "episode_000002.parquet is corrupt" in lines
    assert cli.main(["check", str(tmp_path / "new")]) == 0
    assert (tmp_path / "new" / DATA).exists()


def test_several_datasets_train_one_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roots = [str(write(tmp_path / "a", change=spiked)), str(as_version21(write(tmp_path / "b")))]
    out = tmp_path / "base"
    command = ["--recipe", "debug", "pretrain", "--dataset", *roots, *KEYS, "--out", str(out)]
    assert cli.main(command) == 0
    lines = said(capsys)[1]
    assert "warning: a spike: 50 in 'action' (entry 0, episode 1, frame 7)" in lines
    assert "options that the demonstrations suggest" in lines
    assert load_provenance(out)["dataset"]["episodes"] == 6
    record = read_json(out / "run.json")
    assert "a spike: 50 in 'action' (entry 0, episode 1, frame 7)" in record["summary"]["warnings"]
    assert set(read_json(out / "config.json")["inputs"]) == {"dataset", "dataset 2"}
    assert cli.main(command) == 0 and "reusing" in said(capsys)[1]


def test_a_sentinel_is_refused_before_a_run_exists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def change(episode: int, frames: dict[str, np.ndarray]) -> None:
        if episode == 2:
            frames["observation.state"][3, 1] = 3.4e38

    root = str(write(tmp_path / "d", change=change))
    for command in (["check", root], ["pretrain", "--dataset", root, *KEYS, "--out", str(tmp_path / "base")]):
        assert cli.main(command) == 2
        assert "3.4e+38 in 'observation.state' (entry 1, episode 2, frame 3)" in said(capsys)[1]
    assert not (tmp_path / "base").exists()
