"""A real scheduler and worker processes: killed workers, killed drivers, and several drivers on one folder."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from toy_jobs import ITERATIONS, processes, run_toy, times_run, toy

from score_rl.core.files import sha256
from score_rl.core.records import read_json, read_json_lines
from score_rl.pipeline.experiment import scheduling
from score_rl.pipeline.experiment.clusters import SlurmConfig, connected
from score_rl.pipeline.experiment.job import Job
from score_rl.pipeline.experiment.ledger import Ledger
from score_rl.pipeline.experiment.scheduling import execute, share

pytest.importorskip("distributed")
pytestmark = pytest.mark.slow

FOLDERS = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
SCRIPT = """
import sys
from pathlib import Path
from rich.console import Console
from score_rl.pipeline.experiment.clusters import SlurmConfig, connected
from score_rl.pipeline.experiment.ledger import Ledger
from score_rl.pipeline.experiment.scheduling import execute
from toy_jobs import run_toy, toy

if __name__ == "__main__":
    out, processes, names = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    console = Console(stderr=True)
    with connected(out, processes, None, SlurmConfig(), console) as client:
        execute(Ledger(out, [toy(name) for name in names]), run_toy, client, console, processes)
"""


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Three worker processes."""
    with connected(Path(), 3, None, SlurmConfig(), Console(file=io.StringIO())) as client:
        yield client


def run_all(out: Path, jobs: list[Job], client: Any) -> tuple[dict[str, str], str]:
    """(states, what was told)."""
    told = io.StringIO()
    return execute(Ledger(out, jobs), run_toy, client, Console(file=told, width=250), 3), told.getvalue()


def drive(out: Path, script: Path, count: int, *names: str) -> subprocess.Popen:
    """A driver with workers of its own."""
    path = os.pathsep.join([*FOLDERS, os.environ.get("PYTHONPATH", "")])
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(out), str(count), *names]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, start_new_session=True)


def wait_for(condition: Callable[[], Any], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def iterations(out: Path) -> int:
    path = out / "runs" / "steering" / "metrics.jsonl"
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def test_jobs_run_once_and_behind_what_they_need(tmp_path: Path, client: Any) -> None:
    jobs = [toy("slow-a"), toy("b", "slow-a"), toy("c", "slow-a"), toy("d", "b", "c"), toy("other")]
    states, _ = run_all(tmp_path, jobs, client)
    assert set(states.values()) == {"done"}
    ended = [(tmp_path / "ran" / name).stat().st_mtime_ns for name in ("slow-a", "b", "c", "d")]
    assert ended[0] < min(ended[1:3]) and max(ended[1:3]) < ended[3]
    run_all(tmp_path, jobs, client)
    assert [times_run(tmp_path, job.name) for job in jobs] == [1] * 5
    assert (tmp_path / "logs" / "d.log").read_text() == "hello from d\n"


def test_a_failure_is_tried_again_although_its_end_is_still_known(tmp_path: Path, client: Any, monkeypatch) -> None:
    """Somebody keeps the futures of the first call, so that the scheduler still knows how its jobs ended."""
    kept, ended = [], scheduling._ended
    monkeypatch.setattr(scheduling, "_ended", lambda *given: kept.append(given) or ended(*given))
    jobs = [toy("broken"), toy("after", "broken")]
    run_all(tmp_path, jobs, client)
    ledger = Ledger(tmp_path, jobs)
    ledger.retry_failed()
    assert run_all(tmp_path, jobs, client)[0] == {"broken": "failed", "after": "skipped"} and len(kept) == 2
    assert ledger.record(jobs[0]).attempts == 2
    assert not {future.key for future in kept[0][1].values()} & {future.key for future in kept[1][1].values()}


def test_a_failure_is_recorded_what_needs_it_is_skipped_and_the_next_call_tries_again(
    tmp_path: Path, client: Any
) -> None:
    jobs = [toy("broken"), toy("after", "broken"), toy("later", "after"), toy("other")]
    states, told = run_all(tmp_path, jobs, client)
    assert states == {"broken": "failed", "after": "skipped", "later": "skipped", "other": "done"}
    assert "failed: broken: ValueError: it is broken" in told and "skipped: later" in told
    assert "Traceback" in (tmp_path / "logs" / "broken.log").read_text()
    ledger = Ledger(tmp_path, jobs)
    assert ledger.retry_failed() == ["broken"]
    assert run_all(tmp_path, jobs, client)[0] == states
    assert ledger.record(jobs[0]).attempts == 2 and times_run(tmp_path, "other") == 1


def test_a_job_whose_process_dies_again_and_again_has_failed(tmp_path: Path, client: Any) -> None:
    jobs = [toy("deadly"), toy("after", "deadly"), toy("fine")]
    states, told = run_all(tmp_path, jobs, client)
    assert states == {"deadly": "failed", "after": "skipped", "fine": "done"}
    assert "failed: deadly: its process died 3 times" in told and "skipped: after" in told
    assert len(processes(tmp_path, "deadly")) == 3


def test_a_killed_worker_and_a_killed_driver_change_nothing(tmp_path: Path, client: Any) -> None:
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    run_toy(toy("steering"), undisturbed)
    out, jobs = tmp_path / "killed", [toy(name) for name in ("steering", "slow-a", "slow-b")]
    driver = drive(out, tmp_path / "drive.py", 3, *(job.name for job in jobs))
    wait_for(lambda: iterations(out) >= 3)
    first = processes(out, "steering")[0]
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: len(processes(out, "steering")) == 2 and iterations(out) >= 6)
    wait_for(lambda: times_run(out, "slow-a") and times_run(out, "slow-b"))
    driver.kill()
    driver.wait()
    wait_for(lambda: all(gone(pid) for pid in processes(out)))
    assert iterations(out) < ITERATIONS
    assert set(run_all(out, jobs, client)[0].values()) == {"done"}
    steering, plain = out / "runs" / "steering", undisturbed / "runs" / "steering"
    assert [Ledger(out, jobs).record(job).attempts for job in jobs] == [3, 1, 1]
    assert len(read_json(steering / "run.json")["resumed"]) == 2
    same = [[r["control_steps"], r["success"]] for r in read_json_lines(plain / "metrics.jsonl")]
    assert [[r["control_steps"], r["success"]] for r in read_json_lines(steering / "metrics.jsonl")] == same
    bundles = [{p.name: sha256(p) for p in (run / "steering").iterdir()} for run in (steering, plain)]
    assert bundles[0] == bundles[1] and len(same) == ITERATIONS


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_driver_leaves_no_process_behind(tmp_path: Path, number: int) -> None:
    driver = drive(tmp_path, tmp_path / "drive.py", 2, "endless-a", "endless-b")
    wait_for(lambda: len(processes(tmp_path)) == 2)
    os.killpg(driver.pid, number)  # Ctrl-C reaches the workers too
    assert driver.wait(60) != 0
    assert all(gone(pid) for pid in processes(tmp_path)) and len(set(processes(tmp_path))) == 2


def test_three_drivers_share_a_folder(tmp_path: Path) -> None:
    names = [f"slow-{k}" for k in range(5)]
    drivers = [drive(tmp_path, tmp_path / f"drive-{k}.py", 1, *names) for k in range(3)]
    assert [driver.wait(120) for driver in drivers] == [0, 0, 0]
    assert [times_run(tmp_path, name) for name in names] == [1] * 5


def test_cores_are_shared_out() -> None:
    assert [share([0, 1, 2, 3, 4], i, 2) for i in range(2)] == [{0, 1}, {2, 3, 4}]
    assert [share([4, 7], i, 3) for i in range(3)] == [{4}, {7}, {4}]
