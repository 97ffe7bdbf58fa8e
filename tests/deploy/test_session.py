"""What a message means: history, options and noise of one connection."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from served import ToySpec

from score_rl.contracts import ArraySpec, Interface, PolicySpec
from score_rl.core.errors import ScoreError
from score_rl.core.interfaces import action_spec
from score_rl.core.seeding import derive_seed
from score_rl.deploy.server.session import Session, extend
from score_rl.steering.policy import decision_noise

SHAPE = (4, 2)


def session(frame_steps: int = 3, number: int = 0) -> Session:
    return Session(ToySpec(), frame_steps, seed=7, number=number)


def message(*values: float, **options: Any) -> dict[str, Any]:
    """One frame (v, -v), command 10 v, per value; a single value is sent as a single frame."""
    state = np.array([[value, -value] for value in values])
    command = np.array([[10 * value] for value in values])
    return {"state": state, "command": command, **options} if len(values) > 1 else single(values[0], **options)


def single(value: float, **options: Any) -> dict[str, Any]:
    return {"state": np.array([value, -value]), "command": np.array([10 * value], np.int32), **options}


def seen(session: Session, message: dict[str, Any]) -> list[float]:
    """state[0] of the window's frames, oldest first."""
    window = session.request(message).window
    state, command = window["state"], window["command"]
    assert state.shape == (1, 2, 2) and state.dtype == torch.float32
    np.testing.assert_allclose(state[0, :, 1], -state[0, :, 0])
    np.testing.assert_allclose(command[0, :, 0], 10 * state[0, :, 0], rtol=1e-6)
    return state[0, :, 0].tolist()


def test_the_first_frame_is_repeated_as_padding() -> None:
    assert seen(session(), message(5)) == [5, 5]
    assert seen(session(), message(4, 5)) == [4, 5]
    assert seen(session(), message(3, 4, 5)) == [4, 5]


def test_frames_go_behind_the_history() -> None:
    line = session()
    seen(line, message(1))
    assert seen(line, message(2, elapsed_steps=1)) == [1, 2]
    assert seen(line, message(3, 4, 5)) == [4, 5]
    assert seen(line, message(6, elapsed_steps=1)) == [5, 6]


def test_steps_without_a_frame_lie_on_the_straight_line() -> None:
    line = session(frame_steps=3)
    seen(line, message(0))
    # Single frames come every 3 steps: the frame before the newest is that of two thirds of the way.
    assert seen(line, message(6)) == [4, 6]
    assert seen(line, message(11, elapsed_steps=5)) == [10, 11]
    # Two frames of five steps, and frames at 12 and 13 in between.
    assert seen(line, message(15, 16, elapsed_steps=5)) == [15, 16]
    assert seen(line, message(16 + 10**6, elapsed_steps=10**6)) == [16 + 10**6 - 1, 16 + 10**6]


def test_extend_fills_gaps_by_hand() -> None:
    past = np.array([[0.0], [1.0]], np.float32)
    assert extend(past, np.array([[5.0]], np.float32), 4, history=6).ravel().tolist() == [0, 1, 2, 3, 4, 5]
    assert extend(past, np.array([[5.0]], np.float32), 4, history=3).ravel().tolist() == [3, 4, 5]
    assert extend(past, np.array([[4.0], [5.0]], np.float32), 4, history=4).ravel().tolist() == [2, 3, 4, 5]
    assert extend(past, np.array([[2.0]], np.float32), 1, history=2).ravel().tolist() == [1, 2]


def test_orientations_turn_the_short_way_and_keep_their_length() -> None:
    past = np.array([[9.0, 1, 0, 0, 0]], np.float32)
    newest = np.array([[9.0, 0, -1, 0, 0]], np.float32)  # 180 degrees about x; its negative is the same rotation
    half = np.float32(np.sqrt(0.5))
    moved = extend(past, newest, 2, history=2, orientation=slice(1, 5))
    np.testing.assert_allclose(moved, [[9, half, -half, 0, 0], [9, 0, -1, 0, 0]], atol=1e-6)
    same = extend(past, -past * [-1, 1, 1, 1, 1], 2, history=2, orientation=slice(1, 5))
    np.testing.assert_allclose(same, [[9, 1, 0, 0, 0], [9, -1, 0, 0, 0]], atol=1e-6)


def test_reset_starts_an_episode() -> None:
    line = session()
    seen(line, message(1))
    assert seen(line, message(9, reset=True)) == [9, 9]
    assert seen(line, message(5, 6, reset=np.bool_(True))) == [5, 6]


def test_noise_is_of_seed_and_decision_alone() -> None:
    line = session()
    first = line.request(message(1, seed=11)).noise
    assert torch.equal(first, decision_noise([11], 0, SHAPE))
    assert torch.equal(line.request(message(2)).noise, decision_noise([11], 1, SHAPE))
    assert torch.equal(line.request(message(2, decision=7)).noise, decision_noise([11], 7, SHAPE))
    assert torch.equal(line.request(message(2)).noise, decision_noise([11], 8, SHAPE))
    again = line.request(message(1, reset=True, seed=np.int64(11))).noise
    assert torch.equal(again, first)


def test_unnamed_seeds_follow_from_server_connection_and_episode() -> None:
    line = session(number=4)
    noise = [line.request(message(1, reset=reset)).noise for reset in (False, False, True, False)]
    seeds = [derive_seed("serve", 7, 4, episode) for episode in (0, 1)]
    for got, (seed, decision) in zip(noise, [(seeds[0], 0), (seeds[0], 1), (seeds[1], 0), (seeds[1], 1)]):
        assert torch.equal(got, decision_noise([seed], decision, SHAPE))
    assert not torch.equal(noise[0], session(number=5).request(message(1)).noise)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"stat": np.zeros(2)}, "unknown name in the message 'stat'; did you mean 'state'?"),
        ({"command": None}, "lacks an array 'command' of shape (1,)"),
        ({"command": 3.0}, "lacks an array 'command'"),
        ({"state": np.zeros(3)}, "'state' has shape (3,); expected (2,), or (m, 2)"),
        ({"state": np.zeros((0, 2))}, "'state' has shape (0, 2)"),
        ({"state": np.zeros((1, 1, 2))}, "'state' has shape (1, 1, 2)"),
        ({"state": np.zeros(())}, "'state' has shape ()"),
        ({"state": np.zeros((2000, 2))}, "'state' has shape (2000, 2)"),
        ({"state": np.zeros((3, 2))}, "all keys must bring the same frames"),
        ({"state": np.array([True, False])}, "holds booleans"),
        ({"state": np.array([0.0, np.nan])}, "not finite"),
        ({"state": np.array([0.0, 1e300])}, "not finite"),
        ({"reset": 1}, "reset is a int, expected true or false"),
        ({"seed": -1}, "seed is '-1', expected an integer"),
        ({"seed": True}, "expected an integer"),
        ({"seed": 2**53}, "expected an integer"),
        ({"seed": 1.0}, "expected an integer"),
        ({"decision": "2"}, "expected an integer"),
        ({"elapsed_steps": 0}, "elapsed_steps is 0, but the message brings 1 frames"),
    ],
)
def test_refused_messages_leave_the_session_as_it_was(change: dict[str, Any], reason: str) -> None:
    line = session()
    line.request(message(1, seed=11))
    with pytest.raises(ScoreError) as error:
        line.request({**message(2), **change})
    assert reason in str(error.value)
    request = line.request(message(2, elapsed_steps=1))
    assert request.window["state"][0, :, 0].tolist() == [1, 2]
    assert torch.equal(request.noise, decision_noise([11], 1, SHAPE))


def test_fewer_steps_than_frames_are_refused() -> None:
    line = session()
    line.request(message(1))
    with pytest.raises(ScoreError, match="elapsed_steps is 1, but the message brings 2 frames"):
        line.request(message(2, 3, elapsed_steps=1))


def test_a_prompt_is_ignored() -> None:
    assert seen(session(), message(5, prompt="pinch the cube")) == [5, 5]


def test_requests_do_not_share_memory_with_the_session() -> None:
    line = session()
    window = line.request(message(1)).window
    window["state"].fill_(99)
    assert seen(line, message(2, elapsed_steps=1)) == [1, 2]


class SeeingSpec:
    """A pose, pixels at every frame, and a view."""

    policy = PolicySpec(
        Interface(
            {"marks": ArraySpec((2, 3)), "pixels": ArraySpec((2, 2), "uint8")},
            action_spec(("push",)),
            10.0,
            {"picture": ArraySpec((2, 2, 3), "uint8")},
        ),
        history=3,
        horizon=4,
        latent_shape=(6, 2),
    )


def seeing_message(value: float, **change: Any) -> dict[str, Any]:
    pixels, picture = np.full((2, 2), int(value), np.uint8), np.full((2, 2, 3), int(value), np.uint8)
    return {"marks": np.full((2, 3), value), "pixels": pixels, "picture": picture, **change}


def test_arrays_have_shapes_and_views_no_history() -> None:
    line = Session(SeeingSpec(), 3, seed=7, number=0)
    line.request(seeing_message(0))
    request = line.request(seeing_message(6))  # three steps later: marks on the line, pixels as before
    window = request.window
    assert {key: tuple(value.shape) for key, value in window.items()} == {
        "marks": (1, 3, 2, 3),
        "pixels": (1, 3, 2, 2),
        "picture": (1, 1, 2, 2, 3),
    }
    assert window["marks"][0, :, 1, 2].tolist() == [2, 4, 6] and window["marks"].dtype == torch.float32
    assert window["pixels"][0, :, 0, 0].tolist() == [0, 0, 6] and window["pixels"].dtype == torch.uint8
    assert window["picture"].unique().tolist() == [6] and request.noise.shape == (1, 6, 2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"picture": None}, "lacks an array 'picture' of shape (2, 2, 3)"),
        ({"picture": np.zeros((1, 2, 2, 3), np.uint8)}, "'picture' has shape (1, 2, 2, 3)"),
        ({"picture": np.zeros((2, 2, 3))}, "'picture' is float64, expected uint8"),
        ({"pixels": np.zeros((2, 2), np.int64)}, "'pixels' is int64, expected uint8"),
        ({"marks": np.zeros((3, 2))}, "'marks' has shape (3, 2); expected (2, 3), or (m, 2, 3)"),
        ({"marks": np.zeros((2, 2, 3))}, "all keys must bring the same frames"),
    ],
)
def test_arrays_are_refused_by_shape_and_type(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ScoreError) as error:
        Session(SeeingSpec(), 3, seed=7, number=0).request(seeing_message(1, **change))
    assert reason in str(error.value)
