"""A frame is computed when it is read, for the rows that are read, as it was when it was observed."""

from __future__ import annotations

import torch
from toys import ToyWorld

from score_rl.core.frames import LazyFrame, only, to_device


def counting() -> tuple[LazyFrame, list[list[int]]]:
    """Rows of [row, 10 row], and which rows were computed so far."""
    asked: list[list[int]] = []

    def compute(index: torch.Tensor) -> dict[str, torch.Tensor]:
        asked.append(index.tolist())
        return {"a": torch.stack([index, 10 * index], dim=1).float()}

    return LazyFrame(("a",), 3, compute), asked


def test_nothing_is_computed_before_it_is_read_and_nothing_twice() -> None:
    frame, asked = counting()
    assert list(frame) == ["a"] and len(frame) == 1 and "b" not in frame and asked == []
    assert frame["a"].tolist() == [[0, 0], [1, 10], [2, 20]]
    assert dict(frame)["a"] is frame["a"] and asked == [[0, 1, 2]]


def test_some_rows_alone() -> None:
    frame, asked = counting()
    rows = torch.tensor([False, True, False])
    assert only(frame, rows)["a"].tolist() == [[0, 0], [1, 10], [0, 0]] and asked == [[1]]
    assert frame["a"][2].tolist() == [2, 20]
    assert only(frame, rows)["a"].tolist() == [[0, 0], [1, 10], [0, 0]] and len(asked) == 2


def test_other_frames_are_as_they_are() -> None:
    frame = ToyWorld(2).reset([0, 1]).critic
    assert only(frame, torch.tensor([True, False])).keys() == frame.keys()


def test_a_frame_that_goes_to_a_device_is_still_computed_when_it_is_read() -> None:
    frame, asked = counting()
    there = to_device(frame, "cpu")
    assert list(there) == ["a"] and asked == []
    assert only(there, torch.tensor([False, False, True]))["a"].tolist() == [[0, 0], [0, 0], [2, 20]]
    assert there["a"].tolist() == frame["a"].tolist() and asked == [[2], [0, 1, 2], [0, 1, 2]]
    assert to_device({"a": torch.ones(1)}, "cpu")["a"].tolist() == [1]
