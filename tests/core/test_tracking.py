"""TensorBoard and Weights & Biases hear what the log gets, over what was spent."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from wandb_files import history, records

from score_rl.core.errors import ScoreError
from score_rl.core.runs import start_run
from score_rl.core.tracking import TensorBoardListener, WandbListener, axis

RESUMED = """
from pathlib import Path
from dataclasses import make_dataclass
from score_rl.core.runs import start_run
from score_rl.core.tracking import WandbListener
Config = make_dataclass("Config", [("steps", int, 10)])
run = start_run({out!r}, "steer", Config(), {{}})
run.add_listener(WandbListener("cube", "runs/steering", run.identity, Path({out!r}).parent, Config()))
for step in {steps}:
    run.log({{"control_steps": step, "success": step / 1000}})
{last}
"""


@dataclass(frozen=True)
class Config:
    steps: int = 10


def test_tensorboard_listener_writes_numbers_and_skips_text(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    listener = TensorBoardListener(tmp_path)
    listener(0, {"loss": 0.5, "note": "text", "latent": {"norm": 2}})
    listener.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert events.Tags()["scalars"] == ["loss", "latent/norm"]
    assert events.Scalars("latent/norm")[0].value == 2.0


def test_the_axis_is_what_was_spent_and_survives_a_resume(tmp_path, monkeypatch):
    """Control steps of steering. The second process goes on from a checkpoint that the first had left behind."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.summary.writer import event_file_writer

    for second, steps in enumerate(([100, 200, 300], [200, 300, 400])):
        # Files are read in the order of their names, which tell the second; within one, of a count that has no zeros
        # in front.
        monkeypatch.setattr(event_file_writer, "time", SimpleNamespace(time=lambda now=1e9 + second: now))
        listener = TensorBoardListener(tmp_path)
        for index, step in enumerate(steps, start=steps[0] // 100 - 1):
            listener(index, {"control_steps": step, "success": step / 1000 + (steps[0] == 200)})
        listener.close()
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("success")
    assert [(event.step, round(event.value, 3)) for event in events] == [
        (100, 0.1),
        (200, 1.2),
        (300, 1.3),
        (400, 1.4),
    ]


def test_pretraining_is_drawn_over_optimiser_steps():
    assert axis(2, {"step": 500, "loss": 0.1}) == ("step", 500)
    assert axis(2, {"control_steps": 7, "step": 500}) == ("control_steps", 7)
    assert axis(2, {"loss": 0.1}) == ("record", 2)


def test_wandb_hears_numbers_and_goes_on_in_its_own_run(tmp_path, monkeypatch):
    """A stub in wandb's place, for what needs no files: what is asked of it is its documented interface."""
    begun, logged, metrics, finished = [], [], [], []

    def log(row, step, commit):
        logged.append((row, step, commit))

    def init(**given):
        begun.append(given)
        define = lambda name, step_metric: metrics.append((name, step_metric))  # noqa: E731
        return SimpleNamespace(log=log, define_metric=define, finish=lambda: finished.append(True))

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    for _ in range(2):  # the second resumes
        run = start_run(tmp_path / "run", "steer", Config(), {})
        run.add_listener(WandbListener("cube", "runs/steering", run.identity, tmp_path, Config()))
        run.log({"control_steps": 100, "success": 0.5, "world": "twin", "reference": {"z0": 0.25}})
        run.close()
    assert begun[0] == begun[1] and begun[0]["resume"] == "allow" and len(begun[0]["id"]) == 16
    assert (begun[0]["project"], begun[0]["name"], begun[0]["config"]) == ("cube", "runs/steering", {"steps": 10})
    assert logged[0] == ({"control_steps": 100, "success": 0.5, "reference/z0": 0.25}, 100, True)
    assert metrics == [("*", "control_steps")] * 2 and not finished
    run = start_run(tmp_path / "run", "steer", Config(), {})
    run.add_listener(WandbListener("cube", "runs/steering", run.identity, tmp_path, Config()))
    run.finish()
    assert finished == [True]
    other = start_run(tmp_path / "other", "steer", Config(), {})
    WandbListener("cube", "runs/steering", other.identity, tmp_path, Config())
    assert begun[-1]["id"] != begun[0]["id"]


@pytest.mark.slow
def test_the_real_wandb_offline_goes_on_over_what_was_spent(tmp_path):
    """Two processes: the first is interrupted behind its third record, the second goes on at the second. Both files
    are of one run, and joined by W&B's step they are the run as if nobody had stopped it."""
    pytest.importorskip("wandb")
    folders = []
    for steps, last, code in (([100, 200, 300], "raise SystemExit(130)", 130), ([200, 300, 400], "run.finish()", 0)):
        ended = subprocess.run(
            [sys.executable, "-c", RESUMED.format(out=str(tmp_path / "run"), steps=steps, last=last)],
            env={**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true", "HOME": str(tmp_path)},
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert ended.returncode == code, ended.stderr
        folders += set((tmp_path / "wandb").glob("offline-run-*")).difference(folders)
    assert len(folders) == 2
    for folder in folders:
        runs = [record.run for record in records(folder) if record.HasField("run")]
        assert {(run.run_id, run.project) for run in runs} == {(folders[0].name.rpartition("-")[2], "cube")}
        metrics = [record.metric for record in records(folder) if record.HasField("metric")]
        assert ("*", "control_steps") in {(metric.glob_name, metric.step_metric) for metric in metrics}
    rows = [[(row["_step"], row["control_steps"], row["success"]) for row in history(folder)] for folder in folders]
    assert rows[0] == [(100, 100, 0.1), (200, 200, 0.2), (300, 300, 0.3)]
    assert rows[1] == [(200, 200, 0.2), (300, 300, 0.3), (400, 400, 0.4)]


def test_what_wandb_refuses_is_one_message(tmp_path, monkeypatch):
    def init(**given):
        raise RuntimeError("api_key not configured (no-tty)")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    with pytest.raises(ScoreError, match=r"--wandb cube: RuntimeError: api_key not .*WANDB_MODE=offline"):
        WandbListener("cube", "name", "identity", tmp_path, Config())


def test_without_wandb_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ScoreError, match=r"--wandb needs wandb, .* 'score-rl\[wandb\]'"):
        WandbListener("cube", "name", "identity", tmp_path, Config())
