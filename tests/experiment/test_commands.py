"""`score benchmark` and `score audit` from files to reports, in small and in one process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from run_records import write_run_record

from score_rl.cli import benchmark as module
from score_rl.cli import main as cli
from score_rl.evaluation.results import read_results
from score_rl.pipeline.experiment.file import load_experiment
from score_rl.pipeline.experiment.job import Twin
from score_rl.pipeline.experiment.plan import plan
from score_rl.pipeline.experiment.work import run_job, twin_file, with_stop, world_file
from score_rl.sim.domain import load_domain, save_domain
from score_rl.sim.draws import Draws
from score_rl.sim.task import get_task

PARAMETERS = get_task("pinch_cube").parameters
EXPERIMENT = """
name = "mini"
tasks = ["pinch_cube"]
recipe = "debug"
robots = [101]

[evaluation]
twin_episodes = 2
proxy_episodes = 2
num_envs = 2
stochastic = []
support = []

[[method]]
name = "score"
role = "ours"
twin_stop_n = 10.0

[[audit]]
name = "small"
methods = ["score"]
panel = { episodes = 2, joint_episodes = 2, robots = 1, sizes = [1.0], only = ["robot.delay_s", "joint"] }
"""


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(list(arguments)) == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mini.toml"
    path.write_text(EXPERIMENT)
    return path


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run in this process, by the same scheduler."""
    distributed = pytest.importorskip("distributed")

    @contextmanager
    def connected(*_: object) -> Iterator[Any]:
        cluster = {"processes": False, "n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
        with distributed.Client(**cluster, set_as_default=False) as client:
            yield client

    monkeypatch.setattr(module, "connected", connected)


@pytest.mark.slow
def test_from_a_file_to_a_report_and_an_audit(
    file: Path, tmp_path: Path, here: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert cli.main(["benchmark", str(file), "--out", str(out), "--dry-run"]) == 0
    assert "pinch_cube/robot-101/score/seed-0/steering" in capsys.readouterr().out and not out.exists()
    assert cli.main(["benchmark", str(file), "--out", str(out)]) == 0
    records = read_results(out / "result.json")
    assert [(r["policy"], r["evaluation"]) for r in records] == [
        (policy, evaluation)
        for policies in (("base", "base_z0"), ("score_det",))
        for evaluation in ("twin", "proxy", "proxy_raw")
        for policy in policies
    ]
    stops = {r["evaluation"]: r["protective_stop_n"] for r in records if r["policy"] == "score_det"}
    assert stops == {"twin": 10.0, "proxy": None, "proxy_raw": None}  # the debug recipe's verdict has no stop
    times = {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("run.json")}
    assert cli.main(["benchmark", str(file), "--out", str(out)]) == 0
    assert {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("run.json")} == times
    assert len(times) == len(plan(load_experiment(file))) == 11
    _check_audit(out)
    file.write_text(EXPERIMENT.replace("proxy_episodes = 2", "proxy_episodes = 3"))
    assert "4 jobs of another configuration" in failure(capsys, "benchmark", str(file), "--out", str(out))


def _check_audit(out: Path) -> None:
    record = json.loads((out / "runs/pinch_cube/robot-101/score/seed-0/audit-small/audit.json").read_text())
    assert record["policy"] == "score_det" and record["domain"] == "twin_calibrated"
    assert [curve["mismatch"] for curve in record["curves"]] == ["robot.delay_s", "joint"]
    assert record["nominal"]["off_support"] is not None and record["curves"][0]["cells"][0]["n"] == 2
    together = json.loads((out / "audit_small.json").read_text())
    (row,) = together["policies"]
    assert (row["variant"], row["robot_seed"], row["training_seed"]) == ("score", 101, 0) and "proxy" in row
    assert [(g["mismatch"], g["sizes"][1]["n"]) for g in together["grades"]] == [("robot.delay_s", 2), ("joint", 2)]
    assert "## Audit: small" in (out / "report.md").read_text()


def test_the_worlds_of_jobs(file: Path, tmp_path: Path) -> None:
    jobs = {job.name.rpartition("/")[2]: job for job in plan(load_experiment(file)) if job.method == "score"}
    assert world_file(jobs["proxy"], tmp_path) == "twin"  # the debug recipe's verdict world
    raw = world_file(replace(jobs["proxy_raw"], settings=replace(jobs["proxy"].settings, world="proxy")), tmp_path)
    proxy, without = load_domain("proxy"), load_domain(raw)
    assert (
        proxy.protective_stop.force_n == 30 and without.protective_stop.force_n == 0 and without.name == "proxy_raw"
    )
    same = replace(without, name=proxy.name, protective_stop=proxy.protective_stop)
    assert same.describe() == proxy.describe()
    assert {k: v.tolist() for k, v in Draws(same, PARAMETERS).robot(51).items()} == {
        k: v.tolist() for k, v in Draws(proxy, PARAMETERS).robot(51).items()
    }
    calibration = tmp_path / "runs" / "pinch_cube" / "robot-101" / "calibration"
    save_domain(calibration / "domain.toml", with_stop(load_domain("twin"), 30.0))
    stopped = load_domain(twin_file(jobs["steering"], tmp_path))
    assert stopped.protective_stop.force_n == 10 and stopped.name == "domain_stop_10n"
    assert twin_file(replace(jobs["twin"], twin=Twin()), tmp_path) == calibration / "domain.toml"
    write_run_record(calibration, "calibrate", {"world": "twin", "task": "pinch_cube"}, {})
    uncalibrated = replace(jobs["steering"], twin=Twin(calibration=0.0))
    twin, found = load_domain("twin"), load_domain(twin_file(uncalibrated, tmp_path))
    assert found.protective_stop.force_n == 30 and found.name == "domain_calibrated_0"
    assert replace(found, name=twin.name, protective_stop=twin.protective_stop).describe() == twin.describe()


def test_what_cannot_be_done_is_said_before_any_work(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert "experiment file no.toml does not exist" in failure(capsys, "benchmark", "no.toml", *out)
    assert "nothing to report yet" in failure(capsys, "benchmark", str(file), "--render", *out)
    message = failure(capsys, "benchmark", str(file), "--scheduler", "tcp://h:1", "--slurm.workers", "2", *out)
    assert "has workers of its own" in message
    assert "processes is 0, expected >= 1" in failure(capsys, "benchmark", str(file), "--processes", "0", *out)
    assert "stand-in" in failure(capsys, "audit", "nowhere", "--domain", "proxy", *out)
    door = tmp_path / "door.toml"
    door.write_text(
        'tasks = ["adroit_door"]\nrobots = [0]\n[datasets]\nadroit_door = "nowhere"\n[[method]]\nname = "score"\n'
    )
    assert "nowhere, named in [datasets]" in failure(capsys, "benchmark", str(door), *out)
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.parametrize("name", ["report.md", "report.html", "result.json", "audit_small.json"])
def test_somebody_elses_files_are_in_the_way(
    name: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    message = failure(capsys, "benchmark", str(file), "--out", str(tmp_path / "out"))
    assert f"{name} was not written by `score benchmark`" in message
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
    assert (tmp_path / "out" / name).read_text() == "mine"


@pytest.mark.slow
def test_failed_jobs_are_an_error_behind_the_report(
    file: Path, tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "run_job", lambda job, out: 1 / 0)
    message = failure(capsys, "benchmark", str(file), "--out", str(tmp_path / "out"))
    assert "1 of 11 jobs failed, first pinch_cube/robot-101/demonstrations" in message
    assert run_job.__module__ == "score_rl.pipeline.experiment.work"  # workers import it from there


def test_tables_in_a_pipe_are_whole(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever width the surroundings claim."""
    monkeypatch.setenv("COLUMNS", "20")
    assert cli.main(["benchmark", str(file), "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    table = capsys.readouterr().out
    assert "pinch_cube/robot-101/score/seed-0/steering" in table and "…" not in table
