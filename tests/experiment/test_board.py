"""States, failures, and what several workers do with one folder."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from toy_jobs import run_toy, times_run, toy

from score_rl.core.errors import ScoreError
from score_rl.pipeline.experiment import board as module
from score_rl.pipeline.experiment.board import Board, work
from score_rl.pipeline.experiment.claims import Claims, Owner

DIAMOND = [toy("a"), toy("b", "a"), toy("c", "a"), toy("d", "b", "c")]


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.01)


def test_jobs_run_once_and_behind_what_they_need(tmp_path: Path) -> None:
    order = []
    board = Board(tmp_path, DIAMOND)
    assert list(board.states().values()) == ["ready", "waiting", "waiting", "waiting"]
    work(board, lambda job, out: order.append(job.name))
    assert order[0] == "a" and order[-1] == "d" and sorted(order) == ["a", "b", "c", "d"]
    work(Board(tmp_path, DIAMOND), lambda job, out: order.append(job.name))
    assert len(order) == 4
    assert set(Board(tmp_path, DIAMOND).states().values()) == {"done"}


def test_looking_leaves_nothing(tmp_path: Path) -> None:
    Board(tmp_path / "new", DIAMOND).states()
    assert not (tmp_path / "new").exists()


def test_workers_share_the_jobs(tmp_path: Path) -> None:
    jobs = [toy(f"slow-{k}") for k in range(8)]
    threads = [threading.Thread(target=_work_quietly, args=(tmp_path, jobs, f"w{k}")) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [times_run(tmp_path, job.name) for job in jobs] == [1] * 8


def _work_quietly(out: Path, jobs: list, invocation: str) -> None:
    """Work without redirecting output, which is the whole process's."""
    board = Board(out, jobs, invocation)
    while (taken := board.take()) is not None:
        job, claim = taken
        run_toy(job, out)
        module.write_json(board.record_path(job), {"status": "done", "digest": job.digest})
        board.claims.release(job.name, claim)


def test_a_failure_is_recorded_and_what_needs_it_is_skipped(tmp_path: Path) -> None:
    jobs = [toy("broken"), toy("after", "broken"), toy("later", "after"), toy("other")]
    board = Board(tmp_path, jobs)
    work(board, run_toy)
    assert board.states() == {"broken": "failed", "after": "skipped", "later": "skipped", "other": "done"}
    assert board.record(jobs[0])["error"] == "ValueError: it is broken"
    assert "Traceback" in board.log_path(jobs[0]).read_text()
    assert times_run(tmp_path, "other") == 1
    assert Board(tmp_path, jobs).retry_failed() == ["broken"]
    work(Board(tmp_path, jobs), lambda job, out: None)
    assert set(Board(tmp_path, jobs).states().values()) == {"done"}


def test_what_a_job_prints_goes_to_its_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    board = Board(tmp_path, [toy("a")])
    work(board, lambda job, out: print("hello from the job", flush=True))
    print("back", flush=True)
    assert "hello from the job" in board.log_path(board.jobs[0]).read_text()
    assert capfd.readouterr().out == "back\n"


def test_a_job_whose_process_died_twice_has_failed(tmp_path: Path) -> None:
    jobs = [toy("a"), toy("b")]
    for pid in (2**22 + 1, 2**22 + 2):  # beyond the largest process number
        dead = Claims(tmp_path / "jobs", Owner(Board(tmp_path, jobs).claims.owner.machine, pid, "1", "call"))
        assert dead.take("a") is not None
    fresh = Board(tmp_path, jobs, "another call")
    job, claim = fresh.take()
    assert job.name == "a" and claim.generation == 3
    fresh.claims.release("a", claim)
    same = Board(tmp_path, jobs, "call")
    assert same.take()[0].name == "b"
    assert same.states()["a"] == "failed" and "died 2 times" in same.record(jobs[0])["error"]


def test_an_unfinished_job_is_taken_up(tmp_path: Path) -> None:
    board = Board(tmp_path, [toy("a")])
    dead = Claims(tmp_path / "jobs", Owner(board.claims.owner.machine, 2**22 + 1, "1", "old"))
    dead.take("a")
    module.write_json(board.record_path(board.jobs[0]), {"status": "started", "digest": "1"})
    assert board.states() == {"a": "unfinished"}
    work(board, run_toy)
    assert board.states() == {"a": "done"}


def test_another_configuration_is_refused_and_overwritten_on_request(tmp_path: Path) -> None:
    work(Board(tmp_path, [toy("a"), toy("b")]), run_toy)
    (tmp_path / "runs" / "a").mkdir(parents=True)
    changed = Board(tmp_path, [toy("a", digest="2"), toy("b")])
    with pytest.raises(ScoreError, match=r"1 jobs of another configuration \(a\)"):
        changed.check()
    assert changed.remove_changed() == ["a"]
    changed.check()
    assert not (tmp_path / "runs" / "a").exists()
    assert changed.states() == {"a": "ready", "b": "done"}


def test_a_running_job_is_never_deleted(tmp_path: Path) -> None:
    board = Board(tmp_path, [toy("a")])
    board.claims.take("a")
    module.write_json(board.record_path(board.jobs[0]), {"status": "started", "digest": "1"})
    with pytest.raises(ScoreError, match="a is running"):
        Board(tmp_path, [toy("a", digest="2")]).remove_changed()


def test_who_lost_its_claim_records_nothing(tmp_path: Path) -> None:
    board = Board(tmp_path, [toy("a")])
    job, claim = board.take()

    def taken_over(job: object, out: Path) -> None:
        module.write_json(board.claims.path("a", 1), {"owner": vars(Owner("x", 1, "1", "")), "state": "released"})
        assert Claims(tmp_path / "jobs", board.claims.owner).take("a").generation == 2

    board.execute(job, claim, taken_over)
    assert board.record(job)["status"] == "started"
