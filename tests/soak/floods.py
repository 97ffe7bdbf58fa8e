"""Two floods: clients that send much and read nothing, against a policy server and against a robot process.

    python tests/soak/floods.py --seconds 120 --out benchmarks/results/soak_floods.json

Attackers connect, send until they are dropped or have left, and connect again. Meanwhile the memory of the attacked
process is measured four times a second; an honest client of the server decides at 10 Hz, and a watcher asks the robot
how it is. What is demanded stands in `demands`.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from score_client import ClientConfig, PolicyClient, PolicyUnavailable, wire

from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.deploy.drivers.proxy import ProxyRobot, RobotProcessConfig, robot_status, spawn_robot

DEPLOY_TESTS = Path(__file__).parents[1] / "deploy"
SERVER = """
import asyncio, sys
sys.path[:0] = [{tests!r}]
from served import NetworkServed
from score_rl.deploy.server.config import ServerConfig
from score_rl.deploy.server.server import serve_until_stopped
config = ServerConfig(port={port}, ping_interval_s={ping_s})
asyncio.run(serve_until_stopped(NetworkServed(), config, None, lambda server: print('ready', flush=True)))
"""
PING_S = 2.0
"""Interval of the server's pings."""
ATTACKERS = 4
BINARY, PING, CONTINUED = 2, 9, 0
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
OBSERVATION = {"state": np.zeros(2, np.float32), "command": np.zeros(1, np.float32)}


def frame(opcode: int, payload: bytes = b"", final: bool = True) -> bytes:
    """A short WebSocket frame from a client, with a mask of zeros."""
    head = bytes([(128 if final else 0) | opcode])
    size = bytes([128 | len(payload)]) if len(payload) < 126 else bytes([254]) + len(payload).to_bytes(2, "big")
    return head + size + bytes(4) + payload


QUESTION = frame(BINARY, wire.pack(OBSERVATION))
SERVER_FLOODS: dict[str, tuple[bytes, bool]] = {
    "pings": (frame(PING, b"p" * 125) * 100, True),
    "empty pings": (frame(PING) * 1000, True),
    "pings and questions": (frame(PING, b"p" * 125) * 50 + QUESTION, True),
    "pieces of a message": (frame(BINARY, b"\x80", final=False) + frame(CONTINUED, final=False) * 1000, True),
    "questions": (QUESTION * 20, True),
    "a question, then silence": (QUESTION, False),
}
"""Name -> (what is sent, whether again and again)."""

STATUS, BEGIN = b'{"do": "status", "id": 1}\n', b'{"do": "begin", "seed": 1, "id": 2}\n'
ROBOT_FLOODS: dict[str, bytes] = {
    "status unread": STATUS * 2600,
    "status unread, then begin": STATUS * 2600 + BEGIN,
    "begin, then status unread": BEGIN + STATUS * 2600,
    "begins": BEGIN * 20,
    "no JSON": b"{]\n" * 5000,
    "a line without end": b"x" * 2_000_000,
}
"""Name -> one burst, behind which the client hangs up."""


@dataclass
class Tally:
    """What the attackers did."""

    connections: int = 0
    megabytes: float = 0.0
    longest_s: float = 0.0
    """Longest time until a silent client was dropped."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, sent: int, silent_s: float = 0.0) -> None:
        """Count one connection that is over."""
        with self.lock:
            self.connections += 1
            self.megabytes += sent / 1e6
            self.longest_s = max(self.longest_s, silent_s)


def rss_mb(process: int) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 2)


def under_attack(process: int, seconds: float, attack: Callable[[int, threading.Event], None]) -> dict[str, Any]:
    """Memory of a process while `ATTACKERS` threads attack it: before, after a tenth, half and all, and the most."""
    over, before = threading.Event(), rss_mb(process)
    threads = [threading.Thread(target=attack, args=(number, over), daemon=True) for number in range(ATTACKERS)]
    for thread in threads:
        thread.start()
    began, seen = time.monotonic(), [(0.0, before)]
    while time.monotonic() - began < seconds:
        time.sleep(0.25)
        seen.append(((time.monotonic() - began) / seconds, rss_mb(process)))
    over.set()
    for thread in threads:
        thread.join(60)
    at = {
        share: next(mb for passed, mb in seen if passed >= share or (passed, mb) == seen[-1]) for share in (0.1, 0.5)
    }
    time.sleep(1.0)
    return {
        "rss_before_mb": before,
        "rss_tenth_mb": at[0.1],
        "rss_half_mb": at[0.5],
        "rss_end_mb": rss_mb(process),
        "rss_most_mb": max(mb for _, mb in seen),
        "load_average": round(os.getloadavg()[0], 1),
    }


# ---- the server -------------------------------------------------------------------------------------------------


def flood_server(port: int, data: bytes, for_ever: bool, over: threading.Event, tally: Tally) -> None:
    """One connection, until it is dropped."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.settimeout(5.0)
        client.sendall(HANDSHAKE)
        sent = 0
        with suppress(OSError):
            while not over.is_set() and (for_ever or not sent):
                client.sendall(data)
                sent += len(data)
        began, poll = time.monotonic(), select.poll()
        poll.register(client, select.POLLRDHUP)  # tells that the server has hung up, and reads nothing
        while not over.is_set() and not poll.poll(50):
            pass
        tally.add(sent, 0.0 if over.is_set() else time.monotonic() - began)


class Honest(threading.Thread):
    """A client that decides at 10 Hz."""

    def __init__(self, port: int, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self._client = PolicyClient(ClientConfig(f"ws://127.0.0.1:{port}", decide_timeout_s=5.0))
        self._over, self.latency_s, self.failed = over, [], 0

    def run(self) -> None:
        """Decide until it is over."""
        with self._client as client:
            while not self._over.wait(0.1):
                client.observe(OBSERVATION)
                try:
                    self.latency_s.append(client.decide().total_s)
                except PolicyUnavailable:
                    self.failed += 1


@contextmanager
def server_process() -> Iterator[tuple[subprocess.Popen[bytes], int, Path]]:
    """A policy server of a small network: (process, port, its log)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        script = SERVER.format(tests=str(DEPLOY_TESTS), port=port, ping_s=PING_S)
        with log.open("wb") as output:
            process = subprocess.Popen([sys.executable, "-c", script], stdout=output, stderr=output)
        try:
            while b"ready" not in log.read_bytes():
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            yield process, port, log
        finally:
            process.terminate()
            process.wait(60)


def soak_server(seconds: float) -> dict[str, Any]:
    """The record of the server's flood."""
    tally, floods = Tally(), list(SERVER_FLOODS.values())
    with server_process() as (process, port, log):

        def attack(number: int, over: threading.Event) -> None:
            kinds = floods[number:] + floods[:number]
            while not over.is_set():
                for data, for_ever in kinds:
                    if not over.is_set():
                        with suppress(OSError):
                            flood_server(port, data, for_ever, over, tally)

        over = threading.Event()
        honest = Honest(port, over)
        honest.start()
        time.sleep(2.0)
        memory = under_attack(process.pid, seconds, attack)
        over.set()
        honest.join(60)
        time.sleep(2 * PING_S)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=20) as page:
            status = json.loads(page.read())
        text = log.read_text()
    return {
        "part": "server",
        "seconds": seconds,
        "attackers": ATTACKERS,
        "kinds": list(SERVER_FLOODS),
        "ping_interval_s": PING_S,
        "connections": tally.connections,
        "sent_mb": round(tally.megabytes, 1),
        "silent_until_dropped_s": round(tally.longest_s, 2),
        **memory,
        "clients_at_the_end": status["connections"],
        "honest_calls": len(honest.latency_s) + honest.failed,
        "honest_answered": len(honest.latency_s),
        "honest_p50_ms": round(1e3 * float(np.quantile(honest.latency_s, 0.5)), 2),
        "honest_p99_ms": round(1e3 * float(np.quantile(honest.latency_s, 0.99)), 2),
        "log_bytes": len(text),
        "asyncio_warnings": text.count("socket.send() raised exception"),
    }


# ---- the robot --------------------------------------------------------------------------------------------------


def soak_robot(seconds: float) -> dict[str, Any]:
    """The record of the robot's flood."""
    tally, bursts = Tally(), list(ROBOT_FLOODS.values())
    with tempfile.TemporaryDirectory() as folder:
        address = Path(folder) / "robot.sock"
        process = spawn_robot(RobotProcessConfig(world="twin", address=address), log=Path(folder) / "robot.log")
        try:
            with ProxyRobot(address, process=process) as robot:
                robot.begin(1)

            def attack(number: int, over: threading.Event) -> None:
                count = number
                while not over.is_set():
                    burst, sent = bursts[count % len(bursts)], 0
                    with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
                        client.settimeout(5.0)
                        client.connect(str(address))
                        while sent < len(burst):
                            sent += client.send(burst[sent:])
                    tally.add(sent)
                    count += 1

            memory = under_attack(process.pid, seconds, attack)
            time.sleep(1.0)
            with ProxyRobot(address, process=process, confirm_s=60) as robot:
                driven = robot.status()["driven"]
                served = robot.begin(3).number == 0
            status = _settled(address)
            text = (Path(folder) / "robot.log").read_text()
        finally:
            process.terminate()
            process.wait(60)
    return {
        "part": "robot",
        "seconds": seconds,
        "attackers": ATTACKERS,
        "kinds": list(ROBOT_FLOODS),
        "connections": tally.connections,
        "sent_mb": round(tally.megabytes, 1),
        **memory,
        "captured": driven,
        "next_client_served": served,
        "stopped_and_at_rest": status["state"] == "stopped" and status["resting"],
        "log_bytes": len(text),
    }


def _settled(address: Path) -> dict[str, Any]:
    """The robot's status once it has stopped by itself, or after 20 s."""
    until = time.monotonic() + 20
    while (status := robot_status(address))["state"] != "stopped" and time.monotonic() < until:
        time.sleep(0.1)
    return status


def demands(records: list[dict[str, Any]]) -> dict[str, bool]:
    """What must hold -> whether it does."""
    server, robot = records
    return {
        # 4 buffers of 64 KiB, pieces that are being read, and what allocators keep.
        "server: less than 20 MB more at any time": server["rss_most_mb"] - server["rss_before_mb"] < 20,
        "server: less than 5 MB more from half to all": server["rss_end_mb"] - server["rss_half_mb"] < 5,
        "server: silent clients dropped within two pings": server["silent_until_dropped_s"] < 2 * PING_S + 2,
        "server: nobody left": server["clients_at_the_end"] == 0,
        "server: the honest client always answered": server["honest_calls"] == server["honest_answered"] > 0,
        "server: no warnings of asyncio": server["asyncio_warnings"] == 0,
        "robot: less than 10 MB more at any time": robot["rss_most_mb"] - robot["rss_before_mb"] < 10,
        "robot: nobody's": not robot["captured"],
        "robot: serves the next": robot["next_client_served"],
        "robot: at rest": robot["stopped_and_at_rest"],
    }


def main() -> None:
    """Run both, write the result, end with 1 where a demand is not met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0, help="of each flood")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/soak_floods.json"))
    arguments = parser.parse_args()
    records = [soak_server(arguments.seconds), soak_robot(arguments.seconds)]
    held, about = demands(records), describe_process()
    write_json(arguments.out, {"records": records, "demands": held, **about})
    print(json.dumps({"records": records, "demands": held}, indent=1))
    sys.exit(not all(held.values()))


if __name__ == "__main__":
    main()
