"""The reliability benchmark of the server, in small: hostile messages, several clients, one sudden death."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SERVER = """
import asyncio, gc, sys
sys.path[:0] = {tests!r}
from served import NetworkServed
from score_rl.deploy.server.server import serve_until_stopped
from score_rl.deploy.server.config import ServerConfig
config = ServerConfig(port={port}, ping_interval_s=1.0, open_timeout_s=1.0)
def ready(server):
    print('old', gc.get_freeze_count(), flush=True)
asyncio.run(serve_until_stopped(NetworkServed(), config, None, ready))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory and files in /proc")
def test_the_server_stands_hostile_messages_load_and_its_own_death(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "soak"))
    import hostile_messages
    import reliability_server as benchmark

    monkeypatch.setattr(benchmark, "LOOSE_S", 10.0)  # other tests may keep the machine busy
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-c",
        SERVER.format(tests=[str(folder) for folder in Path(__file__).parents[:2]], port=port),
    ]
    server = benchmark.ServerProcess(command, port, tmp_path / "server.log")
    with server:
        records = [
            benchmark.load(server, clients=5, seconds=1.0),
            benchmark.hostile(server, messages=10 * len(hostile_messages.KINDS), attackers=8, seed=0),
            benchmark.kill(server, kills=1, seed=0, clients=2),
        ]
    # What was loaded is out of the collector's sight: else the remains of closed connections pile up.
    assert int(server.log.read_text().split("old ")[1].split()[0]) > 10_000
    load, hostile, kill = records
    assert load["clients_served"] == 5 and load["calls"] >= 5
    assert all(sum(counts.values()) == 10 for counts in hostile["outcomes"].values())
    assert hostile["outcomes"]["deep nesting"] == hostile["outcomes"]["wrong dtypes"] == {"refused": 10}
    assert kill["reconnections"] >= 2
    assert [demand for demand, holds in benchmark.passed(records).items() if not holds] == []
