import dataclasses
import json
import sys

import pytest

from score_rl.core import process
from score_rl.core.errors import ScoreError
from score_rl.core.process import git_commit
from score_rl.core.run_record import read_run
from score_rl.core.runs import start_run


@dataclasses.dataclass(frozen=True)
class Network:
    width: int = 64


@dataclasses.dataclass(frozen=True)
class Config:
    steps: int = 10
    network: Network = Network()


SEEDS = {"training": 3}


def test_a_run_directory_says_where_its_numbers_come_from(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/score", "pretrain", "--name", "two words"])
    run = start_run(tmp_path / "run", "pretrain", Config(), SEEDS)
    run.log({"loss": 0.5})
    run.finish({"loss": 0.5})
    record, config = read_run(tmp_path / "run")
    assert config == {"steps": 10, "network": {"width": 64}}
    assert record.command == "score pretrain --name 'two words'"
    assert (record.stage, record.status, record.seeds) == ("pretrain", "finished", SEEDS)
    assert record.versions["torch"] and record.machine["cores"] >= 1 and record.torch_threads >= 1
    assert record.summary == {"loss": 0.5} and record.wall_s >= 0
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == '{"loss": 0.5}\n'


def test_an_unfinished_run_is_resumed_and_its_log_rewound(tmp_path):
    run = start_run(tmp_path / "run", "pretrain", Config(), SEEDS)
    assert not run.resumed
    for step in range(5):
        run.log({"step": step})
    again = start_run(tmp_path / "run", "pretrain", Config(), SEEDS)
    assert again.resumed and not again.finished
    again.rewind(3, wall_s=100.0)
    again.log({"step": 3})
    assert [record["step"] for record in again.metrics.read()] == [0, 1, 2, 3]
    assert 100.0 <= again.wall_s < 110.0
    again.finish()
    assert len(read_run(tmp_path / "run")[0].resumed) == 1


def test_a_finished_run_is_reused(tmp_path):
    start_run(tmp_path / "run", "pretrain", Config(), SEEDS).finish({"success": 0.9})
    before = (tmp_path / "run" / "run.json").read_bytes()
    again = start_run(tmp_path / "run", "pretrain", Config(), SEEDS)
    assert again.finished and again.summary == {"success": 0.9}
    assert (tmp_path / "run" / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("stage", "config", "seeds", "difference"),
    [
        ("pretrain", Config(network=Network(width=32)), SEEDS, "config.network.width: 64 -> 32"),
        ("pretrain", Config(), {"training": 4}, "seeds.training: 3 -> 4"),
        ("steer", Config(), SEEDS, "stage: pretrain -> steer"),
    ],
)
def test_another_run_is_never_overwritten_unasked(tmp_path, stage, config, seeds, difference):
    run = start_run(tmp_path / "run", "pretrain", Config(), SEEDS)
    run.log({"loss": 1})
    with pytest.raises(ScoreError, match="--overwrite") as error:
        start_run(tmp_path / "run", stage, config, seeds)
    assert difference in str(error.value)
    assert run.metrics.read() == [{"loss": 1}]
    fresh = start_run(tmp_path / "run", stage, config, seeds, overwrite=True)
    assert not fresh.resumed and fresh.metrics.read() == []


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(ScoreError):
            start_run(tmp_path, "pretrain", Config(), SEEDS, overwrite=overwrite)
    assert (tmp_path / "thesis.tex").exists()


def test_a_run_killed_before_its_config_was_written_is_resumed(tmp_path):
    start_run(tmp_path / "run", "pretrain", Config(), SEEDS)
    (tmp_path / "run" / "config.json").unlink()
    assert start_run(tmp_path / "run", "pretrain", Config(), SEEDS).resumed
    assert read_run(tmp_path / "run")[1]["steps"] == 10


def test_corrupt_run_json_is_a_clear_error(tmp_path):
    start_run(tmp_path / "run", "pretrain", Config(), SEEDS)
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(ScoreError, match=r"run\.json is not readable"):
        start_run(tmp_path / "run", "pretrain", Config(), SEEDS)


def test_config_must_be_a_dataclass_instance(tmp_path):
    for config in ({"steps": 1}, Config):
        with pytest.raises(TypeError, match="dataclass"):
            start_run(tmp_path / "run", "pretrain", config, SEEDS)


def test_commit_is_unknown_outside_a_repository(monkeypatch):
    assert git_commit() == "unknown" or len(git_commit().removesuffix("-dirty")) == 40
    monkeypatch.setattr(process, "__file__", "/runs.py")
    assert git_commit() == "unknown"


def test_listeners_see_every_record(tmp_path):
    run = start_run(tmp_path / "run", "pretrain", Config(), SEEDS)
    seen = []
    run.log({"loss": 2})
    run.add_listener(lambda index, record: seen.append((index, dict(record))))
    run.log({"loss": 1})
    assert seen == [(1, {"loss": 1})]


def test_metrics_are_valid_json_even_with_nan(tmp_path):
    run = start_run(tmp_path / "run", "pretrain", Config(), SEEDS)
    run.log({"loss": float("nan")})
    assert json.loads(run.path("metrics.jsonl").read_text()) == {"loss": None}
