"""The runtime: drives a robot by a policy, episode after episode, and leaves it at rest in any case.

With a healthy robot and a policy that decides within its share of a period, the commands are those of
`score_rl.evaluation` on the same seeds, to the bit: the same windows, the same noise (drawn from the episode's seed
and the decision's number alone), the same rows of the same chunks, and a guard that passes what is within the limits.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from score_rl.core.arrays import blank_window
from score_rl.core.errors import ScoreError
from score_rl.core.interfaces import check_offer
from score_rl.core.records import validate
from score_rl.deploy.bundle.spec import BundleSpec
from score_rl.deploy.clock import Clock
from score_rl.deploy.drivers.protocol import RobotDriver, RobotLost, RobotSpec
from score_rl.deploy.guard.guard import Guard, Log, summarize_counts
from score_rl.deploy.guard.limits import guard_limits
from score_rl.deploy.guard.watchdog import Watchdog
from score_rl.deploy.runtime.control_loop import ControlLoop, EpisodeReport, Parts, RunConfig
from score_rl.deploy.runtime.planner import Continue, Planner, SupportScore
from score_rl.deploy.runtime.recorder import Recorder
from score_rl.steering.policy import Decision

WARM_UPS = 20
"""Decisions after which a policy's latency is known."""


BROKEN = ("robot_lost", "watchdog", "policy_error", "no_decision")
"""Ends of an episode behind which there is no sense in another."""


class RunnablePolicy(Protocol):
    """What can be run; `deploy.bundle.bundle.Bundle` is one.

    It may be asked for the first decision of an episode while one of the episode before is still running.
    """

    spec: BundleSpec

    def decide(self, window: Mapping[str, Tensor], noise: Tensor) -> Decision:
        """Chunks (n, h, a) for windows {key: (n, frames, *shape)} and noise (n, l, w)."""
        ...

    def base_decide(self, window: Mapping[str, Tensor], noise: Tensor) -> Decision:
        """The same by the base policy alone."""
        ...


def check_robot(spec: BundleSpec, robot: RobotSpec) -> None:
    """Raise ScoreError where a bundle cannot drive a robot."""
    if not isinstance(robot, RobotSpec):
        raise ScoreError(f"the robot's spec is a {type(robot).__name__}, expected a RobotSpec")
    check_offer(spec.interface, "the bundle", robot.interface, robot.name, same_names=True)


class Runtime:
    """Drives one connected robot by one policy; `interrupt` ends it from a signal handler or another thread."""

    def __init__(
        self,
        policy: RunnablePolicy,
        driver: RobotDriver,
        robot: RobotSpec,
        config: RunConfig | None = None,
        recorder: Recorder | None = None,
        log: Log = lambda record: None,
        support: SupportScore | None = None,
        clock: Clock | None = None,
        planner: Planner | None = None,
    ) -> None:
        """robot: what `driver.connect` returned. clock, planner: others than this computer's clock and a thread that
        asks the policy. Raises ScoreError where policy and robot do not fit, and for settings out of range."""
        check_robot(policy.spec, robot)
        self.config, clock = config or RunConfig(), clock or Clock()
        validate(self.config)
        self.guard = Guard(guard_limits(policy.spec), self.config.guard, log)
        lead, samples = self.config.lead_steps, self.config.hand_over_samples
        if samples and not hasattr(policy, "hand_over"):
            raise ScoreError(
                f"{type(policy).__name__} has no `hand_over`, which hand_over_samples = {samples} asks for"
            )
        go_on = policy.hand_over(samples) if samples else None
        if lead is not None and not 0 <= lead < policy.spec.execute_steps:
            raise ScoreError(f"lead_steps is {lead}, expected 0 to {policy.spec.execute_steps - 1}")
        if lead is None:
            period_s = 1 / (policy.spec.interface.control_rate_hz * robot.speed) if robot.speed else math.inf
            lead = measured_lead(policy, period_s, self.config.decision_share, support, clock, go_on)
        self._parts = Parts(
            spec=policy.spec,
            driver=driver,
            guard=self.guard,
            planner=planner or Planner(policy.decide, policy.base_decide, support, go_on),
            recorder=recorder,
            log=log,
            lock=threading.Lock(),
            interrupted=threading.Event(),
            speed=robot.speed,
            lead_steps=lead,
            clock=clock,
        )

    def interrupt(self, *_: Any) -> None:
        """Brake, hold and return soon, with everything recorded; may be a signal handler."""
        self._parts.interrupted.set()

    @property
    def interrupted(self) -> bool:
        """Whether `interrupt` was called."""
        return self._parts.interrupted.is_set()

    def run(self, seeds: Sequence[int]) -> list[EpisodeReport]:
        """One episode per seed; fewer where interrupted, and behind one that ended for a reason in `BROKEN`."""
        reports: list[EpisodeReport] = []
        for seed in seeds:
            if self.interrupted or (reports and reports[-1].ended in BROKEN):
                break
            reports.append(self.episode(seed))
        return reports

    def close(self) -> None:
        """End the planner's thread."""
        self._parts.planner.close()

    def episode(self, seed: int) -> EpisodeReport:
        """Drive one episode to its end; the robot rests when this returns, or is lost."""
        parts, report, before = self._parts, EpisodeReport(seed), Counter(self.guard.counts)
        try:
            reading = parts.driver.begin(seed)
            if parts.recorder is not None:
                parts.recorder.begin(seed)
            with self._watchdog() as watchdog:
                ControlLoop(parts, self.config, report, reading, watchdog).run()
        except RobotLost as error:
            report.ended = "robot_lost"
            parts.log({"event": "robot_lost", "error": str(error)})
        finally:
            parts.planner.abandon()
            with contextlib.suppress(OSError, ScoreError):  # lost, or not answering: it must hold by itself
                parts.driver.stop()
            report.guard = summarize_counts(self.guard.counts - before)
            if parts.recorder is not None and parts.recorder.recording:
                parts.recorder.end(report.ended or "error", report.success)
            parts.log({"event": "episode", **report.plain()})
        return report

    def _watchdog(self) -> Watchdog:
        """Where the robot waits for every command, nothing is late: then the watchdog sleeps."""
        config, speed = self.config, self._parts.speed or 1e-3
        return Watchdog(
            hold=self._hold,
            stop=self._parts.driver.stop,
            hold_s=config.watchdog_hold_s / speed,
            stop_s=config.watchdog_stop_s / speed,
            period_s=1 / (self._parts.spec.interface.control_rate_hz * speed),
            clock=self._parts.clock,
        )

    def _hold(self) -> None:
        """One step of braking, sent in place of the silent loop."""
        parts = self._parts
        if not parts.lock.acquire(timeout=0.01):  # the loop hangs in the wire itself: only `stop` is left
            return
        try:
            parts.driver.command(parts.guard.step(None).command)
            parts.log({"event": "watchdog"})
        finally:
            parts.lock.release()


def measured_lead(
    policy: RunnablePolicy,
    period_s: float,
    share: float,
    support: SupportScore | None = None,
    clock: Clock | None = None,
    go_on: Continue | None = None,
) -> int:
    """Control steps ahead at which decisions must be asked for: 0 where one takes well less than `share` of a period.

    Judged by twice the median of some decisions on empty windows. Rarer delays are bridged by the old chunk.
    """
    if math.isinf(period_s):
        return 0
    spec, seconds, now = policy.spec, [], (clock or Clock()).now
    window, running = blank_window(spec.policy), torch.zeros(1, *spec.policy.chunk_shape)
    for _ in range(WARM_UPS):
        began = now()
        noise = torch.zeros(1, *spec.policy.latent_shape)
        decision = go_on(window, noise, running) if go_on is not None else policy.decide(window, noise)
        if support is not None:
            support(window, decision)
        seconds.append(now() - began)
    late_s = 2 * float(np.median(seconds)) - share * period_s
    return min(max(0, math.ceil(late_s / period_s)), spec.execute_steps - 1)
