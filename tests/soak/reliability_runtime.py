"""Kill the client and the robot again and again, and drive for an hour: does it hold, record, and keep time?

    python tests/soak/reliability_runtime.py --bundle runs/bundle

Kills: `score run` drives a robot process; at a random moment one of the two gets SIGKILL. (Both are forked from a
server that has imported the libraries already, which saves most of the time of starting them.) A killed client must
leave the robot braked and at rest, and its recording must lack at most the step that it was writing (the robot
counts the commands it took). A killed robot must end the client by itself, with everything recorded. Endurance:
episode after episode at the control rate in real time, with deadlines, latencies and the memory of both processes.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from score_rl.cli import main as cli
from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.core.progress import progress
from score_rl.core.records import read_json
from score_rl.core.seeding import rng
from score_rl.data.dataset import load_dataset
from score_rl.deploy.bundle.bundle import load_bundle
from score_rl.deploy.bundle.spec import BundleSpec
from score_rl.deploy.drivers.protocol import RobotSpec
from score_rl.deploy.drivers.proxy import ProxyRobot, RobotProcessConfig, robot_for, robot_status, spawn_robot
from score_rl.deploy.drivers.proxy_process import run_robot
from score_rl.deploy.runtime.control_loop import EpisodeReport
from score_rl.deploy.runtime.recorder import KILLED, Recorder
from score_rl.deploy.runtime.runtime import Runtime

PROCESSES = multiprocessing.get_context("forkserver")

SAMPLE_S = 5.0
"""Seconds between two looks at the memory."""


@dataclass(frozen=True)
class Benchmark:
    """Kill, and endure."""

    bundle: Path = Path("runs/bundle")
    """Bundle of a policy for a simulated task."""
    world: str = "twin"
    """Domain of the robot; keep the proxy's reserved robots out of this."""
    kills: int = 50
    """Kills, of client and robot in turn."""
    kill_speed: float = 3.0
    """Times real time while killing."""
    minutes: float = 60.0
    """Length of the drive."""
    seed: int = 0
    """Seed of the moments."""
    result: Path = Path("benchmarks/results/reliability_runtime.json")
    """Result file to write."""


def main(benchmark: Benchmark) -> None:
    """Both parts, into one result file; a part that is not run (0 kills, 0 minutes) stays as it was."""
    policy, source = load_bundle(benchmark.bundle).spec, describe_process()
    record = read_json(benchmark.result) if benchmark.result.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        if benchmark.kills:
            record["kills"] = kill(benchmark, policy, Path(folder)) | source
            write_json(benchmark.result, record)
        if benchmark.minutes:
            record["endurance"] = endure(benchmark, Path(folder)) | source
            write_json(benchmark.result, record)


# ---- kills ------------------------------------------------------------------------------------------------------


def kill(benchmark: Benchmark, policy: BundleSpec, folder: Path) -> dict[str, Any]:
    """Every kill's outcome, counted."""
    PROCESSES.set_forkserver_preload(["score_rl.cli.main", "score_rl.deploy.drivers.proxy_process"])
    moments = rng("reliability", benchmark.seed)
    address = folder / "robot.sock"
    config = robot_for(policy, world=benchmark.world, address=address, speed=benchmark.kill_speed)
    robot, spec = start_robot(config)
    clients: list[dict[str, Any]] = []
    robots: list[dict[str, Any]] = []
    with progress("kill", total=benchmark.kills) as advance:
        for number in range(benchmark.kills):
            out = folder / f"run-{number}"
            client = start_client(benchmark, address, out, number)
            time.sleep(float(moments.uniform(0.0, 5.0)))
            if number % 2 == 0:
                clients.append(kill_client(client, config, out, spec, policy.task))
            else:
                robots.append(kill_robot(client, robot, out))
                robot, spec = start_robot(config)
                status = robot_status(address)
                robots[-1]["restarted_at_rest"] = status["resting"] and not status["driven"]
            shutil.rmtree(out)
            advance()
    robot.terminate()
    robot.join()
    return {
        "client_kills": len(clients),
        "robot_at_rest_after_client_kill": sum(outcome["at_rest"] for outcome in clients),
        "seconds_to_rest_max": max((outcome["seconds"] for outcome in clients), default=None),
        "killed_within_an_episode": sum(outcome["within"] for outcome in clients),
        "steps_lost_max": max((outcome["lost"] for outcome in clients), default=None),
        "steps_recorded": sum(outcome["recorded"] for outcome in clients),
        "robot_kills": len(robots),
        "client_ended_by_itself": sum(outcome["ended"] for outcome in robots),
        "seconds_to_end_max": max((outcome["seconds"] for outcome in robots), default=None),
        "recordings_whole": sum(outcome["whole"] for outcome in robots),
        "robot_restarted_at_rest": sum(outcome["restarted_at_rest"] for outcome in robots),
        "outcomes": {"client": clients, "robot": robots},
    }


def start_robot(config: RobotProcessConfig) -> tuple[BaseProcess, RobotSpec]:
    """A robot process that answers."""
    config.address.unlink(missing_ok=True)  # of one that was killed
    robot = PROCESSES.Process(target=run_robot, args=(config,))
    robot.start()
    with ProxyRobot(config.address) as driver:
        return robot, driver.spec


def start_client(benchmark: Benchmark, address: Path, out: Path, number: int) -> BaseProcess:
    """`score run` in a process of its own, once it has taken its first step."""
    options = ["--options", f"address={address}", "--episodes", "1000", "--first-seed", str(1000 * number)]
    client = PROCESSES.Process(target=drive, args=(["run", str(benchmark.bundle), "--out", str(out), *options],))
    client.start()
    while not list(out.glob("journal/steps.bin")):
        if not client.is_alive():
            raise SystemExit(f"the client failed; options {options}")
        time.sleep(0.02)
    return client


def drive(arguments: list[str]) -> None:
    """The command line, silently, with its exit status."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    sys.exit(cli.main(arguments))


def kill_client(
    client: BaseProcess, config: RobotProcessConfig, out: Path, spec: RobotSpec, task: str
) -> dict[str, Any]:
    """SIGKILL to the client; what the robot does then, and what the next recorder finds."""
    client.kill()
    client.join()
    began, status = time.monotonic(), robot_status(config.address)
    # Between two episodes the robot is at rest already, and has nothing to stop from.
    while not (status["resting"] and status["state"] != "moving") and time.monotonic() - began < 10:
        time.sleep(0.02)
        status = robot_status(config.address)
    seconds = time.monotonic() - began
    time.sleep(2.0 / config.speed)  # and it must stay at rest
    status = robot_status(config.address)
    Recorder(out, spec, task).close()
    recording = load_dataset(out / "dataset")
    within, recorded = recording.extra["ended"][-1] == KILLED, int(recording.lengths[-1])
    # The robot counts the commands of its newest episode, of which the recording may hold nothing yet.
    newest_is_last = within or int(status["commands"]) == recorded
    return {
        "at_rest": bool(status["resting"]) and status["state"] != "moving",
        "seconds": round(seconds, 3),
        "within": within,
        "lost": int(status["commands"]) - (recorded if newest_is_last else 0),
        "recorded": int(recording.num_frames),
    }


def kill_robot(client: BaseProcess, robot: BaseProcess, out: Path) -> dict[str, Any]:
    """SIGKILL to the robot; whether the client ends by itself with a whole recording."""
    robot.kill()
    robot.join()
    began = time.monotonic()
    client.join(120)
    seconds, ended = time.monotonic() - began, client.exitcode == 2
    client.kill()
    client.join()
    if not ended:
        return {"ended": False, "whole": False, "seconds": round(seconds, 3), "recorded": 0}
    recording = load_dataset(out / "dataset")
    last = recording.extra["ended"][-1]
    return {
        "ended": ended,
        "whole": last != KILLED,  # every episode was closed, whether the robot was lost within it or before the next
        "last_episode_ended": last,
        "seconds": round(seconds, 3),
        "recorded": recording.num_frames,
    }


# ---- endurance --------------------------------------------------------------------------------------------------


def endure(benchmark: Benchmark, folder: Path) -> dict[str, Any]:
    """Episodes in real time until the time is over."""
    torch.set_num_threads(1)
    policy = load_bundle(benchmark.bundle)
    config = robot_for(policy.spec, world=benchmark.world, address=folder / "endure.sock")
    process = spawn_robot(config)
    reports: list[EpisodeReport] = []
    memory: list[tuple[float, float, float]] = []
    began = sampled = time.monotonic()
    with (
        ProxyRobot(config.address) as robot,
        Recorder(folder / "endurance", robot.spec, policy.spec.task) as recorder,
        progress("endure [min]", total=math.ceil(benchmark.minutes)) as advance,
    ):
        runtime = Runtime(policy, robot, robot.spec, recorder=recorder)
        for seed in count():
            reports.append(runtime.episode(seed))
            now = time.monotonic()
            if now - sampled > SAMPLE_S:
                advance(int((now - began) / 60) - int((sampled - began) / 60))
                memory.append((now - began, resident_mb("self"), resident_mb(process.pid)))
                sampled = now
            if now - began > 60 * benchmark.minutes or reports[-1].ended == "robot_lost":
                break
        runtime.close()
    process.terminate()
    process.wait()
    return summarize(reports, memory, time.monotonic() - began)


def summarize(
    reports: list[EpisodeReport], memory: list[tuple[float, float, float]], wall_s: float
) -> dict[str, Any]:
    """Figures of a drive."""
    latency_ms = 1e3 * np.concatenate([report.latency_s for report in reports])
    decision_ms = 1e3 * np.concatenate([report.decision_s for report in reports])
    seconds, client_mb, robot_mb = np.array(memory).T
    settled = seconds > seconds[-1] / 4  # the first quarter fills caches
    return {
        "wall_s": round(wall_s, 1),
        "episodes": len(reports),
        "successes": sum(report.ended == "success" for report in reports),
        "control_steps": sum(report.steps for report in reports),
        "missed_deadlines": sum(report.missed_deadlines for report in reports),
        "unconfirmed_commands": sum(report.unconfirmed for report in reports),
        "repeated_readings": sum(report.repeated_readings for report in reports),
        "guard": {
            name: sum(report.guard.get(name, 0) for report in reports)
            for name in sorted({name for report in reports for name in report.guard})
        },
        "latency_ms": {f"p{q}": round(float(np.percentile(latency_ms, q)), 2) for q in (50, 99, 99.9, 100)},
        "decision_ms": {f"p{q}": round(float(np.percentile(decision_ms, q)), 2) for q in (50, 99, 100)},
        "client_memory_mb": [round(float(client_mb[settled][k]), 1) for k in (0, -1)],
        "client_memory_mb_per_hour": round(3600 * float(np.polyfit(seconds[settled], client_mb[settled], 1)[0]), 2),
        "robot_memory_mb": [round(float(robot_mb[settled][k]), 1) for k in (0, -1)],
        "robot_memory_mb_per_hour": round(3600 * float(np.polyfit(seconds[settled], robot_mb[settled], 1)[0]), 2),
    }


def resident_mb(pid: int | str) -> float:
    """Resident memory of a process (Linux)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
