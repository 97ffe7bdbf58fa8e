"""The guard: every limit by hand, every alarm, and no input whatever that gets a command past the limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from score_rl.core.errors import ScoreError
from score_rl.deploy.guard.guard import Guard, GuardAction, GuardConfig, Sensed, summarize_counts
from score_rl.deploy.guard.limits import GuardLimits

DT = 0.1
LIMITS = GuardLimits(
    names=("one", "two"),
    low=(-1.0, -2.0),
    high=(1.0, 3.0),
    velocity=(2.0, 5.0),
    acceleration=(10.0, 300.0),
    control_rate_hz=10.0,
)
"""Joint one moves at most 0.2 and changes its step by at most 0.1 per step; joint two's acceleration hardly binds."""


def started(at: tuple[float, float] = (0.0, 0.0), log: list | None = None, **config: Any) -> Guard:
    guard = Guard(LIMITS, GuardConfig(**config), None if log is None else log.append)
    guard.start(at)
    return guard


def drive(guard: Guard, targets: list[tuple[float, float]]) -> np.ndarray:
    return np.array([guard.step(target).command for target in targets])


# ---- passing and clipping ------------------------------------------------------------------------------------------


def test_a_calm_command_passes_to_the_bit() -> None:
    guard = started()
    asked = np.float32([0.09, 0.1234567])
    verdict = guard.step(asked)
    assert verdict.command.tobytes() == asked.tobytes()
    assert (verdict.action, verdict.reason) == (GuardAction.PASS, "")
    assert summarize_counts(guard.counts) == {"pass": 1}


def test_velocity_and_acceleration_by_hand() -> None:
    """From rest to 0.9: steps of 0.1, then 0.2; the target is met in full motion, so 0.1 beyond it and back."""
    sent = drive(started(), [(0.9, 0.0)] * 9)[:, 0]
    np.testing.assert_allclose(np.diff(sent, prepend=0), [0.1, 0.2, 0.2, 0.2, 0.2, 0.1, 0, -0.1, 0], atol=1e-4)
    guard = started()
    assert guard.step((0.9, 0.0)).reason == "velocity"
    assert guard.step((0.25, 0.0)).reason == ""
    assert guard.step((0.31, 0.0)).reason == ""
    assert guard.step((0.47, 0.0)).reason == "acceleration"


def test_the_robot_brakes_before_its_bound() -> None:
    """At 0.85 with 0.2 per step the bound at 1 leaves 0.15: 0.2 is too much, 0.125 can be braked by 0.025 more."""
    guard = started()
    drive(guard, [(0.1, 0), (0.3, 0), (0.5, 0), (0.7, 0), (0.85, 0)])
    sent = drive(guard, [(50.0, 0.0)] * 4)[:, 0]
    np.testing.assert_allclose(sent, [0.975, 1.0, 1.0, 1.0], atol=1e-4)
    assert sent.max() <= 1.0


def test_a_position_beyond_the_bound_is_its_own_reason() -> None:
    guard = started((0.95, 0.0))
    verdict = guard.step((1.01, 0.0))
    assert verdict.command[0] == np.float32(1.0)
    assert (verdict.action, verdict.reason) == (GuardAction.CLIP, "position")


def test_wrong_shapes_and_starts_are_errors() -> None:
    guard = started()
    with pytest.raises(ScoreError, match=r"\(3,\), expected \(2,\)"):
        guard.step((0, 0, 0))
    with pytest.raises(ScoreError, match=r"\(2, 3\)"):
        guard.review(np.zeros((2, 3)))
    with pytest.raises(ScoreError, match=r"two = 3\.5, outside"):
        guard.start((0, 3.5))
    with pytest.raises(ScoreError, match="not finite"):
        guard.start((0, np.nan))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"low": (1.0, -2.0)}, "low < high"),
        ({"velocity": (0.0, 1.0)}, "above 0"),
        ({"acceleration": (np.inf, 1.0)}, "finite"),
        ({"names": ("one",)}, "shape"),
        ({"velocity": (1e-7, 1.0)}, "float32"),
        ({"control_rate_hz": 0.0}, "control_rate_hz"),
    ],
)
def test_limits_are_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ScoreError, match=message):
        Guard(GuardLimits(**{**vars(LIMITS), **change}))


# ---- chunks --------------------------------------------------------------------------------------------------------


def test_a_chunk_that_starts_elsewhere_is_blended_in() -> None:
    """A gap of 0.8 in joint two (0.5 per step) closes by a quarter per step; in a chunk's middle it is clipped."""
    guard = started()
    verdicts = [guard.step((0.0, 0.8), fresh=k == 0) for k in range(5)]
    np.testing.assert_allclose([v.command[1] for v in verdicts], [0.2, 0.4, 0.6, 0.8, 0.8], atol=1e-6)
    assert [v.action for v in verdicts] == [GuardAction.BLEND] * 3 + [GuardAction.PASS] * 2
    assert started().step((0.0, 0.8)).action == GuardAction.CLIP


def test_review_of_chunks() -> None:
    """In four steps joint one gets 0.8 far, so 0.7 is accepted and 0.9 refused; the base's own refusal is a hold."""
    guard = started(support_limit=2.0)
    near, far, broken = np.full((3, 2), 0.7), np.full((3, 2), 0.9), np.full((3, 2), 0.0)
    broken[2, 1] = np.inf
    assert guard.review(near) == (GuardAction.PASS, "")
    assert guard.review(far) == (GuardAction.FALLBACK, "chunk_jump")
    assert guard.review(far, base=True) == (GuardAction.HOLD, "chunk_jump")
    assert guard.review(broken) == (GuardAction.FALLBACK, "chunk_not_finite")
    assert guard.review(near, support=2.5) == (GuardAction.FALLBACK, "support")
    assert guard.review(near, support=float("nan")) == (GuardAction.FALLBACK, "support")
    assert guard.review(near, support=2.5, base=True) == (GuardAction.PASS, "")
    assert started().review(near, support=2.5) == (GuardAction.PASS, "")


# ---- alarms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proposed", "sensed", "reason"),
    [
        (None, Sensed(), "no_command"),
        ((np.nan, 0), Sensed(), "command_not_finite"),
        ((0, -np.inf), Sensed(), "command_not_finite"),
        ((0, 0), Sensed(valid=False), "sensor_not_finite"),
        ((0, 0), Sensed(age_s=0.3), "stale"),
        ((0, 0), Sensed(age_s=float("nan")), "stale"),
    ],
)
def test_holding_brakes_and_then_goes_on(proposed: Any, sensed: Sensed, reason: str) -> None:
    log: list[dict] = []
    guard = started(log=log)
    drive(guard, [(0.1, 0), (0.3, 0)])
    held = [guard.step(proposed, sensed) for _ in range(3)]
    np.testing.assert_allclose([v.command[0] for v in held], [0.4, 0.4, 0.4], atol=1e-5)
    assert {(v.action, v.reason) for v in held} == {(GuardAction.HOLD, reason)}
    assert guard.resting
    assert log[-1] == {"event": "guard", "step": 4, "action": "hold", "reason": reason}
    assert guard.step((0.45, 0)).action == GuardAction.PASS


def test_a_long_hold_becomes_a_stop() -> None:
    guard = started(stop_s=0.5)
    actions = [guard.step(None).action for _ in range(7)]
    assert actions == [GuardAction.HOLD] * 5 + [GuardAction.STOP] * 2
    assert guard.step((0.05, 0)).reason == guard.stopped == "held_too_long"
    guard.start((0, 0))
    assert guard.step((0.05, 0)).action == GuardAction.PASS


def test_force_stops_for_good() -> None:
    guard = started(force_limit_n=20.0)
    assert guard.step((0.05, 0), Sensed(forces_n=np.array([19.0, -19.0]))).action == GuardAction.PASS
    assert guard.step((0.05, 0), Sensed(forces_n=np.array([0.0, 21.0]))).reason == "force"
    assert guard.step((0.05, 0)).action == GuardAction.STOP
    assert started(force_limit_n=20.0).step((0, 0), Sensed(forces_n=np.array([np.nan]))).reason == "force"
    assert started().step((0, 0), Sensed(forces_n=np.array([1e9]))).action == GuardAction.PASS


def test_frozen_sensors() -> None:
    """Identical readings are no alarm while the command rests; they are one when it has moved by more than 0.05."""
    guard = started(frozen_steps=3)
    frozen = Sensed(joints=np.float32([0.1, 0.2]))
    assert {guard.step((0, 0), frozen).action for _ in range(10)} == {GuardAction.PASS}
    moving = [guard.step((0.04 * k, 0), frozen).reason for k in range(1, 4)]
    assert moving == ["", "", "frozen"]
    assert guard.step((0.1, 0), Sensed(joints=np.float32([0.1, 0.21]))).action == GuardAction.PASS


def test_a_dither_below_what_encoders_resolve_is_no_frozen_sensor() -> None:
    guard = started(frozen_steps=3)
    quantised = Sensed(joints=np.float32([0.1, 0.2]))
    for step in range(60):  # six seconds
        assert guard.step((0.02 * (-1) ** step, 0), quantised).action == GuardAction.PASS


def test_stop_from_outside_and_confirmation() -> None:
    guard = started()
    drive(guard, [(0.1, 0), (0.3, 0)])
    guard.stop("signal")
    guard.stop("later reasons do not count")
    assert guard.step((0.5, 0)).reason == "signal"
    guard = started()
    guard.step((0.1, 0))
    guard.confirm((0.05, 0))  # the robot went half as far: its speed is 0.05, so 0.15 more is the most
    assert guard.step((0.9, 0)).command[0] == pytest.approx(0.2, abs=1e-5)


# ---- whatever is asked ---------------------------------------------------------------------------------------------

number = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=64),
    st.floats(-4, 4),
    st.sampled_from([0.0, 1.0, -1.0, 3.0, -2.0, 1e30, -1e30, 1e-30]),
)
command = st.one_of(st.none(), st.tuples(number, number))
sensed = st.builds(
    Sensed,
    age_s=st.one_of(st.just(0.0), number),
    valid=st.sampled_from([True, True, True, False]),
    joints=st.one_of(st.none(), st.tuples(number, number).map(np.array)),
    forces_n=st.one_of(st.none(), st.tuples(number).map(np.array)),
)
event = st.one_of(st.tuples(command, sensed, st.booleans()), st.sampled_from(["stop", "start"]))


def assert_legal(path: np.ndarray) -> None:
    """(T, 2) commands from rest: position, velocity and acceleration, in exact arithmetic on the float32 values."""
    low, high = np.float32(LIMITS.low), np.float32(LIMITS.high)
    assert (path >= low).all() and (path <= high).all()
    step = np.diff(path.astype(np.float64), axis=0)
    assert (abs(step) <= np.array(LIMITS.velocity) * DT).all()
    change = np.diff(step, axis=0, prepend=np.zeros((1, 2)))
    assert (abs(change) <= np.array(LIMITS.acceleration) * DT**2).all()


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    start=st.tuples(st.floats(-1, 1, width=32), st.floats(-2, 3, width=32)),
    events=st.lists(event, max_size=40),
    force_limit=st.sampled_from([None, 5.0]),
)
def test_no_sequence_of_inputs_gets_past_the_limits(start: Any, events: list, force_limit: float | None) -> None:
    guard = started(start, force_limit_n=force_limit)
    path = [np.float32(start)]
    for given_event in events:
        if given_event == "stop":
            guard.stop("test")
        elif given_event == "start":
            if guard.resting:
                guard.start(path[-1])
        else:
            proposed, readings, fresh = given_event
            path.append(guard.step(proposed, readings, fresh).command)
    assert_legal(np.array(path))
    # However the sequence ended, a stop brings the robot to rest, still within the limits: 0.2 takes two steps.
    guard.stop("end")
    path += [guard.step((9.0, 9.0)).command for _ in range(4)]
    assert_legal(np.array(path))
    assert guard.resting


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    persistence=st.floats(0, 1),
)
def test_long_random_drives_between_the_bounds(seed: int, persistence: float) -> None:
    """Targets far outside, reversed at random moments: the hardest case for braking before a bound."""
    random = np.random.default_rng(seed)
    guard, target = started(), np.array([9.0, 9.0])
    path = [np.zeros(2, np.float32)]
    for _ in range(120):
        if random.random() > persistence:
            target = random.uniform(-9, 9, 2)
        path.append(guard.step(target).command)
    assert_legal(np.array(path))


@settings(max_examples=60, deadline=None)
@given(
    amplitude=st.floats(0.01, 0.9),
    period=st.integers(25, 200),
)
def test_every_calm_trajectory_passes_unchanged(amplitude: float, period: int) -> None:
    """A sine that starts at rest: its speed 2 pi A / T <= 0.2 and acceleration (2 pi / T)^2 A <= 0.1 are legal."""
    amplitude = min(amplitude, 0.19 * period / (2 * np.pi), 0.09 * (period / (2 * np.pi)) ** 2)
    guard = started()
    phase = 2 * np.pi * np.arange(1, 2 * period) / period
    for asked in np.float32(np.stack([amplitude * (1 - np.cos(phase)) / 2, amplitude * np.sin(phase)], axis=1)):
        verdict = guard.step(asked, fresh=True)
        assert verdict.action is GuardAction.PASS
        assert verdict.command.tobytes() == asked.tobytes()
