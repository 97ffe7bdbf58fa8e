"""Every engine keeps its promises; what it cannot represent is named."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from engine_conformance import check_engine
from parts import TASK

from score_rl.core.errors import ScoreError
from score_rl.sim.domain import Physics, parse_domain
from score_rl.sim.engines.engine import not_applied
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
