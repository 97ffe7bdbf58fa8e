"""The runtime against a robot without physics: which action goes out when, and what happens when things go wrong."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import NAMES, STEP, ToldClock, ToldPlanner, ToyPolicy, ToyRobot, lost, toy_spec
from toys import interface_of

from score_rl.core.errors import ScoreError
from score_rl.data.dataset import load_dataset
from score_rl.deploy.guard.guard import ACTIONS, Guard, GuardAction, GuardConfig
from score_rl.deploy.guard.limits import guard_limits
from score_rl.deploy.guard.watchdog import Watchdog
from score_rl.deploy.runtime.control_loop import RunConfig
from score_rl.deploy.runtime.planner import Plan, Planner, Player, Request
from score_rl.deploy.runtime.recorder import Recorder, read_steps, recorded_features
from score_rl.deploy.runtime.runtime import Runtime, measured_lead
from score_rl.steering.policy import decision_noise


def drive(policy: ToyPolicy, robot: ToyRobot, seeds: tuple[int, ...] = (7,), recorder: Any = None, **config: Any):
    events: list[dict] = []
    runtime = Runtime(policy, robot, robot.spec, RunConfig(**config), recorder, events.append, clock=robot.clock)
    reports = runtime.run(seeds)
    runtime.close()
    return reports, events


NO_WATCHDOG = {"watchdog_hold_s": 3600.0, "watchdog_stop_s": 3600.0}
"""Its thread lives by this computer's time, which has nothing to do with a clock that is told."""


def drive_on_time(
    robot: ToyRobot, takes_s: Any, seeds: tuple[int, ...] = (7,), policy: ToyPolicy | None = None, **config: Any
):
    """Episodes of 10 Hz by a clock that is told, with decisions that take `takes_s(number)`: (reports, events)."""
    events: list[dict] = []
    policy = policy or ToyPolicy()
    config = RunConfig(**{**NO_WATCHDOG, "lead_steps": 0, **config})
    planner = ToldPlanner(policy, robot.clock, takes_s)
    runtime = Runtime(policy, robot, robot.spec, config, log=events.append, clock=robot.clock, planner=planner)
    reports = runtime.run(seeds)
    runtime.close()
    return reports, events


def punctual(**options: Any) -> ToyRobot:
    """A robot that lives in real time, by a clock that is told."""
    return ToyRobot(speed=1.0, clock=ToldClock(), **options)


def wait_for(condition: Any, timeout_s: float = 20.0) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


# ---- which action is due -------------------------------------------------------------------------------------------


def plan(step: int, horizon: int = 6) -> Plan:
    chunk = np.float32(np.arange(horizon)[:, None] + 100 * step)
    return Plan(Request(step, 0, {}, None), chunk, None, 0.0)


def test_player_without_lead() -> None:
    """Chunks of 6, of which 4 run; the last two bridge a late decision, then there is nothing left."""
    player = Player(execute_steps=4)
    assert player.asks(0) and player.needs(0) and player.action(0) == (None, False)
    player.take(plan(0))
    played = [player.action(k) for k in range(7)]
    assert [None if row is None else row[0] for row, _ in played] == [0, 1, 2, 3, 4, 5, None]
    assert [fresh for _, fresh in played] == [True] + [False] * 6
    assert [player.needs(k) for k in range(6)] == [False] * 4 + [True] * 2 == [player.asks(k) for k in range(6)]


def test_player_with_lead_skips_the_steps_that_passed() -> None:
    """Asked for at step 3, needed at step 4: the new chunk (of step 3) begins with its second row."""
    player = Player(execute_steps=4, lead=1)
    player.take(plan(0))
    assert [player.asks(k) for k in range(5)] == [False, False, False, True, True]
    assert not player.needs(3) and player.needs(4)
    player.take(plan(3))
    row, fresh = player.action(4)
    assert row[0] == 301 and fresh
    player.drop()
    assert player.action(5) == (None, False)


def test_the_chunks_run_as_in_evaluation() -> None:
    """Every fourth step a decision on the window of that step; noise from (seed, decision); no step in between."""
    policy, robot = ToyPolicy(), ToyRobot(length=10)
    (report,), _ = drive(policy, robot)
    np.testing.assert_allclose(np.array(robot.sent)[:, 0], STEP * np.arange(1, 11), atol=1e-6)
    assert (report.ended, report.success, report.steps, report.decisions) == ("success", True, 10, 3)
    assert report.guard == {"pass": 10}
    # The first window is padded with the first frame; that of step 4 holds the frames of steps 3 and 4.
    np.testing.assert_allclose(policy.windows[0]["state"], np.zeros((2, 2)))
    np.testing.assert_allclose(policy.windows[1]["command"][:, 0], [3 * STEP, 4 * STEP], atol=1e-6)
    np.testing.assert_allclose(policy.windows[1]["state"][:, 0], [1.5 + 3 * STEP, 2.0 + 4 * STEP], atol=1e-6)
    for number, noise in enumerate(policy.noise):
        assert (noise == decision_noise([7], number, (6, 2))[0].numpy()).all()


def test_a_lead_loses_nothing() -> None:
    """Asked for 2 steps ahead, at steps 0, 4, 8, ...: each chunk takes over with its third row, without a jump."""
    policy, robot = ToyPolicy(horizon=8, execute_steps=6), ToyRobot(length=18)
    (report,), _ = drive(policy, robot, lead_steps=2)
    np.testing.assert_allclose(np.array(robot.sent)[:, 0], STEP * np.arange(1, 19), atol=1e-6)
    assert report.guard == {"pass": 18}
    newest = [window["command"][-1, 0] for window in policy.windows]
    np.testing.assert_allclose(newest, STEP * np.arange(0, 4 * len(newest), 4), atol=1e-6)


class Continuing(ToyPolicy):
    """Remembers what was running when it was asked, and how many latents it may choose from."""

    def hand_over(self, samples: int):
        self.samples, self.running = samples, []

        def decide(window, noise, running):
            self.running.append(running.numpy())
            return self.decide(window, noise)

        return decide


def test_a_hand_over_is_told_what_is_under_way() -> None:
    """Chunks of 8 of which 6 run, asked for 2 steps ahead: rows 4 to 7 of the running chunk, from the present on."""
    policy, robot = Continuing(horizon=8, execute_steps=6), ToyRobot(length=14)
    drive(policy, robot, lead_steps=2, hand_over_samples=5)
    wait_for(lambda: len(policy.windows) > len(policy.running))  # a decision may outlive the episode
    assert policy.samples == 5 and len(policy.windows) == 1 + len(policy.running)  # nothing runs before the first
    expected = STEP * np.arange(5, 9)  # at step 4 the command is 4 STEP, and row 4 of the first chunk is 5 STEP
    np.testing.assert_allclose(policy.running[0][0, :, 0], expected, atol=1e-6)
    with pytest.raises(ScoreError, match="ToyPolicy has no `hand_over`"):
        drive(ToyPolicy(), ToyRobot(length=4), hand_over_samples=5)


def test_a_slow_policy_without_overlap_holds_and_goes_on() -> None:
    """Every decision takes 0.12 s: one step of each five is a hold, the first of all included."""
    robot = punctual(length=14)
    slow = ToyPolicy(horizon=4, execute_steps=4)
    (report,), _ = drive_on_time(robot, lambda number: 0.12, policy=slow)
    assert report.ended == "success"
    assert report.guard == {"pass": 11, "hold: no_command": 3}
    assert (report.late_decisions, report.waited_steps, report.missed_deadlines) == (3, 3, 0)
    np.testing.assert_allclose(
        np.diff([0, *np.array(robot.sent)[:, 0]]), STEP * np.tile([0, 1, 1, 1, 1], 3)[:14], atol=1e-6
    )


def test_lead_follows_the_measured_latency() -> None:
    clock = ToldClock(0.0)
    assert measured_lead(ToyPolicy(clock=clock), 0.1, 0.4, clock=clock) == 0
    # 2 x 15 ms less 0.4 x 10 ms is 26 ms: three periods of 10 ms.
    assert measured_lead(ToyPolicy(sleep_s=0.015, clock=clock), 0.01, 0.4, clock=clock) == 3
    assert measured_lead(ToyPolicy(sleep_s=0.015, clock=clock), float("inf"), 0.4, clock=clock) == 0
    with pytest.raises(ScoreError, match="lead_steps is 4"):
        drive(ToyPolicy(), ToyRobot(), lead_steps=4)


# ---- when things go wrong ------------------------------------------------------------------------------------------


def spoilt_with(value: float, decision: int):
    def spoil(number: int, chunk):
        if number == decision:
            chunk[0, -1] = value
        return chunk

    return spoil


def test_a_refused_chunk_is_replaced_by_the_base_policy() -> None:
    """Decision 1 holds a NaN in its last row, which would never run: its four steps are the base's."""
    robot = ToyRobot(length=12)
    (report,), events = drive(ToyPolicy(spoil=spoilt_with(float("nan"), 1)), robot)
    assert (report.fallbacks, report.decisions) == (1, 3)
    np.testing.assert_allclose(robot.sent[7], [4 * STEP, 4 * STEP], atol=1e-6)
    np.testing.assert_allclose(robot.sent[11], [8 * STEP, 4 * STEP], atol=1e-6)
    assert [e["reason"] for e in events if e.get("action") == "fallback"] == ["chunk_not_finite"]


def test_support_alarm() -> None:
    events: list[dict] = []
    robot = ToyRobot(length=8)
    config = RunConfig(guard=GuardConfig(support_limit=0.5))
    scores = iter([0.2, 0.9])
    runtime = Runtime(
        ToyPolicy(), robot, robot.spec, config, None, events.append, support=lambda window, decision: next(scores)
    )
    (report,) = runtime.run([1])
    runtime.close()
    assert report.fallbacks == 1
    assert report.guard["fallback: support"] == 1
    np.testing.assert_allclose(robot.sent[-1], [4 * STEP, 4 * STEP], atol=1e-6)


def test_an_error_of_the_policy_brings_the_robot_to_rest() -> None:
    def explode(number: int, chunk):
        if number == 1:
            raise RuntimeError("weights on fire")
        return chunk

    robot = ToyRobot()
    (report,), events = drive(ToyPolicy(spoil=explode), robot)
    assert report.ended == "policy_error"
    assert (robot.sent[-1] == robot.sent[-2]).all() and robot.stops
    assert {"event": "policy_error", "error": "RuntimeError('weights on fire')"} in events


def test_nan_sensors_hold_until_they_recover() -> None:
    def blind(step: int, frame: dict[str, Any]) -> dict[str, Any]:
        return frame | {"state": np.array([np.nan, 0])} if 5 <= step < 8 else frame

    policy, robot = ToyPolicy(), ToyRobot(length=14, disturb=blind)
    (report,), _ = drive(policy, robot)
    assert report.guard["hold: sensor_not_finite"] == 3
    assert report.ended == "success"
    # The chunk of step 4 is out of date by then: step 8 makes a decision of its own.
    assert report.decisions == 4
    assert all(np.isfinite(window["state"]).all() for window in policy.windows)


def test_broken_numbers_do_not_reach_the_recording(tmp_path: Path) -> None:
    """A sensor that the policy does not read, one that it does, and the policy's own: all turn NaN at some time."""

    def disturb(step: int, frame: dict[str, Any]) -> dict[str, Any]:
        frame |= {"light": np.array([np.nan if step == 2 else step])}
        return frame | ({"state": np.full(2, np.inf)} if step == 6 else {})

    def spoil(number: int, chunk: torch.Tensor) -> torch.Tensor:
        return chunk.index_fill(1, torch.tensor([3]), float("nan")) if number == 3 else chunk

    robot = ToyRobot(length=16, disturb=disturb)
    robot.spec = replace(robot.spec, interface=interface_of({"state": 2, "command": 2, "light": 1}, NAMES))
    policy = ToyPolicy(spoil=spoil)
    policy.base_decide = lambda window, noise: policy.decide(window, noise)  # type: ignore[method-assign]
    with Recorder(tmp_path, robot.spec, "toy") as recorder:
        (report,), _ = drive(policy, robot, recorder=recorder)
    episode = load_dataset(tmp_path / "dataset").episode(0)
    assert report.guard["hold: sensor_not_finite"] == 1 and report.fallbacks == 1
    assert episode["observation.light"][:8, 0].tolist() == [0, 1, 1, 3, 4, 5, 6, 7]
    np.testing.assert_array_equal(episode["observation.state"][6], episode["observation.state"][5])
    assert len(episode["action"]) == len(robot.sent)


def test_an_episode_needs_a_whole_first_measurement() -> None:
    robot = ToyRobot()
    robot.spec = replace(robot.spec, interface=interface_of({"state": 2, "command": 2, "light": 1}, NAMES))
    with pytest.raises(ScoreError, match="without a measurement of light"):
        drive(ToyPolicy(), robot)


def test_sensors_that_stay_broken_stop_the_robot() -> None:
    robot = ToyRobot(disturb=lambda step, frame: {} if step >= 3 else frame)
    (report,), _ = drive(ToyPolicy(), robot)
    assert report.ended == "held_too_long"
    assert robot.stops


def test_dropped_measurements_are_bridged() -> None:
    """The step of a lost measurement goes by the one before; the next has its own again."""
    robot = punctual(length=12, disturb=lambda step, frame: None if step == 5 else frame)
    (report,), _ = drive_on_time(robot, lambda number: 0.0)
    assert report.repeated_readings == 1
    assert (report.ended, report.guard) == ("success", {"pass": 12})


def test_a_lost_robot_ends_the_run_and_keeps_the_recording(tmp_path: Path) -> None:
    robot = ToyRobot(disturb=lost)
    with Recorder(tmp_path / "run", robot.spec, "toy") as recorder:
        reports, events = drive(ToyPolicy(), robot, seeds=(1, 2), recorder=recorder)
    assert [report.ended for report in reports] == ["robot_lost"]
    assert events[-2]["event"] == "robot_lost"
    dataset = load_dataset(tmp_path / "run" / "dataset")
    np.testing.assert_array_equal(dataset.columns["action"], np.array(robot.sent))
    assert dataset.extra["ended"].tolist() == ["robot_lost"]


def test_an_interruption_brakes_and_returns(tmp_path: Path) -> None:
    runtime: Runtime

    def signal_at_six(step: int, frame: dict[str, Any]) -> dict[str, Any]:
        if step == 6:
            runtime.interrupt()
        return frame

    robot = ToyRobot(disturb=signal_at_six)
    with Recorder(tmp_path / "run", robot.spec, "toy") as recorder:
        runtime = Runtime(ToyPolicy(), robot, robot.spec, recorder=recorder)
        reports = runtime.run([1, 2, 3])
        runtime.close()
    assert [report.ended for report in reports] == ["interrupted"]
    assert (robot.sent[-1] == robot.sent[-2]).all()
    assert robot.stops == 1
    assert load_dataset(tmp_path / "run" / "dataset").num_frames == len(robot.sent)


def test_the_time_limit_ends_an_episode() -> None:
    (report,), _ = drive(ToyPolicy(), ToyRobot(), time_limit_s=1.2)
    assert report.ended == "time_limit"
    assert 12 <= report.steps <= 15


@pytest.mark.slow
def test_the_watchdog_holds_then_stops_a_silent_loop() -> None:
    """The robot's `observe` hangs until somebody stops it; at 4 times real time the watchdog's 0.8 s and 4 s are
    0.2 s and 1 s."""

    def hang(step: int, frame: dict[str, Any]) -> dict[str, Any]:
        if step >= 5:
            wait_for(lambda: robot.stops)
        return frame

    robot = ToyRobot(speed=4.0, disturb=hang)
    (report,), events = drive(ToyPolicy(), robot, watchdog_hold_s=0.8, watchdog_stop_s=4.0)
    assert report.ended == "watchdog"
    assert {"event": "watchdog"} in events
    assert (robot.sent[-1] == robot.sent[-2]).all()


def test_watchdog_alone() -> None:
    """By a clock that is told: silent for 0.8 s it holds once per look, for 1.6 s it stops."""
    calls, clock = [], ToldClock()
    watchdog = Watchdog(lambda: calls.append("hold"), lambda: calls.append("stop"), 0.8, 1.6, 0.1, clock)
    for _ in range(10):
        watchdog.feed()
        clock.sleep(0.79)
        watchdog.check()
    assert not calls and not watchdog.tripped
    watchdog.feed()
    for _ in range(16):
        clock.sleep(0.1001)
        watchdog.check()
    assert calls == ["hold"] * 8 + ["stop"] and watchdog.tripped


def test_the_watchdogs_thread_looks_by_itself() -> None:
    calls: list[str] = []
    with Watchdog(lambda: None, lambda: calls.append("stop"), 0.0, 0.02, 0.005) as watchdog:
        wait_for(lambda: watchdog.tripped)
    assert calls == ["stop"]


def test_missed_deadlines_are_counted() -> None:
    """A hiccup of 2.8 periods when measurement 5 is read: two ticks pass without a command, and the next one comes
    late in its period. The chunk goes on where the robot is."""
    robot = punctual(length=16)
    robot.disturb = lambda step, frame: (robot.clock.sleep(0.28 if step == 5 else 0.0), frame)[1]
    (report,), _ = drive_on_time(robot, lambda number: 0.0)
    assert (report.missed_deadlines, report.steps, report.silent_s) == (3, 14, 0.0)
    assert report.guard == {"pass": 14}
    np.testing.assert_allclose(np.diff([0, *np.array(robot.sent)[:, 0]]), STEP, atol=1e-6)


# ---- decisions that come late --------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0.0, 12345.678, 33554432.7, 1e9])
def test_a_late_first_decision_is_entered_where_the_robot_is(start: float) -> None:
    """It takes 0.72 s. The robot stands for seven steps; then it goes by the policy's step, not by eight of it."""
    robot = ToyRobot(speed=1.0, length=12, clock=ToldClock(start))
    (report,), _ = drive_on_time(robot, lambda number: 0.72 if number == 0 else 0.0)
    assert report.ended == "success"
    np.testing.assert_allclose(np.array(robot.sent)[:, 0], STEP * np.array([0] * 7 + [1, 2, 3, 4, 5]), atol=1e-6)
    assert report.guard == {"pass": 5, "hold: no_command": 7}
    assert (report.late_decisions, report.waited_steps, report.missed_deadlines) == (1, 7, 0)


def test_a_first_decision_may_take_longer_than_a_hold() -> None:
    """1.52 s, where a hold of 1 s stops the robot: it stands and waits, and the episode goes on."""
    (report,), _ = drive_on_time(punctual(length=20), lambda number: 1.52 if number == 0 else 0.0)
    assert (report.ended, report.waited_steps) == ("success", 15)
    (report,), events = drive_on_time(punctual(), lambda number: 99.0, first_decision_s=3.0)
    assert (report.ended, report.steps, report.waited_steps) == ("no_decision", 31, 31)
    assert [e["reason"] for e in events if e.get("action") == "stop"] == ["no_decision"]


def test_a_first_decision_later_than_the_episode() -> None:
    """The time limit comes first: the robot has never moved. Nothing of it is left for the next episode."""
    robot = punctual()
    reports, _ = drive_on_time(robot, lambda number: 2.0, seeds=(1, 2), time_limit_s=1.2)
    assert [(report.ended, report.steps, report.waited_steps) for report in reports] == [("time_limit", 12, 12)] * 2
    assert not np.any(robot.sent)


def test_no_decision_within_half_a_minute_ends_the_episode_of_a_robot_that_waits() -> None:
    robot = ToyRobot(speed=0.0, clock=ToldClock())
    (report,), _ = drive_on_time(robot, lambda number: 31.0)
    assert report.ended == "no_decision"


def test_a_late_decision_goes_on_behind_what_was_played_meanwhile() -> None:
    """Asked for at step 4 and 0.52 s late: rows 4 and 5 of the old chunk bridge steps 4 and 5, then the robot stands
    for three. The new chunk begins with its third row at step 9."""
    robot = punctual(length=12)
    (report,), _ = drive_on_time(robot, lambda number: 0.52 if number == 1 else 0.0)
    np.testing.assert_allclose(
        np.array(robot.sent)[:, 0], STEP * np.array([1, 2, 3, 4, 5, 6, 6, 6, 6, 7, 8, 9]), atol=1e-6
    )
    assert report.guard == {"pass": 9, "hold: no_command": 3}
    assert (report.late_decisions, report.waited_steps) == (1, 3)


@pytest.mark.parametrize("late_s", [0.0, 0.05, 0.15, 0.35, 0.72, 0.95])
@pytest.mark.parametrize("lead", [0, 2])
def test_no_lateness_makes_a_jump(late_s: float, lead: int) -> None:
    """Whenever decisions come, first or later ones: no command is farther from the one before than a row."""
    robot, policy = punctual(length=40), ToyPolicy(horizon=8, execute_steps=5)
    (report,), _ = drive_on_time(robot, lambda number: late_s * (number % 2 == 0), policy=policy, lead_steps=lead)
    assert report.ended == "success" and report.steps == 40
    steps = np.diff([0, *np.array(robot.sent)[:, 0]])
    assert steps.max() <= STEP + 1e-6 and steps.min() >= -1e-6
    assert report.guard["pass"] == report.steps - report.waited_steps


def test_a_silence_is_told_by_the_report() -> None:
    """The process is stopped for 3 s while it reads measurement 5; the robot brakes by itself, ends the episode."""
    robot = punctual(ending="stopped")

    def asleep(step: int, frame: dict[str, Any]) -> dict[str, Any]:
        if step == 5:
            robot.clock.sleep(3.0)
            robot.length = 0
        return frame

    robot.disturb = asleep
    (report,), events = drive_on_time(robot, lambda number: 0.0, watchdog_hold_s=0.4)
    assert (report.ended, report.missed_deadlines) == ("stopped", 30)
    assert report.silent_s == pytest.approx(3.1)
    (silence,) = [event for event in events if event["event"] == "silence"]
    assert silence["seconds"] == pytest.approx(3.1) and silence["step"] == 5
    assert report.plain()["silent_s"] == report.silent_s


def test_after_a_silence_the_robot_decides_anew() -> None:
    """0.55 s without a command, in the middle of a chunk: what was decided before is out of date."""
    robot, policy = punctual(length=16), ToyPolicy()
    robot.disturb = lambda step, frame: (robot.clock.sleep(0.55 if step == 6 else 0.0), frame)[1]
    (report,), events = drive_on_time(robot, lambda number: 0.0, policy=policy, watchdog_hold_s=0.4)
    assert report.silent_s == pytest.approx(0.65)
    assert [event["event"] for event in events if event["event"] == "silence"] == ["silence"]
    np.testing.assert_allclose(policy.windows[2]["command"][-1, 0], 6 * STEP, atol=1e-6)
    np.testing.assert_allclose(np.diff([0, *np.array(robot.sent)[:, 0]]), STEP, atol=1e-6)


def test_the_time_limit_allows_as_many_actions_as_it_has_steps() -> None:
    """1.2 s are twelve actions of the policy, in any way of keeping time; what follows only brakes."""
    for robot in (punctual(), ToyRobot(clock=ToldClock())):
        (report,), _ = drive_on_time(robot, lambda number: 0.0, time_limit_s=1.2)
        assert report.guard["pass"] == 12
        assert set(report.guard) <= {"pass", "stop: time_limit"}
        assert np.array(robot.sent)[:, 0].max() <= 12 * STEP + 1e-6


class Gated(ToyPolicy):
    """Decisions of the first window with a mark in it wait for a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.entered = threading.Event(), threading.Event()

    def decide(self, window: Any, noise: torch.Tensor) -> Any:
        first, decision = not self.entered.is_set(), super().decide(window, noise)
        if first:
            self.entered.set()
            assert self.gate.wait(60)
            decision.chunk[:] = 1.0  # if anybody took it, the robot would be told to jump
        return decision


def test_a_decision_that_is_still_running_belongs_to_nobody() -> None:
    """Episode 1 is over while its decision runs on; episode 2's first neither waits for it nor takes it over."""
    policy, robot = Gated(), ToyRobot(clock=ToldClock(), length=6)
    planner = Planner(policy.decide, policy.base_decide)
    spec = policy.spec
    noise = decision_noise([1], 0, spec.policy.latent_shape)
    window = {"state": torch.zeros(1, 2, 2), "command": torch.zeros(1, 2, 2)}
    planner.submit(Request(0, 0, window, noise))
    assert policy.entered.wait(60)
    planner.abandon()
    runtime = Runtime(
        policy, robot, robot.spec, RunConfig(lead_steps=0, **NO_WATCHDOG), clock=robot.clock, planner=planner
    )
    (report,) = runtime.run([2])
    policy.gate.set()
    runtime.close()
    assert report.ended == "success"
    np.testing.assert_allclose(np.array(robot.sent)[:, 0], STEP * np.arange(1, 7), atol=1e-6)


def test_a_policys_own_timeout_is_its_error() -> None:
    """Not a decision that is late for ever."""

    def explode(number: int, chunk: torch.Tensor) -> torch.Tensor:
        raise TimeoutError("the policy's server does not answer")

    (report,), events = drive(ToyPolicy(spoil=explode), ToyRobot())
    assert report.ended == "policy_error"
    assert any("does not answer" in event.get("error", "") for event in events)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time_limit_s": float("nan")}, "time_limit_s is nan"),
        ({"time_limit_s": float("inf")}, "time_limit_s is inf"),
        ({"first_decision_s": -1.0}, "first_decision_s is -1.0"),
        ({"watchdog_stop_s": 0.0}, "watchdog_stop_s is 0.0"),
        ({"decision_share": 1.5}, "decision_share is 1.5"),
        ({"reading_share": float("nan")}, "reading_share is nan"),
        ({"guard": GuardConfig(stale_s=float("nan"))}, "guard.stale_s is nan"),
        ({"guard": GuardConfig(force_limit_n=-1.0)}, "guard.force_limit_n is -1.0"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ScoreError, match=message):
        drive(ToyPolicy(), ToyRobot(), **change)


def test_what_does_not_fit_is_refused() -> None:
    robot = ToyRobot()
    for change, message in (
        ({"keys": {"state": 3, "command": 2}}, "reads 'state'"),
        ({"names": ("two", "one")}, "commands"),
        ({"rate_hz": 20.0}, "10 Hz"),
    ):
        interface = interface_of(**{"keys": {"state": 2, "command": 2}, "names": NAMES, **change})
        spec = replace(robot.spec, interface=interface)
        with pytest.raises(ScoreError, match=message):
            Runtime(ToyPolicy(), robot, spec)


def test_limits_of_a_bundle_that_knows_none() -> None:
    """Then every command within the bounds is legal, from wherever to wherever."""
    spec = type(toy_spec())(**{**vars(toy_spec()), "action_velocity_limit": None, "action_acceleration_limit": None})

    guard = Guard(guard_limits(spec))
    guard.start((0, 0))
    actions = [guard.step(c).action for c in ((3, 3), (-3, -3), (3, -3), (0, 0))]
    assert actions == [GuardAction.PASS] * 4


# ---- recording -----------------------------------------------------------------------------------------------------


def test_the_recording_holds_what_was_sent(tmp_path: Path) -> None:
    """Success of step k is what the measurement behind it shows: the last step's is the final one."""
    robot = ToyRobot(length=9)
    with Recorder(tmp_path / "run", robot.spec, "reach") as recorder:
        drive(ToyPolicy(spoil=spoilt_with(float("inf"), 1)), robot, seeds=(5, 6), recorder=recorder)
        sent = np.array(robot.sent)
    dataset = load_dataset(tmp_path / "run" / "dataset")
    assert (dataset.num_episodes, dataset.num_frames, dataset.tasks) == (2, 18, ("reach", "reach"))
    episode = dataset.episode(1)
    np.testing.assert_array_equal(episode["action"], sent)
    np.testing.assert_array_equal(episode["observation.command"][1:], sent[:-1])
    assert episode["next.success"][:, 0].tolist() == [False] * 8 + [True]
    assert dataset.extra["seed"].tolist() == [5, 6]
    assert dataset.extra["success"].tolist() == [True, True]
    assert {ACTIONS[code] for code in episode["guard"][:, 0]} == {GuardAction.PASS}
    with pytest.raises(ScoreError, match="finished recording"):
        Recorder(tmp_path / "run", robot.spec, "reach")


def test_a_torn_journal_loses_its_last_step_only(tmp_path: Path) -> None:
    """As after a kill: three whole records and half of a fourth; then an episode behind it."""
    spec = ToyRobot().spec
    recorder = Recorder(tmp_path, spec, "toy")
    recorder.begin(11)
    frame = {"state": np.zeros(2), "command": np.ones(2)}
    for k in range(4):
        recorder.add(frame, np.full(2, k), None, 0, 0.0, False)
    journal = tmp_path / "journal" / "steps.bin"
    data = journal.read_bytes()
    journal.write_bytes(data[: len(data) * 7 // 8])
    assert len(read_steps(journal, recorded_features(spec))["action"]) == 3

    again = Recorder(tmp_path, spec, "toy")
    assert again.episodes == 1
    again.begin(12)
    again.add(frame, np.zeros(2), np.ones(2), 1, 0.5, True)
    again.end("success", True)
    again.close()
    dataset = load_dataset(tmp_path / "dataset")
    assert dataset.lengths.tolist() == [3, 1]
    assert dataset.extra["ended"].tolist() == ["killed", "success"]
    assert dataset.columns["action"][:, 0].tolist() == [0, 1, 2, 0]
    assert dataset.columns["policy_action"][3].tolist() == [1, 1]
    assert dataset.columns["latency_s"][3] == 0.5


def test_a_kill_between_storing_and_tidying_up_stores_nothing_twice(tmp_path: Path) -> None:
    spec = ToyRobot().spec
    recorder = Recorder(tmp_path, spec, "toy")
    recorder.begin(1)
    recorder.add({"state": np.zeros(2), "command": np.ones(2)}, np.ones(2), None, 0, 0.0, False)
    journal = {path: path.read_bytes() for path in (tmp_path / "journal").iterdir()}
    recorder.end("success", True)
    for path, data in journal.items():
        path.write_bytes(data)
    assert Recorder(tmp_path, spec, "toy").episodes == 1


def test_threads_end() -> None:
    before = threading.active_count()
    drive(ToyPolicy(), ToyRobot(length=5))
    wait_for(lambda: threading.active_count() <= before)
    assert toy_spec().interface.action_names == NAMES
