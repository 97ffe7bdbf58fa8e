"""What is asked of Slurm, an existing scheduler, and what cannot be had."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console
from toy_jobs import run_toy, toy

from score_rl.core.errors import ScoreError
from score_rl.pipeline.experiment import clusters
from score_rl.pipeline.experiment.clusters import SlurmConfig, connected, slurm_cluster
from score_rl.pipeline.experiment.ledger import Ledger
from score_rl.pipeline.experiment.scheduling import execute


def connect(processes: int = 1, scheduler: str | None = None, slurm: SlurmConfig | None = None) -> str:
    """What is said of a connection."""
    told = io.StringIO()
    with connected(Path(), processes, scheduler, slurm or SlurmConfig(), Console(file=told, width=200)):
        return told.getvalue()


@pytest.mark.slow
def test_slurm_is_asked_for_what_was_configured(tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue")
    config = SlurmConfig(
        3, partition="long", account="lab", hours=1.5, cpus=2, memory_gb=3, directives=("--constraint=cpu",)
    )
    with slurm_cluster(config, tmp_path) as cluster:
        script = cluster.job_script()
    lines = [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH")]
    assert lines == [
        "-J score-benchmark",
        f"-e {tmp_path}/slurm/score-benchmark-%J.err",
        f"-o {tmp_path}/slurm/score-benchmark-%J.out",
        "-p long",
        "-A lab",
        "-n 1",
        "--cpus-per-task=2",
        "--mem=3G",
        "-t 01:30:00",
        "--constraint=cpu",
    ]
    (command,) = (line for line in script.splitlines() if line.startswith(sys.executable))
    assert "--nthreads 1" in command and "--lifetime 5100s" in command and "--nworkers" not in command


@pytest.mark.slow
def test_an_existing_scheduler_is_joined(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    told = io.StringIO()
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as mine:
        address = mine.scheduler_address
        with connected(tmp_path, 1, address, SlurmConfig(), Console(file=told, width=200)) as client:
            assert execute(Ledger(tmp_path, [toy("a")]), run_toy, client, Console(file=told)) == {"a": "done"}
        assert mine.scheduler.workers  # it is somebody else's, and stays
    assert f"scheduler: {address}" in told.getvalue()


@pytest.mark.slow
def test_the_dashboard_is_named_or_its_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(clusters, "has_dashboard", lambda: False)
    assert "no dashboard (pip install bokeh)" in connect()


@pytest.mark.slow
def test_what_cannot_be_had_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ScoreError, match="--processes is 0"):
        connect(0)
    with pytest.raises(ScoreError, match="workers of its own"):
        connect(scheduler="tcp://host:1", slurm=SlurmConfig(2))
    monkeypatch.setattr(clusters, "CONNECT_S", 1.0)
    with pytest.raises(ScoreError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        connect(scheduler="tcp://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ScoreError, match=r"pip install 'score-rl\[cluster\]'"):
        connect()
