"""States, configurations and locks of jobs, as any process sees them in the files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from toy_jobs import toy

from score_rl.core.errors import ScoreError
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
    assert ledger.record(c)["attempts"] == 2 and ledger.record(a)["wall_s"] == 2.0
    assert ledger.retry_failed() == ["b"]
    assert Ledger(tmp_path, DIAMOND).states()["d"] == "waiting"


def test_another_configuration_is_refused_and_overwritten_on_request(tmp_path: Path) -> None:
    for job in (toy("a"), toy("b")):
        Ledger(tmp_path, [job]).write(job, "done")
    (tmp_path / "runs" / "a").mkdir(parents=True)
    changed = Ledger(tmp_path, [toy("a", digest="2"), toy("b")])
    with pytest.raises(ScoreError, match=r"1 jobs of another configuration \(a\)"):
        changed.check()
    assert changed.remove_changed() == ["a"]
    changed.check()
    assert not (tmp_path / "runs" / "a").exists()
    assert changed.states() == {"a": "ready", "b": "done"}


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
            Ledger(tmp_path, [toy("a", digest="2")]).remove_changed()
        waited = []
        with ledger.lock(job, waiting=lambda: (waited.append(job.name), other.kill())):
            assert waited == ["a"]
    assert ledger.states() == {"a": "unfinished"}
