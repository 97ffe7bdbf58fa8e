"""A lock that ends with its process, whatever ends that."""

import os
import signal
import subprocess
import sys

import pytest

from score_rl.core.errors import ScoreError
from score_rl.core.locks import Lock, is_held

HOLD = """
import sys
from pathlib import Path
from score_rl.core.locks import Lock
sys.argv = ["/usr/bin/score", "steer"]
lock = Lock(Path("lock"), Path("here"))
print("held", flush=True)
sys.stdin.readline()
lock.release()
"""


def holder(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_who_only_looks_takes_nothing_and_leaves_nothing(tmp_path):
    assert not is_held(tmp_path / "lock") and list(tmp_path.iterdir()) == []
    with Lock(tmp_path / "lock", "here") as lock:
        assert is_held(tmp_path / "lock")
        lock.check()
    assert not is_held(tmp_path / "lock")


def test_an_owner_is_named_and_its_end_frees_the_lock(tmp_path):
    process = holder(tmp_path)
    with pytest.raises(ScoreError, match=rf"here is in use by process {process.pid} \(score steer\) since \d{{4}}-"):
        Lock(tmp_path / "lock", "here")
    process.communicate("\n")
    assert not (tmp_path / "lock").exists()
    with Lock(tmp_path / "lock", "here") as lock:
        assert lock.held
    assert not lock.held and list(tmp_path.iterdir()) == []


def test_a_killed_owner_holds_nothing(tmp_path):
    process = holder(tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (tmp_path / "lock").exists()
    Lock(tmp_path / "lock", "here").release()
    assert list(tmp_path.iterdir()) == []


def test_within_a_process_the_later_owner_takes_over(tmp_path):
    first = Lock(tmp_path / "lock", "here")
    second = Lock(tmp_path / "lock", "here")
    assert not first.held and second.held
    with pytest.raises(ScoreError, match="belongs to a later run"):
        first.check()
    first.release()
    second.check()
    second.release()


def test_a_folder_that_cannot_be_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ScoreError, match="cannot write here"):
        Lock(tmp_path / "file" / "lock", "here")
