"""Claims: one winner, dead owners are succeeded, living ones are not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from score_rl.core.errors import ScoreError
from score_rl.pipeline.experiment import claims as module
from score_rl.pipeline.experiment.claims import Claims, Owner, this_process


@pytest.fixture
def claims(tmp_path: Path) -> Claims:
    return Claims(tmp_path, this_process("i"))


def test_a_claim_excludes_others_until_it_is_released(claims: Claims) -> None:
    first = claims.take("a/b")
    assert first is not None and first.generation == 1
    assert claims.held("a/b") and claims.take("a/b") is None
    claims.release("a/b", first)
    assert not claims.held("a/b")
    second = claims.take("a/b")
    assert second is not None and second.generation == 2
    assert claims.mine("a/b", second) and not claims.mine("a/b", first)


def test_of_many_that_claim_at_once_one_wins(tmp_path: Path) -> None:
    start, winners = threading.Barrier(8), []

    def rival() -> None:
        mine = Claims(tmp_path, this_process("i"))
        start.wait()
        for job in range(30):
            if mine.take(f"job-{job}"):
                winners.append(job)

    threads = [threading.Thread(target=rival) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(winners) == list(range(30))


def test_a_dead_owner_is_succeeded_at_once(claims: Claims) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = Owner(claims.owner.machine, child.pid, module._started(child.pid), "i")
    theirs = Claims(claims.folder, owner)
    assert theirs.take("job") is not None
    assert claims.held("job") and claims.take("job") is None
    child.kill()
    child.wait()
    assert not claims.held("job")
    assert claims.take("job").generation == 2


def test_another_process_with_the_same_number_is_not_the_owner(claims: Claims) -> None:
    earlier = replace(claims.owner, started="1")
    assert Claims(claims.folder, earlier).take("job") is not None
    assert not claims.held("job")


def test_another_machine_is_judged_by_its_heartbeat(claims: Claims, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE_S", 0.2)
    far = Claims(claims.folder, Owner("elsewhere", 1, "1", "i"))
    claim = far.take("job")
    assert claims.held("job")
    for _ in range(4):
        time.sleep(0.1)
        os.utime(far.path("job", claim.generation))
        assert claims.held("job")
    time.sleep(0.25)
    assert not claims.held("job")


def test_the_heartbeat_touches_and_releases(claims: Claims, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.01)
    claim = claims.take("job")
    path = claims.path("job", 1)
    os.utime(path, (0, 0))
    with claims.heartbeat("job", claim):
        deadline = time.monotonic() + 5
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > 0
    assert json.loads(path.read_text())["state"] == "released"


def test_a_corrupt_claim_is_an_error_that_names_it(claims: Claims) -> None:
    claims.path("job", 1).write_text("{}")
    with pytest.raises(ScoreError, match=r"job\.claim-1 is no claim"):
        claims.held("job")
