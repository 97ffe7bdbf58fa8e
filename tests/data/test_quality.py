"""Numbers that no robot measures are refused, suspicious ones are said; by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from door import write

from score_rl.contracts import ArraySpec
from score_rl.core.errors import ScoreError
from score_rl.data.dataset import load_dataset
from score_rl.data.quality import entries, refuse_sentinels, spikes, suspicions

FLOORS = {"observation.state": 0.01, "action": 0.001}


def changed(tmp_path, change, **more):
    return load_dataset(write(tmp_path / "d", change=change, **more))


def said(dataset, horizon=8):
    return list(suspicions(dataset, FLOORS, horizon))


def test_a_smooth_dataset_is_not_suspicious(tmp_path):
    dataset = changed(tmp_path, None)
    refuse_sentinels(dataset, FLOORS)
    assert said(dataset) == []


@pytest.mark.parametrize("value", [3.4e38, -3.4e38, 1e10])
def test_a_sentinel_is_refused_with_its_place(tmp_path, value):
    def change(episode, frames):
        if episode == 1:
            frames["observation.state"][7, 2] = value

    with pytest.raises(ScoreError, match=r"'observation\.state' \(entry 2, episode 1, frame 7\) is no measurement"):
        refuse_sentinels(changed(tmp_path, change), FLOORS)


def test_one_frame_that_is_a_hundred_times_too_large(tmp_path):
    def change(episode, frames):
        if episode == 2:
            frames["action"][11, 1] = 100.0

    dataset = changed(tmp_path, change)
    (found,) = spikes(dataset, "action")
    assert (found.index, found.episode, found.frame, found.value) == (1, 2, 11, 100.0)
    assert said(dataset) == ["a spike: 100 in 'action' (entry 1, episode 2, frame 11)"]


def test_a_spike_at_the_end_of_an_episode_is_not_hidden_by_the_next(tmp_path):
    def change(episode, frames):
        frames["action"][-1, 0] = 100.0
        frames["action"][0, 0] = 100.0

    assert {(one.episode, one.frame) for one in spikes(changed(tmp_path, change), "action")} == {
        (0, 0), (0, 39), (1, 0), (1, 49), (2, 0), (2, 59),
    }  # fmt: skip


def test_a_contact_that_is_rare_and_a_move_that_lasts_are_no_spikes(tmp_path):
    def change(episode, frames):
        frames["observation.state"][:, 0] = 0.0
        frames["observation.state"][5, 0] = 1.0  # a button, pressed for one frame
        frames["observation.state"][20:24, 1] += 30.0  # a stay elsewhere

    assert spikes(changed(tmp_path, change), "observation.state") == []


def test_whole_numbers_are_looked_at_as_well(tmp_path):
    dataset = changed(tmp_path, None)
    counts = np.arange(dataset.num_frames, dtype=np.int64)[:, None] % 7
    for value, refused in ((-(2**31), True), (np.iinfo(np.int64).min, True), (1000, False)):
        counts[95] = value
        column = replace(dataset, columns={**dataset.columns, "observation.count": counts.copy()},
                         features={**dataset.features, "observation.count": ArraySpec((1,), "int64")})  # fmt: skip
        if refused:
            with pytest.raises(ScoreError, match=r"'observation\.count' \(entry 0, episode 2, frame 5\) is no meas"):
                refuse_sentinels(column, ["observation.count"])
        else:
            refuse_sentinels(column, ["observation.count"])
            assert [str(one) for one in spikes(column, "observation.count")] == [
                "1000 in 'observation.count' (entry 0, episode 2, frame 5)"
            ]


def test_a_number_that_stands_for_no_reading(tmp_path):
    def change(episode, frames):
        if episode == 1:
            frames["observation.state"][10:15, 0] = -999.0  # five frames, so no spike

    dataset = changed(tmp_path, change)
    refuse_sentinels(dataset, FLOORS)
    assert spikes(dataset, "observation.state") == []
    place = "-999 in 'observation.state' (entry 0, episode 1, frame 10)"
    assert said(dataset) == [f"no reading? {place}; the same number stands in 5 frames, far from all others"]


@pytest.mark.parametrize("share", [0.06, 0.5, 0.95])
@pytest.mark.parametrize("number", [-999.0, 9999.0])
def test_a_number_that_stands_for_no_reading_in_many_frames(tmp_path, share, number):
    def change(episode, frames):
        frames["observation.state"][5 : 5 + int(share * 100), 0] = number

    dataset = changed(tmp_path, change, lengths=(100, 100))
    assert spikes(dataset, "observation.state") == []
    place = f"{number:g} in 'observation.state' (entry 0, episode 0, frame 5)"
    count = 2 * min(int(share * 100), 95)
    assert said(dataset) == [f"no reading? {place}; the same number stands in {count} frames, far from all others"]


def test_two_numbers_for_no_reading_and_a_switch_that_is_none(tmp_path):
    def change(episode, frames):
        frames["observation.state"][10:40, 0] = -999.0
        frames["observation.state"][40:70, 0] = 99999.0
        frames["observation.state"][:, 1] = np.arange(100) // 10 % 2  # down and up, ten frames each
        frames["action"][:, 0] = np.where(np.arange(100) < 50, 0.0, 0.05 + 1e-4 * np.sin(np.arange(100)))  # a gripper

    first, second = said(changed(tmp_path, change, lengths=(100, 100)))
    assert first.startswith("no reading? -999 in 'observation.state' (entry 0, episode 0, frame 10); the same")
    assert second.startswith("no reading? 1e+05 in 'observation.state' (entry 0, episode 0, frame 40); the same")


def test_a_number_for_no_reading_among_those_of_a_switch(tmp_path):
    def change(episode, frames):
        frames["observation.state"][:, 0] = np.arange(100) // 10 % 2  # down and up, ten frames each
        frames["observation.state"][20:23, 0] = -999.0

    (line,) = said(changed(tmp_path, change, lengths=(100, 100)))
    assert line.startswith("no reading? -999 in 'observation.state' (entry 0, episode 0, frame 20); the same")


@pytest.mark.parametrize(("number", "found"), [(0.35, False), (-999.0, True)])
def test_where_all_episodes_begin_is_no_spike_but_what_is_of_another_order_is_no_beginning(tmp_path, number, found):
    def change(episode, frames):
        frames["observation.state"][:, 0] = 0.1 + 1e-3 * np.sin(np.arange(len(frames["observation.state"])))
        frames["observation.state"][:2, 0] = number

    dataset = changed(tmp_path, change)
    named = [
        line for line in said(dataset) if f"{number:g} in 'observation.state' (entry 0, episode 0, frame 0)" in line
    ]
    assert bool(named) == found


def test_dead_and_nearly_dead_entries_are_named(tmp_path):
    def change(episode, frames):
        frames["observation.state"][:, 0] = 0.7
        frames["observation.state"][:, 1] *= 1e-4

    dead, still = said(changed(tmp_path, change))
    assert dead == "'observation.state' never changes in entry 0"
    assert still.startswith("'observation.state' hardly moves in entry 1: standard deviation 7")
    assert "below the floor 0.01" in still


def test_segments_of_clouds_that_are_always_in_sight_are_as_they_should_be(tmp_path):
    dataset, key = changed(tmp_path, None), "observation.cloud_seen"
    seen = np.ones((dataset.num_frames, 3), np.float32)
    seen[7, 1] = 0.0  # hidden for one frame: no spike
    shown = replace(dataset, columns={**dataset.columns, key: seen})
    assert list(suspicions(shown, {key: 0.01}, 8)) == []
    seen[:, 2] = 0.0
    assert list(suspicions(shown, {key: 0.01}, 8)) == [f"'{key}': segment 2 out of sight in all frames"]


def test_entries_by_hand(tmp_path):
    def change(episode, frames):
        frames["action"][:, 0] = np.arange(len(frames["action"])) + 100 * episode
        frames["action"][:, 1] = 2.5

    first, second = entries(changed(tmp_path, change, lengths=(3, 2)), "action")  # 0 1 2, 100 101
    assert (first.low, first.high, first.mean, first.largest_step) == (0.0, 101.0, 40.8, 1.0)
    assert first.std == pytest.approx(np.std([0, 1, 2, 100, 101]))
    assert second.constant and second.std == 0.0 and second.span_low == second.span_high == 2.5


def test_episodes_shorter_than_a_chunk(tmp_path):
    dataset = changed(tmp_path, None, lengths=(10, 30))
    assert said(dataset, horizon=16) == ["1 of 2 episodes are shorter than a chunk of 16 actions"]
    (line,) = said(dataset, horizon=64)
    assert "the longest has 30 frames, so that later actions are never trained" in line
