"""`score run`: a bundle drives a robot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import tyro

from score_rl.cli.common import Flat
from score_rl.cli.signals import run_interruptibly
from score_rl.core.errors import ScoreError
from score_rl.core.files import require_free_space, write_json
from score_rl.core.outputs import resolve_output
from score_rl.core.process import describe_process
from score_rl.core.ranges import Count, Seed
from score_rl.core.runs import start_run
from score_rl.core.terminal import say
from score_rl.deploy.bundle.bundle import load_bundle
from score_rl.deploy.drivers import load_driver
from score_rl.deploy.runtime.control_loop import RunConfig
from score_rl.deploy.runtime.recorder import EventLog, Recorder
from score_rl.deploy.runtime.runtime import BROKEN, Runtime
from score_rl.pipeline.inputs import SPACE_NEEDED
from score_rl.pipeline.rehearsal import EVENTS, support_alarm
from score_rl.report.stages import episode_lines

REPORT = "report.json"


@dataclass(frozen=True)
class Recorded:
    """What a recording is of: whoever takes up one that was killed must record the same."""

    bundle: str
    """Digest of the bundle."""
    task: str
    robot: str


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
    episodes: Count = 1
    """Episodes to run."""
    first_seed: Seed = 0
    """Seeds are first_seed, first_seed + 1, ...: of the policy's noise, and of a simulated robot's objects."""
    record_views: bool = False
    """Also record the robot's views (point clouds, images), which it is then asked for at every control step."""
    stochastic: bool = False
    """Draw the latent from the steering policy instead of taking its mean."""
    runtime: Flat[RunConfig] = field(default_factory=RunConfig)
    """Timing, watchdog and guard."""

    def run(self) -> None:
        """Run the episodes and say what became of them. Raises ScoreError where the robot was lost."""
        inputs = {"bundle": Path(self.bundle)}
        resolve_output(self.out, inputs)  # before the robot is called
        require_free_space(self.out, SPACE_NEEDED)
        torch.set_num_threads(1)  # one decision is too small to share out, and threads that wake up cost time
        policy = load_bundle(self.bundle, deterministic=not self.stochastic)
        driver = load_driver(self.robot, parse_options(self.options))
        seeds = range(self.first_seed, self.first_seed + self.episodes)
        what = Recorded(policy.digest, policy.spec.task, self.robot)
        with driver, start_run(self.out, "run", what, {}, inputs=inputs) as recording:
            if recording.finished:
                raise ScoreError(f"{self.out} already holds a finished recording; choose another folder")
            recording.own("dataset", "journal")
            with Recorder(recording.directory, driver.spec, policy.spec.task, self.record_views) as recorder:
                log = EventLog(recording.path(EVENTS))
                alarm = support_alarm(policy, self.runtime)
                runtime = Runtime(policy, driver, driver.spec, self.runtime, recorder, log, alarm)
                reports = run_interruptibly(runtime, seeds)
                log.close()
            about = {"bundle": policy.digest, "robot": self.robot, **describe_process()}
            write_json(recording.path(REPORT), about | {"episodes": [report.plain() for report in reports]})
            recording.finish({"episodes": recorder.episodes})
        for line in episode_lines(reports):
            say(line)
        if reports and reports[-1].ended in BROKEN:
            raise ScoreError(f"the last episode ended with '{reports[-1].ended}'; see {self.out / EVENTS}")


def parse_options(options: Sequence[str]) -> dict[str, str]:
    """{name: value} of NAME=VALUE. Raises ScoreError."""
    for option in options:
        if "=" not in option:
            raise ScoreError(f"option '{option}' must look like NAME=VALUE")
    return dict(option.split("=", 1) for option in options)
