"""The floods in short: `pytest -m soak tests/soak`. The figures of a longer run are in benchmarks/results."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.soak


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory in /proc")
def test_floods_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr(sys, "argv", ["floods.py"])
    import floods

    held = floods.demands([floods.soak_server(30.0), floods.soak_robot(30.0)])
    assert [demand for demand, holds in held.items() if not holds] == []
