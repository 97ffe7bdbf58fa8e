"""Worker processes: killed ones are replaced, killed experiments go on; Slurm through a stand-in."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
from rich.console import Console
from toy_jobs import run_toy, times_run, toy

from score_rl.core.errors import ScoreError
from score_rl.pipeline.experiment import board as board_module
from score_rl.pipeline.experiment.board import Board
from score_rl.pipeline.experiment.workers import SlurmConfig, run_here, share, submit

JOBS = [toy(f"slow-{k}") for k in range(12)]
SCRIPT = """
import sys
from pathlib import Path
from rich.console import Console
from score_rl.pipeline.experiment.workers import run_here
from toy_jobs import run_toy, toy
if __name__ == "__main__":
    run_here(Path(sys.argv[1]), [toy(f"slow-{k}") for k in range(12)], run_toy, 2, Console(stderr=True))
"""


def test_cores_are_shared_out() -> None:
    assert [share([0, 1, 2, 3, 4], i, 2) for i in range(2)] == [{0, 1}, {2, 3, 4}]
    assert [share([4, 7], i, 3) for i in range(3)] == [{4}, {7}, {4}]


def test_a_deadly_job_is_given_up_and_the_others_go_on(tmp_path: Path) -> None:
    told = io.StringIO()
    jobs = [toy("deadly"), toy("after", "deadly"), toy("fine")]
    states = run_here(tmp_path, jobs, run_toy, 1, Console(file=told, width=200))
    assert states == {"deadly": "failed", "after": "skipped", "fine": "done"}
    assert "failed: deadly: its process died 2 times" in told.getvalue()
    assert "skipped: after" in told.getvalue()


def test_a_killed_experiment_goes_on_where_it_was(tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    main = subprocess.Popen(
        [sys.executable, script, tmp_path], env={**os.environ, "PYTHONPATH": path}, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while sum(times_run(tmp_path, job.name) for job in JOBS) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(main.pid, signal.SIGKILL)  # the command and its workers, with no chance to clean up
    main.wait()
    time.sleep(0.1)
    done = [name for name, state in Board(tmp_path, JOBS).states().items() if state == "done"]
    assert 0 < len(done) < len(JOBS)
    states = run_here(tmp_path, JOBS, run_toy, 1, Console(file=io.StringIO()))
    assert set(states.values()) == {"done"}
    assert [times_run(tmp_path, name) for name in done] == [1] * len(done)


def test_the_number_of_processes_is_checked(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match="--processes is 0"):
        run_here(tmp_path, JOBS, run_toy, 0, Console(file=io.StringIO()))


class FakeExecutor:
    """What is used of submitit.AutoExecutor; its tasks run at once, one after the other."""

    def __init__(self, folder: str) -> None:
        self.folder, self.parameters, self.results = folder, {}, []

    def update_parameters(self, **parameters: object) -> None:
        self.parameters |= parameters

    def batch(self) -> FakeExecutor:
        return self

    def __enter__(self) -> FakeExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, function: object, *arguments: object) -> object:
        self.results.append(function(*arguments))
        return types.SimpleNamespace(job_id=f"7_{len(self.results) - 1}")


def test_a_slurm_array_works_on_all_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "POLL_S", 0.01)
    made: list[FakeExecutor] = []
    make = lambda folder: made.append(FakeExecutor(folder)) or made[-1]  # noqa: E731
    monkeypatch.setitem(sys.modules, "submitit", types.SimpleNamespace(AutoExecutor=make))
    jobs = [toy("a"), toy("b", "a"), toy("broken"), toy("c", "broken")]
    config = SlurmConfig(workers=3, partition="long", hours=0.5, cpus=2, memory_gb=3)
    assert submit(tmp_path, jobs, run_toy, config) == ["7_0", "7_1", "7_2"]
    (executor,) = made
    assert executor.results == [{"done": 2, "failed": 1, "skipped": 1}] * 3
    assert executor.parameters == {
        "name": "score-benchmark",
        "timeout_min": 30,
        "cpus_per_task": 2,
        "mem_gb": 3,
        "slurm_array_parallelism": 3,
        "slurm_partition": "long",
    }
    assert times_run(tmp_path, "a") == times_run(tmp_path, "b") == 1


def test_without_submitit_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ScoreError, match=r"pip install 'score-rl\[slurm\]'"):
        submit(tmp_path, JOBS, run_toy, SlurmConfig(workers=1))


def test_a_refused_submission_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: str) -> object:
        raise RuntimeError("no such partition")

    monkeypatch.setitem(sys.modules, "submitit", types.SimpleNamespace(AutoExecutor=refuse))
    with pytest.raises(ScoreError, match="submission to Slurm failed: no such partition"):
        submit(tmp_path, JOBS, run_toy, SlurmConfig(workers=1))
