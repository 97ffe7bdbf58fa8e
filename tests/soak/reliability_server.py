"""What a policy server stands: hostile messages, many clients, and its own sudden death.

    python tests/soak/reliability_server.py --bundle runs/bundle

Three parts, the first two against `score serve`:

- hostile: `--messages` malformed or malicious messages (`hostile_messages.KINDS`, equally often), while slow and
  half-open connections linger and an honest client decides at 10 Hz. The server must react to each, answer the honest
  client as if it were alone, and hold as many files and tasks at the end as before. Memory is judged by what the
  second half of the messages adds: allocators touch new pages for long, less and less of them, while a leak adds as
  much in the second half as in the first. 5 MB of 100,000 messages are 100 bytes for each, which is less than a
  connection or an answer takes.
- load: `--clients` clients at 10 Hz for `--seconds`; latency is measured by the clients.
- kill: `kill -9` of the server at random moments, `--kills` times, with clients running; every call must return
  within its timeout, every client must be served again, and every answer must be the same as before. So that it is
  back soon, this server is forked from a process that has loaded everything.
"""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from hostile_messages import KINDS, LOITERERS, SILENT, Target
from score_client import Answer, ArraySpec, ClientConfig, PolicyClient, PolicyRefused, PolicyUnavailable

from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.core.records import read_json
from score_rl.core.seeding import rng
from score_rl.deploy.bundle.bundle import load_bundle
from score_rl.deploy.server.config import ServerConfig

RATE_HZ = 10.0
WARM_UP, HALF = 0.1, 0.5
"""Parts of the hostile messages behind which the server's memory is told; from the second on it may hardly grow."""
LATE_GROWTH_MB = 5.0
"""What the second half of the messages may add."""
LOOSE_S = 0.5
"""What a call may take beyond its timeout on a machine that is busy with other things."""


@dataclass(frozen=True)
class Benchmark:
    """Reliability of the server."""

    parts: tuple[Literal["load", "hostile", "kill"], ...] = ("load", "hostile", "kill")
    """Parts to run; the records of the others stay in the result file."""
    bundle: Path = Path("runs/bundle")
    """Bundle to serve."""
    messages: int = 100_000
    """Hostile messages."""
    attackers: int = 16
    """Of them at a time."""
    clients: int = 20
    """Clients under load."""
    seconds: float = 60.0
    """Length of the load."""
    kills: int = 50
    """Kills of the server."""
    seed: int = 0
    """Seed of messages and moments."""
    port: int = 8765
    """Port to serve on."""
    logs: Path = Path("runs/reliability_server")
    """Folder for the servers' logs."""
    result: Path = Path("benchmarks/results/reliability_server.json")
    """Result file to write."""


class ServerProcess:
    """A server in a process of its own, on a fixed port."""

    def __init__(self, command: Sequence[str], port: int, log: Path) -> None:
        """command: starts the server on `port`. log: file for what it says, appended to."""
        self.command, self.port, self.log = list(command), port, log
        self.process: subprocess.Popen[bytes] | None = None
        log.parent.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> ServerProcess:
        self.start()
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def start(self) -> None:
        """Start the process; `wait` waits until it serves."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)

    def wait(self) -> None:
        """Wait until it serves."""
        wait_until_served(self.port, lambda: self.process.poll() is None)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.process.kill()
        self.process.wait()

    def usage(self) -> dict[str, float]:
        """What the process holds: memory (MB), files, threads, and tasks of its event loop."""
        folder = Path(f"/proc/{self.process.pid}")
        pages = int((folder / "statm").read_text().split()[1])
        return {
            "rss_mb": round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 2),
            "files": len(list((folder / "fd").iterdir())),
            "threads": len(list((folder / "task").iterdir())),
            "tasks": json.loads(get(self.port, "/status"))["tasks"],
        }


class ForkedServer:
    """The same server, forked from a process that has loaded everything: it can be back within a moment."""

    def __init__(self, bundle: Path, port: int) -> None:
        self.bundle, self.port = bundle, port
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["__main__", "score_rl.deploy.server.server"])
        self._process: Any = None

    def __enter__(self) -> ForkedServer:
        self.start()
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start the process; `wait` waits until it serves."""
        self._process = self._context.Process(target=serve_bundle, args=(self.bundle, self.port), daemon=True)
        self._process.start()

    def wait(self) -> None:
        """Wait until it serves."""
        wait_until_served(self.port, self._process.is_alive)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self._process.kill()
        self._process.join()


def serve_bundle(bundle: Path, port: int) -> None:
    """What `score serve` does, in a process that has loaded everything."""
    from score_rl.deploy.server.server import serve_until_stopped

    torch.set_num_threads(1)
    config = ServerConfig(port=port)
    asyncio.run(serve_until_stopped(load_bundle(bundle), config, None, lambda server: None))


def get(port: int, path: str) -> str:
    """Text of a page of the server."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as page:
        return page.read().decode()


def wait_until_served(port: int, alive: Callable[[], bool], timeout_s: float = 600.0) -> None:
    """Wait until the health check answers. Raises RuntimeError where the server ends, or the time does."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if get(port, "/healthz") == "OK\n":
                return
        except OSError:
            if not alive():
                raise RuntimeError("the server ended before it served; see its log") from None
            time.sleep(0.01)
    raise RuntimeError(f"the server did not serve within {timeout_s:g} s")


class Robot(threading.Thread):
    """An honest client that decides at 10 Hz and remembers how that went."""

    def __init__(self, port: int, number: int, timeout_s: float, stop: threading.Event) -> None:
        super().__init__(name=f"robot {number}", daemon=True)
        self.client = PolicyClient(ClientConfig(f"ws://127.0.0.1:{port}", decide_timeout_s=timeout_s))
        self.number, self.timeout_s, self.stop = number, timeout_s, stop
        self.latency_s: list[float] = []
        """Of every answered call."""
        self.failed_s: list[float] = []
        """Duration of every call that reported that there is no answer."""
        self.different = self.refused = 0
        """Answers that were not the first one's, although the question was; refusals."""
        self.answers = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        """Ask the same question again and again until told to stop."""
        try:
            self._run()
        except BaseException as error:  # a thread's errors are shown by `summary`
            self.error = error

    def _run(self) -> None:
        self.client.connect()
        spec, random = self.client.metadata, rng("robot", self.number)
        self.client.reset(seed=self.number)
        for _ in range(spec.history):
            self.client.observe(arrays_of(spec.interface.observation, random))
        question, first = self.client.request(arrays_of(spec.interface.views, random)), None
        time.sleep(float(random.uniform(0, 1 / RATE_HZ)))
        due = time.monotonic()
        while not self.stop.is_set():
            began = time.monotonic()
            answer = self._ask(question)
            (self.failed_s if answer is None else self.latency_s).append(time.monotonic() - began)
            if answer is not None:
                first = answer if first is None else first
                self.answers += 1
                self.different += not np.array_equal(first.actions, answer.actions)
            due = max(due + 1 / RATE_HZ, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
        self.client.close()

    def _ask(self, question: bytes) -> Answer | None:
        try:
            return self.client.exchange(question)
        except PolicyUnavailable:
            return None
        except PolicyRefused:
            self.refused += 1
            return None


def arrays_of(specs: Mapping[str, ArraySpec], random: np.random.Generator) -> dict[str, np.ndarray]:
    """Numbers for every key; a pose (7) gets a unit quaternion."""
    arrays = {key: random.uniform(-0.5, 0.5, array.shape).astype(np.float32) for key, array in specs.items()}
    for values in arrays.values():
        if values.shape == (7,):
            values[3:] /= np.linalg.norm(values[3:])
    return arrays


def percentiles(values_s: Sequence[float]) -> dict[str, float | None]:
    """p50, p99 and the largest, in milliseconds."""
    if not values_s:
        return {"p50_ms": None, "p99_ms": None, "max_ms": None}
    values = 1000 * np.array(values_s)
    return {
        "p50_ms": round(float(np.percentile(values, 50)), 2),
        "p99_ms": round(float(np.percentile(values, 99)), 2),
        "max_ms": round(float(values.max()), 2),
    }


def summary(robots: Sequence[Robot]) -> dict[str, Any]:
    """What became of the robots' calls. Raises what a robot's thread raised."""
    for robot in robots:
        if robot.error is not None:
            raise robot.error
    failed = [value for robot in robots for value in robot.failed_s]
    return {
        "calls": sum(robot.answers + len(robot.failed_s) for robot in robots),
        "answered": sum(robot.answers for robot in robots),
        "reported_unavailable": len(failed) - sum(robot.refused for robot in robots),
        "refused": sum(robot.refused for robot in robots),
        "answers_different": sum(robot.different for robot in robots),
        **percentiles([value for robot in robots for value in robot.latency_s]),
        "longest_failed_call_ms": percentiles(failed)["max_ms"],
    }


async def attack(target: Target, messages: int, attackers: int, seed: int, server: ServerProcess) -> dict[str, Any]:
    """Send the hostile messages; outcomes by kind, and the server's usage along the way."""
    outcomes: dict[str, Counter[str]] = {name: Counter() for name in KINDS}
    numbers, done, usage, thrown_out = count(), 0, [], Counter[str]()
    names = list(KINDS)

    async def worker() -> None:
        nonlocal done
        while (number := next(numbers)) < messages:
            name = names[number % len(names)]
            outcomes[name][await KINDS[name](target, rng("hostile", seed, number))] += 1
            done += 1
            if done % max(1, messages // 20) == 0:
                usage.append({"messages": done, **await asyncio.to_thread(server.usage)})

    async def loiter(name: str) -> None:
        while True:
            await LOITERERS[name](target)
            thrown_out[name] += 1

    loiterers = [asyncio.create_task(loiter(name)) for name in LOITERERS for _ in range(4)]
    await asyncio.gather(*(worker() for _ in range(attackers)))
    for task in loiterers:
        if task.done():
            task.result()
        task.cancel()
    await asyncio.gather(*loiterers, return_exceptions=True)
    return {
        "outcomes": {name: dict(sorted(counts.items())) for name, counts in outcomes.items()},
        "slow_connections_thrown_out": dict(sorted(thrown_out.items())),
        "usage": usage,
    }


def hostile(server: ServerProcess, messages: int, attackers: int, seed: int) -> dict[str, Any]:
    """The record of the hostile part."""
    stop = threading.Event()
    robot = Robot(server.port, 0, timeout_s=5.0, stop=stop)
    robot.client.connect()
    spec, random = robot.client.metadata, rng("hostile", seed, "valid")
    robot.client.observe(arrays_of(spec.interface.observation, random))
    question = robot.client.request(arrays_of(spec.interface.views, random))
    target = Target("127.0.0.1", server.port, question)
    before = server.usage()
    robot.start()
    began = time.monotonic()
    result = asyncio.run(attack(target, messages, attackers, seed, server))
    wall_s = time.monotonic() - began
    stop.set()
    robot.join()
    time.sleep(2.0)  # the last connections go
    after = server.usage()
    warm, half = (
        next(usage for usage in result["usage"] if usage["messages"] >= part * messages) for part in (WARM_UP, HALF)
    )
    total = sum((Counter(counts) for counts in result["outcomes"].values()), Counter())
    return {
        "part": "hostile",
        "messages": sum(total.values()),
        "wall_s": round(wall_s, 1),
        "crashes": int(server.process.poll() is not None),
        "unanswered": total[SILENT],
        "outcomes_all": dict(sorted(total.items())),
        "tracebacks_in_log": server.log.read_text(errors="replace").count("Traceback"),
        "before": before,
        "after_warm_up": warm,
        "after": after,
        "rss_growth_mb": round(after["rss_mb"] - warm["rss_mb"], 2),
        "rss_growth_late_mb": round(after["rss_mb"] - half["rss_mb"], 2),
        "honest_client": summary([robot]),
        **result,
    }


def load(server: ServerProcess, clients: int, seconds: float) -> dict[str, Any]:
    """The record of the load."""
    stop = threading.Event()
    robots = [Robot(server.port, number, timeout_s=5.0, stop=stop) for number in range(clients)]
    began = json.loads(get(server.port, "/status"))
    for robot in robots:
        robot.start()
    time.sleep(seconds)
    load_average = os.getloadavg()[0]
    stop.set()
    for robot in robots:
        robot.join()
    ended = json.loads(get(server.port, "/status"))
    result = summary(robots)
    late = sum(value > 1 / RATE_HZ for robot in robots for value in robot.latency_s)
    decisions, batches = (ended[name] - began[name] for name in ("decisions", "batches"))
    return {
        "part": "load",
        "clients": clients,
        "rate_hz": RATE_HZ,
        "seconds": seconds,
        **result,
        "clients_served": sum(robot.answers > 0 for robot in robots),
        "slower_than_a_control_step": late,
        "rows_per_batch": round(decisions / max(1, batches), 2),
        "load_average": round(load_average, 1),
    }


def kill(
    server: ServerProcess | ForkedServer, kills: int, seed: int, clients: int = 4, timeout_s: float = 1.0
) -> dict[str, Any]:
    """The record of the kills: up for up to 2 s, down for up to 2 s, so that calls both survive and time out."""
    stop, moments = threading.Event(), rng("reliability", seed, "kill")
    robots = [Robot(server.port, number, timeout_s, stop) for number in range(clients)]
    for robot in robots:
        robot.start()
    back_s, never_back = [], 0
    for _ in range(kills):
        time.sleep(float(moments.uniform(0.0, 2.0)))
        server.kill()
        time.sleep(float(moments.uniform(0.0, 2.0)))
        server.start()
        server.wait()
        ready, before = time.monotonic(), [robot.answers for robot in robots]
        while any(robot.answers == old for robot, old in zip(robots, before)) and time.monotonic() < ready + 10:
            time.sleep(0.005)
        never_back += sum(robot.answers == old for robot, old in zip(robots, before))
        back_s.append(time.monotonic() - ready)
    stop.set()
    for robot in robots:
        robot.join()
    calls = [value for robot in robots for value in robot.latency_s + robot.failed_s]
    return {
        "part": "kill",
        "kills": kills,
        "clients": clients,
        "timeout_s": timeout_s,
        **summary(robots),
        "reconnections": sum(robot.client.reconnections for robot in robots),
        "clients_never_back": never_back,
        "calls_beyond_timeout": sum(value > timeout_s + LOOSE_S for value in calls),
        "longest_call_ms": percentiles(calls)["max_ms"],
        "all_served_again_ms": percentiles(back_s),
    }


def passed(records: Sequence[dict[str, Any]]) -> dict[str, bool]:
    """What is demanded of each part, and whether it holds."""
    demands: dict[str, bool] = {}
    for record in records:
        if record["part"] == "hostile":
            demands |= {
                "hostile: no crash, every message got a reaction": record["crashes"] == 0 == record["unanswered"],
                "hostile: the second half of the messages adds no memory to speak of": record["rss_growth_late_mb"]
                < LATE_GROWTH_MB,
                "hostile: files and tasks as before": record["after"]["files"] <= record["before"]["files"] + 1
                and record["after"]["tasks"] <= record["before"]["tasks"] + 1,
                "hostile: no traceback": record["tracebacks_in_log"] == 0,
                "hostile: the honest client noticed nothing": record["honest_client"]["answers_different"] == 0
                and record["honest_client"]["answered"] == record["honest_client"]["calls"],
            }
        elif record["part"] == "load":
            demands["load: all calls answered"] = record["answered"] == record["calls"] > 0
        else:
            demands["kill: every call within its timeout, every client back, same answers"] = (
                record["calls_beyond_timeout"] == record["clients_never_back"] == record["answers_different"] == 0
                and record["refused"] == 0
            )
    return demands


def main() -> None:
    """Run the benchmark; exit status 1 where a demand is not met."""
    benchmark = tyro.cli(Benchmark, description=__doc__)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # says so for every server that hung up on an attacker
    command = [
        sys.executable,
        "-m",
        "score_rl.cli",
        "serve",
        str(benchmark.bundle),
        "--port",
        str(benchmark.port),
    ]
    process = describe_process()
    server = ServerProcess(command, benchmark.port, benchmark.logs / "server.log")
    server.log.unlink(missing_ok=True)
    forked = ForkedServer(benchmark.bundle, benchmark.port)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "load": lambda: load(server, benchmark.clients, benchmark.seconds),
        "hostile": lambda: hostile(server, benchmark.messages, benchmark.attackers, benchmark.seed),
        "kill": lambda: kill(forked, benchmark.kills, benchmark.seed),
    }
    source = {key: process[key] for key in ("commit", "command", "machine")}
    records = {record["part"]: record for record in read_json(benchmark.result)} if benchmark.result.exists() else {}
    for part in benchmark.parts:
        with forked if part == "kill" else server:
            records[part] = parts[part]() | source
        print(f"{part}: done", flush=True)
        write_json(benchmark.result, [records[name] for name in parts if name in records])
    demands = passed([records[part] for part in benchmark.parts])
    for demand, holds in demands.items():
        print(f"{'ok    ' if holds else 'FAILED'} {demand}")
    sys.exit(not all(demands.values()))


if __name__ == "__main__":
    main()
