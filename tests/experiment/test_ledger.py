"""States, configurations and locks of jobs, as any process sees them in the files."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from toy_jobs import toy

from score_rl.core.errors import ScoreError
from score_rl.core.files import write_text
from score_rl.core.runs import start_run
from score_rl.pipeline.experiment.ledger import Ledger

DIAMOND = [toy("a"), toy("b", "a"), toy("c", "a"), toy("d", "b", "c")]
HOLD = """
import fcntl, sys
with open(sys.argv[1], "a") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


def test_looking_leaves_nothing(tmp_path: Path) -> None:
    assert list(Ledger(tmp_path / "new", DIAMOND).states().values()) == ["ready", "waiting", "waiting", "waiting"]
    assert not (tmp_path / "new").exists()


def test_states_follow_from_records(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, DIAMOND)
    a, b, c, _ = DIAMOND
    ledger.write(a, "started", attempts=1)
    assert ledger.states() == {"a": "unfinished", "b": "waiting", "c": "waiting", "d": "waiting"}
    ledger.write(a, "done", 2.0)
    ledger.write(b, "failed", 1.0, "ValueError: no")
    ledger.write(c, "started", attempts=1)
    ledger.write(c, "started", attempts=1)
    assert Ledger(tmp_path, DIAMOND).states() == {"a": "done", "b": "failed", "c": "unfinished", "d": "skipped"}
    assert ledger.record(c).attempts == 2 and ledger.record(a).wall_s == 2.0
    assert ledger.retry_failed() == ["b"]
    assert Ledger(tmp_path, DIAMOND).states()["d"] == "waiting"


@dataclass(frozen=True)
class Settings:
    size: int


def leave(folder: Path, size: int) -> None:
    """A finished run of these settings."""
    with start_run(folder, "toy", Settings(size), {}) as run:
        if not run.finished:
            write_text(run.path("weights"), str(size))
            run.finish()


def test_another_configuration_is_refused_and_replaced_on_request(tmp_path: Path) -> None:
    for job in (toy("a"), toy("b"), toy("c")):
        Ledger(tmp_path, [job]).write(job, "done")
    (tmp_path / "runs" / "b").mkdir(parents=True)
    runs = tmp_path / "runs"
    leave(runs / "a", 1)
    (runs / "a" / "notes.txt").write_text("mine")
    changed = Ledger(tmp_path, [toy("a", digest="2"), toy("b", digest="2"), toy("c")])
    with pytest.raises(ScoreError, match=r"2 jobs of another configuration \(a, b\)"):
        changed.check()
    assert changed.give_up_changed() == ["a", "b"]
    changed.check()
    assert changed.states() == {"a": "ready", "b": "ready", "c": "done"}
    assert not (runs / "b").exists() and (runs / "a" / "weights").read_text() == "1"
    leave(runs / "a", 2)
    assert (runs / "a" / "weights").read_text() == "2" and (runs / "a" / "notes.txt").read_text() == "mine"
    with pytest.raises(ScoreError, match="size: 2 -> 1"):
        leave(runs / "a", 1)


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    Ledger(tmp_path, [toy("a")]).write(toy("a"), "done")
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "thesis.tex").write_text("mine")
    with pytest.raises(ScoreError, match=r"holds thesis\.tex"):
        Ledger(tmp_path, [toy("a", digest="2")]).give_up_changed()
    assert (tmp_path / "runs" / "a" / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize("text", ["{}", "[]", "x", '{"status": "gone"}', '{"status": "done", "digest": 3}'])
def test_a_record_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "a.json").write_text(text)
    with pytest.raises(ScoreError, match=r"a\.json"):
        Ledger(tmp_path, [toy("a")]).states()


def test_a_lock_is_its_process_s_and_ends_with_it(tmp_path: Path) -> None:
    ledger, job = Ledger(tmp_path, [toy("a")]), toy("a")
    with ledger.lock(job):
        assert ledger.held(job)
    assert not ledger.held(job)
    ledger.write(job, "started", attempts=1)
    command = [sys.executable, "-c", HOLD, str(tmp_path / "jobs" / "a.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        assert ledger.states() == {"a": "running"}
        with pytest.raises(ScoreError, match="a is running"):
            Ledger(tmp_path, [toy("a", digest="2")]).give_up_changed()
        waited = []
        with ledger.lock(job, waiting=lambda: (waited.append(job.name), other.kill())):
            assert waited == ["a"]
    assert ledger.states() == {"a": "unfinished"}
