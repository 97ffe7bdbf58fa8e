"""`score run`: a bundle drives a robot."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import torch
import tyro

from score_rl.cli.common import SPACE_NEEDED, Flat, console
from score_rl.core.errors import ScoreError
from score_rl.core.files import require_free_space, write_json
from score_rl.core.runs import describe_process
from score_rl.deploy.bundle.bundle import Bundle, load_bundle
from score_rl.deploy.drivers import load_driver
from score_rl.deploy.guard.support_alarm import SupportAlarm
from score_rl.deploy.runtime.control_loop import EpisodeReport, RunConfig
from score_rl.deploy.runtime.recorder import EventLog, Recorder
from score_rl.deploy.runtime.runtime import Runtime

REPORT, EVENTS = "report.json", "events.jsonl"


@dataclass(frozen=True)
class Run:
    """Drive a robot with a bundle, and record every episode into OUT/dataset (LeRobotDataset v3.0).

    Ctrl-C brakes, holds, stops the robot and closes the recording; so does a robot that is lost. OUT/events.jsonl
    has a line for everything that was not as it should be, OUT/report.json what became of every episode. A run that
    was killed is taken up by the next one with the same OUT: at most the unfinished control step is lost.
    """

    bundle: tyro.conf.Positional[Path] = Path("runs/bundle")
    """Folder of `score bundle`."""
    robot: str = "proxy"
    """Driver, by the name of its entry point (group score_rl.robots)."""
    options: tuple[str, ...] = ()
    """Options of the driver, as NAME=VALUE."""
    out: Path = Path("runs/deployment")
    """Where to record."""
    episodes: int = 1
    """Episodes to run."""
    first_seed: int = 0
    """Seeds are first_seed, first_seed + 1, ...: of the policy's noise, and of a simulated robot's objects."""
    stochastic: bool = False
    """Draw the latent from the steering policy instead of taking its mean."""
    runtime: Flat[RunConfig] = field(default_factory=RunConfig)
    """Timing, watchdog and guard."""

    def run(self) -> list[EpisodeReport]:
        """What became of every episode. Raises ScoreError where the robot was lost."""
        if self.episodes < 1:
            raise ScoreError(f"episodes is {self.episodes}, expected at least 1")
        require_free_space(self.out, SPACE_NEEDED)
        torch.set_num_threads(1)  # one decision is too small to share out, and threads that wake up cost time
        policy = load_bundle(self.bundle, deterministic=not self.stochastic)
        driver = load_driver(self.robot, parse_options(self.options))
        seeds = range(self.first_seed, self.first_seed + self.episodes)
        with driver, Recorder(self.out, driver.spec, policy.spec.task) as recorder:
            log = EventLog(self.out / EVENTS)
            alarm = support_alarm(policy, self.runtime)
            runtime = Runtime(policy, driver, driver.spec, self.runtime, recorder, log, alarm)
            reports = run_interruptibly(runtime, seeds)
            log.close()
        episodes = [report.plain() for report in reports]
        about = {"bundle": policy.digest, "robot": self.robot, **describe_process()}
        write_json(self.out / REPORT, about | {"episodes": episodes})
        print_reports(reports)
        if reports and reports[-1].ended in ("robot_lost", "watchdog", "policy_error"):
            raise ScoreError(f"the last episode ended with '{reports[-1].ended}'; see {self.out / EVENTS}")
        return reports


def support_alarm(policy: Bundle, config: RunConfig) -> SupportAlarm | None:
    """The alarm that the guard's `support_limit` asks for."""
    return None if config.guard.support_limit is None else SupportAlarm(policy.base, policy.spec)


def run_interruptibly(runtime: Runtime, seeds: Sequence[int]) -> list[EpisodeReport]:
    """Run the episodes; SIGINT and SIGTERM end them cleanly, a second signal at once."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def interrupt(number: int, frame: FrameType | None) -> None:
        console.print("[bold]braking[/bold]; once more to leave at once", highlight=False)
        runtime.interrupt()
        for each in numbers:
            signal.signal(each, before[each])

    for number in numbers:
        signal.signal(number, interrupt)
    try:
        return runtime.run(seeds)
    finally:
        for number in numbers:
            signal.signal(number, before[number])
        runtime.close()


def parse_options(options: Sequence[str]) -> dict[str, str]:
    """{name: value} of NAME=VALUE. Raises ScoreError."""
    for option in options:
        if "=" not in option:
            raise ScoreError(f"option '{option}' must look like NAME=VALUE")
    return dict(option.split("=", 1) for option in options)


def print_reports(reports: Sequence[EpisodeReport]) -> None:
    """One line per episode."""
    for report in reports:
        plain = report.plain()
        guarded = {name: count for name, count in report.guard.items() if name != "pass"}
        console.print(
            f"  episode {report.seed}: {report.ended}, {report.steps} steps, "
            f"p99 latency {_number(plain, 'latency_p99_ms')} ms, {report.missed_deadlines} missed deadlines"
            + (f", guard {guarded}" if guarded else ""),
            highlight=False,
        )


def _number(values: Mapping[str, float], name: str) -> str:
    return f"{values[name]:.1f}" if name in values else "–"
