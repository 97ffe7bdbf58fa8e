"""Run directories under attack: two owners, kills at any moment, refused values, full disks, other people's files."""

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass

import pytest

from score_rl.core import files, runs
from score_rl.core.errors import ScoreError
from score_rl.core.outputs import check_file, resolve_output
from score_rl.core.ranges import Count
from score_rl.core.run_record import read_run, verify
from score_rl.core.runs import retire, start_run


@dataclass(frozen=True)
class Config:
    steps: Count = 10


def finished(directory, steps=10, name="weights", overwrite=False):
    run = start_run(directory, "pretrain", Config(steps), {}, overwrite=overwrite)
    files.write_text(run.path(name), str(steps))
    files.write_text(run.path("traces", name), str(steps))
    run.log({"steps": steps})
    run.finish({"steps": steps})
    return run


def tree(directory):
    found = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


@pytest.mark.slow
def test_a_directory_has_one_owner_at_a_time(tmp_path):
    code = (
        "import sys\nfrom test_run_directories import Config, start_run\n"
        "run = start_run('run', 'pretrain', Config(), {})\nprint('held', flush=True)\nsys.stdin.readline()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(__file__)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    before = tree(tmp_path / "run")
    for overwrite in (False, True):
        with pytest.raises(ScoreError, match=rf"run is in use by process {process.pid} \(.*\) since"):
            start_run(tmp_path / "run", "pretrain", Config(), {}, overwrite=overwrite)
    assert tree(tmp_path / "run") == before
    process.kill()
    process.communicate()
    assert start_run(tmp_path / "run", "pretrain", Config(), {}).resumed


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_refused_value_touches_nothing(tmp_path, overwrite):
    with pytest.raises(ScoreError, match=r"^steps is 0, expected >= 1$"):
        start_run(tmp_path / "new", "pretrain", Config(0), {}, overwrite=overwrite)
    assert list(tmp_path.iterdir()) == []
    finished(tmp_path / "run")
    before = tree(tmp_path)
    with pytest.raises(ScoreError):
        start_run(tmp_path / "run", "pretrain", Config(-1), {}, overwrite=overwrite)
    assert tree(tmp_path) == before


def test_the_old_run_stays_until_the_new_one_is_complete(tmp_path):
    finished(tmp_path / "run")
    before = tree(tmp_path / "run")
    run = start_run(tmp_path / "run", "pretrain", Config(20), {}, overwrite=True)
    files.write_text(run.path("other"), "half")
    run.log({"steps": 1})
    run.close()  # as a crash does
    assert {name: tree(tmp_path / "run")[name] for name in before} == before
    assert start_run(tmp_path / "run", "pretrain", Config(), {}).finished
    finished(tmp_path / "run", 20, "other", overwrite=True)
    assert sorted(tree(tmp_path / "run")) == ["config.json", "metrics.jsonl", "other", "run.json", "traces/other"]
    assert read_run(tmp_path / "run")[0].summary == {"steps": 20}


def test_a_retired_run_stays_until_another_one_is_complete(tmp_path):
    finished(tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    retire(tmp_path / "run")
    before = tree(tmp_path / "run")
    verify(tmp_path / "run")
    run = start_run(tmp_path / "run", "pretrain", Config(20), {})
    assert not run.resumed
    files.write_text(run.path("other"), "half")
    run.close()
    assert {name: tree(tmp_path / "run")[name] for name in before} == before
    assert start_run(tmp_path / "run", "pretrain", Config(20), {}).resumed
    finished(tmp_path / "run", 20, "other")
    assert sorted(tree(tmp_path / "run")) == [
        "config.json", "metrics.jsonl", "notes.txt", "other", "run.json", "traces/other"
    ]  # fmt: skip
    with pytest.raises(ScoreError, match="another configuration"):
        finished(tmp_path / "run", 30)
    retire(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_full_disk_leaves_the_old_run(tmp_path, monkeypatch):
    finished(tmp_path / "run")
    before = tree(tmp_path / "run")
    run = start_run(tmp_path / "run", "pretrain", Config(20), {}, overwrite=True)
    files.write_text(run.path("weights"), "new")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(ScoreError, match="No space left on device"):
            run.finish()
    run.close()
    assert {name: tree(tmp_path / "run")[name] for name in before} == before
    verify(tmp_path / "run")


def test_a_users_files_survive_and_are_never_written_over(tmp_path):
    finished(tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    (tmp_path / "run" / "traces" / "mine").write_text("mine")
    finished(tmp_path / "run", 20, "other", overwrite=True)
    assert (
        (tmp_path / "run" / "notes.txt").read_text() == (tmp_path / "run" / "traces" / "mine").read_text() == "mine"
    )
    before = tree(tmp_path / "run")
    with pytest.raises(ScoreError, match=r"notes\.txt was not written by the run that is replaced"):
        finished(tmp_path / "run", 30, "notes.txt", overwrite=True)
    assert {name: tree(tmp_path / "run")[name] for name in before} == before
    (tmp_path / "run" / "notes.txt").unlink()
    (tmp_path / "run" / "notes.txt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ScoreError, match="was not written by"):
        finished(tmp_path / "run", 30, "notes.txt", overwrite=True)


@pytest.mark.parametrize(
    "record", [{"name": "wandb"}, {}, [], None, {"kind": "score_rl.run"}, {"kind": "score_rl.run", "version": 2}]
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_a_run_json_of_somebody_else_is_refused(tmp_path, record, overwrite):
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "thesis.tex").write_text("x")
    before = tree(tmp_path)
    with pytest.raises(ScoreError, match=r"run\.json"):
        start_run(folder, "pretrain", Config(), {}, overwrite=overwrite)
    assert tree(tmp_path) == before


def test_a_link_to_a_run_directory_is_followed(tmp_path):
    finished(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    finished(tmp_path / "link", 20, overwrite=True)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real" / "weights").read_text() == "20"


@pytest.mark.parametrize("out", ["base", "base/inside", ".", "base/dataset", "base/dataset/x", "link"])
def test_an_output_that_would_harm_an_input_is_refused(tmp_path, out):
    (tmp_path / "base" / "dataset").mkdir(parents=True)
    (tmp_path / "base" / "run.json").write_text("{}")
    (tmp_path / "link").symlink_to("base")
    for given in (tmp_path / "base", tmp_path / "base" / "dataset", tmp_path / "link"):
        with pytest.raises(ScoreError, match=r"the output .* (is|contains|lies in) the dataset"):
            start_run(tmp_path / out, "pretrain", Config(), {}, overwrite=True, inputs={"dataset": given})
    assert resolve_output(tmp_path / "base2", {"dataset": tmp_path / "base"}) == tmp_path / "base2"


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "", "/"])
def test_a_place_that_cannot_be_is_a_clear_error(name):
    with pytest.raises(ScoreError, match="cannot"):
        start_run(name, "pretrain", Config(), {})


def test_a_changed_or_missing_file_of_a_finished_run_is_noticed(tmp_path):
    finished(tmp_path / "run")
    verify(tmp_path / "run")
    verify(tmp_path / "run" / "traces", "weights")
    (tmp_path / "run" / "traces" / "weights").write_text("11")
    verify(tmp_path / "run", "weights")
    for given in ((tmp_path / "run",), (tmp_path / "run" / "traces", "weights"), (tmp_path / "run" / "traces",)):
        with pytest.raises(ScoreError, match=r"weights was changed after the run in .* wrote it"):
            verify(*given)
    (tmp_path / "run" / "traces" / "weights").unlink()
    with pytest.raises(ScoreError, match="is missing"):
        verify(tmp_path / "run")
    verify(tmp_path)


def killed_at(moment, directory):
    """Run `finished` in a fork that dies (SIGKILL) in its `moment`-th change of the disk; whether it did."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    calls = 0

    def counted(function):
        def call(*given, **more):
            nonlocal calls
            calls += 1
            if calls == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*given, **more)

        return call

    for name in ("replace", "unlink", "rename", "rmdir", "fsync", "mkdir"):
        setattr(os, name, counted(getattr(os, name)))
    finished(directory, 20, "other", overwrite=True)
    os._exit(0)


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_the_old_run_or_the_new_one(tmp_path, monkeypatch):
    """The same command, repeated until it ends: whatever it is killed in, what is there is whole, and notes stay."""
    process = {**runs.describe_process(), "commit": "0" * 40}
    monkeypatch.setattr(runs, "describe_process", lambda: process)
    expected = None
    for moment in range(1, 200):
        run = tmp_path / str(moment)
        finished(run)
        (run / "notes.txt").write_text("mine")
        killed = killed_at(moment, run)
        if (run / "run.json").exists() and not (run / ".score-rl" / "ready").exists():
            verify(run)
            assert read_run(run)[0].summary in ({"steps": 10}, {"steps": 20})
        finished(run, 20, "other", overwrite=True)
        assert (run / "notes.txt").read_text() == "mine"
        verify(run)
        expected = expected or sorted(tree(run))
        assert sorted(tree(run)) == expected
        if not killed:
            assert moment > 30
            return
    raise AssertionError("the command never came to its end")


def test_a_file_is_replaced_only_if_it_is_ours_and_was_asked_for(tmp_path):
    def ours(path):
        return path.read_text() == "ours"

    path = tmp_path / "report.html"
    check_file(path, False, ours, "report")
    path.write_text("ours")
    check_file(path, True, ours, "report")
    with pytest.raises(ScoreError, match="pass --overwrite"):
        check_file(path, False, ours, "report")
    path.write_text("theirs")
    for overwrite in (False, True):
        with pytest.raises(ScoreError, match="no report that score wrote"):
            check_file(path, overwrite, ours, "report")
    with pytest.raises(ScoreError, match="is a folder"):
        check_file(tmp_path, True, ours, "report")
