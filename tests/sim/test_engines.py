"""Every engine keeps its promises; what it cannot represent is named."""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from engine_conformance import check_engine
from parts import TASK

from score_rl.core.errors import ScoreError
from score_rl.sim.domain import Physics, parse_domain
from score_rl.sim.engines.engine import not_applied, open_engine
from score_rl.sim.engines.processes import Workers
from score_rl.sim.engines.settings import ENGINES

ROLLING = {"cup": {"friction": {"robot": {"distribution": "constant", "value": 0.5}}}}


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_the_engine_keeps_its_promises(name: str) -> None:
    if name != "mujoco":
        pytest.importorskip({"physx": "sapien"}[name])
    check_engine(Physics(name, settings=ENGINES[name]()))


def test_a_parameter_that_an_engine_has_nothing_for_is_named() -> None:
    engine = SimpleNamespace(not_represented=frozenset({"object.friction"}))
    with pytest.raises(ScoreError, match=r"domain 'x': engine 'mujoco' cannot represent 'cup\.friction'"):
        not_applied(engine, TASK, parse_domain({"name": "x", **ROLLING}))
    accepted = parse_domain({**ROLLING, "physics": {"not_applied": ["cup.friction"]}})
    assert not_applied(engine, TASK, accepted) == ("cup.friction",)
    assert not_applied(engine, TASK, parse_domain({})) == ()


def test_an_engine_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("score_rl.sim.engines.physx")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "sapien", None)
    with pytest.raises(ScoreError, match=r"engine 'physx' cannot be loaded.*pip install 'score-rl\[physx\]'"):
        open_engine(TASK, Physics("physx", 1 / 120, settings=ENGINES["physx"]()), 1, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"position_iterations": 0}, "position_iterations is 0, expected 1 to 255"),
        ({"contact_offset_m": 0.0}, "contact_offset_m is 0.0, expected > 0"),
        ({"contact_ofset_m": 0.1}, "did you mean 'contact_offset_m'"),
        ({"bristle_nm_rad": -1}, "bristle_nm_rad is -1, expected > 0"),
    ],
)
def test_settings_of_physx_are_checked(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ScoreError, match=message):
        parse_domain({"physics": {"engine": "physx", "physx": settings}})


class Collector:
    """Collects what garbage there is in its process."""

    def collect(self) -> int:
        gc.collect()
        return os.getpid()


class Pool:
    """Says in which process it is given up, as an engine with threads would wait for them there."""

    def __init__(self, told: Path) -> None:
        self.itself, self.told = self, told  # found by the collector only

    def __del__(self) -> None:
        (self.told / str(os.getpid())).touch()


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")
def test_garbage_of_the_parent_is_not_collected_in_its_processes(tmp_path: Path) -> None:
    gc.collect()
    gc.disable()
    try:
        Pool(tmp_path)
        workers = Workers([Collector(), Collector()])
    finally:
        gc.enable()
    here, there = workers.run("collect", [(), ()])
    assert here == os.getpid() != there
    assert [told.name for told in tmp_path.iterdir()] == [str(here)]


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")
def test_processes_end_although_their_parent_takes_sigterm_for_a_wish() -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        workers = Workers([Collector(), Collector()])
        _, there = workers.run("collect", [(), ()])
        del workers
    finally:
        signal.signal(signal.SIGTERM, before)
    with pytest.raises(ProcessLookupError):
        os.kill(there, 0)
