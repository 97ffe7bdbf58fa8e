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
from fakes import NAMES, STEP, ToyPolicy, ToyRobot, lost, toy_spec

from score_rl.core.errors import ScoreError
from score_rl.data.dataset import load_dataset
from score_rl.deploy.guard.guard import ACTIONS, Guard, GuardAction, GuardConfig, guard_limits
from score_rl.deploy.guard.watchdog import Watchdog
from score_rl.deploy.runtime.control_loop import RunConfig
from score_rl.deploy.runtime.planner import Plan, Player, Request
from score_rl.deploy.runtime.recorder import Recorder, read_steps, recorded_features
from score_rl.deploy.runtime.runtime import Runtime, measured_lead
from score_rl.steering.policy import decision_noise


def drive(policy: ToyPolicy, robot: ToyRobot, seeds: tuple[int, ...] = (7,), recorder: Any = None, **config: Any):
    events: list[dict] = []
    runtime = Runtime(policy, robot, robot.spec, RunConfig(**config), recorder, events.append)
    reports = runtime.run(seeds)
    runtime.close()
    return reports, events


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


def test_a_slow_policy_without_overlap_holds_and_goes_on() -> None:
    robot = ToyRobot(speed=2.0, length=14)
    slow = ToyPolicy(sleep_s=0.06, horizon=4, execute_steps=4)
    (report,), _ = drive(slow, robot, lead_steps=0, guard=GuardConfig(stop_s=60.0, stale_s=60.0))
    assert report.ended == "success"
    assert report.guard["hold: no_command"] >= 3


def test_lead_follows_the_measured_latency() -> None:
    assert measured_lead(ToyPolicy(), 0.1, 0.4) == 0
    # 2 x 15 ms less 0.4 x 10 ms is 26 ms: three periods of 10 ms.
    assert measured_lead(ToyPolicy(sleep_s=0.015), 0.01, 0.4) == 3
    assert measured_lead(ToyPolicy(sleep_s=0.015), float("inf"), 0.4) == 0
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
    robot.spec = replace(robot.spec, observation={**robot.spec.observation, "light": 1})
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
    robot.spec = replace(robot.spec, observation={**robot.spec.observation, "light": 1})
    with pytest.raises(ScoreError, match="without a measurement of light"):
        drive(ToyPolicy(), robot)


def test_sensors_that_stay_broken_stop_the_robot() -> None:
    robot = ToyRobot(disturb=lambda step, frame: {} if step >= 3 else frame)
    (report,), _ = drive(ToyPolicy(), robot)
    assert report.ended == "held_too_long"
    assert robot.stops


def test_dropped_measurements_are_bridged() -> None:
    """The step of a lost measurement goes by the one before; the next has its own again."""
    robot = ToyRobot(speed=2.0, length=12, disturb=lambda step, frame: None if step == 5 else frame)
    (report,), _ = drive(ToyPolicy(), robot, guard=GuardConfig(stop_s=60.0, stale_s=60.0))
    assert report.repeated_readings >= 1
    assert report.ended == "success"


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


def test_the_watchdog_holds_then_stops_a_silent_loop() -> None:
    """The robot's `observe` hangs for 1.6 s; at 4 times real time the watchdog's 0.8 s and 4 s are 0.2 s and 1 s."""

    def hang(step: int, frame: dict[str, Any]) -> dict[str, Any]:
        if step >= 5:
            time.sleep(1.6)
        return frame

    robot = ToyRobot(speed=4.0, disturb=hang)
    (report,), events = drive(ToyPolicy(), robot, watchdog_hold_s=0.8, watchdog_stop_s=4.0)
    assert report.ended == "watchdog"
    assert {"event": "watchdog"} in events
    assert (robot.sent[-1] == robot.sent[-2]).all()


def test_watchdog_alone() -> None:
    calls: list[str] = []
    with Watchdog(lambda: calls.append("hold"), lambda: calls.append("stop"), 0.8, 1.6, 0.02) as watchdog:
        for _ in range(10):
            watchdog.feed()
            time.sleep(0.02)
        assert not calls
        wait_for(lambda: watchdog.tripped)
    assert calls[-1] == "stop" and calls.count("stop") == 1 and calls.count("hold") >= 2


def test_missed_deadlines_are_counted() -> None:
    """A hiccup of 2.5 periods: the ticks that passed are skipped, and so are their rows of the chunk."""

    def hiccup(step: int, frame: dict[str, Any]) -> dict[str, Any]:
        if step == 5:
            time.sleep(0.125)
        return frame

    robot = ToyRobot(speed=2.0, length=16, disturb=hiccup)
    (report,), _ = drive(ToyPolicy(), robot, watchdog_hold_s=5.0, watchdog_stop_s=9.0)
    assert report.missed_deadlines >= 2
    assert report.steps < 16


def test_what_does_not_fit_is_refused() -> None:
    robot = ToyRobot()
    for change, message in (
        ({"observation": {"state": 3, "command": 2}}, "reads 'state'"),
        ({"action_names": ("two", "one")}, "commands"),
        ({"control_rate_hz": 20.0}, "10 Hz"),
    ):
        spec = type(robot.spec)(**{**vars(robot.spec), **change})
        with pytest.raises(ScoreError, match=message):
            Runtime(ToyPolicy(), robot, spec)


def test_limits_of_a_bundle_that_knows_none() -> None:
    """Then every command within the bounds is legal, from wherever to wherever."""
    spec = type(toy_spec())(**{**vars(toy_spec()), "action_velocity_limit": None, "action_acceleration_limit": None})

    guard = Guard(guard_limits(spec, spec.action_names, 10.0))
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
    assert toy_spec().action_names == NAMES
