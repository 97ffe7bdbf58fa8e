"""The result schema: what is summarized, compared, written, read and refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from score_rl.core.errors import ScoreError
from score_rl.evaluation.results import (
    Episode,
    Labels,
    compare,
    find_record,
    read_results,
    steps_reduction,
    summarize,
    validate,
    write_results,
)

WIN = Episode(
    seed=0,
    success_end=True,
    success_ever=True,
    steps_to_success=40,
    steps=45,
    truncated=False,
    fault=False,
    nan=False,
    peak_force_n=4.0,
    return_=16.0,
    latent_norm2=1.0,
    max_jump=0.1,
)
LOSS = replace(WIN, success_end=False, success_ever=False, steps_to_success=None, steps=128, truncated=True)
FAULT = replace(LOSS, success_ever=True, fault=True, truncated=False, peak_force_n=31.0)
LABELS = Labels(task="pinch_cube", method="base", policy="base", world="proxy", robot_seed=3)
PROVENANCE = {"commit": "abc1234", "command": "score evaluate", "machine": "2 cores"}


def seeded(*episodes: Episode) -> list[Episode]:
    return [replace(episode, seed=seed) for seed, episode in enumerate(episodes)]


def test_summary_counts_by_hand() -> None:
    record = summarize(LABELS, seeded(WIN, replace(WIN, steps_to_success=60), LOSS, FAULT), PROVENANCE)
    assert (record["n"], record["successes_end"], record["successes_ever"]) == (4, 2, 3)
    assert record["wilson95"] == pytest.approx([0.1500, 0.8500], abs=1e-4)
    assert record["steps_to_success_mean"] == 50
    assert record["episode_steps_mean"] == (45 + 45 + 128 + 128) / 4
    assert (record["hand_faults"], record["timeouts"], record["nans"]) == (1, 1, 0)
    assert record["peak_force_p95_n"] == pytest.approx(4 + 0.85 * 27)
    assert validate([record]) == [record]


def test_worlds_without_forces_and_policies_without_success_have_no_such_figures() -> None:
    record = summarize(LABELS, [replace(LOSS, peak_force_n=None)], PROVENANCE)
    assert record["peak_force_p95_n"] is None and record["steps_to_success_mean"] is None
    assert record["wilson95"][0] == 0
    validate([record])


def test_no_episodes_is_an_error() -> None:
    with pytest.raises(ScoreError, match="no episodes of policy base"):
        summarize(LABELS, [], PROVENANCE)


def test_paired_comparison() -> None:
    mine, base = seeded(WIN, WIN, WIN, LOSS), seeded(LOSS, LOSS, WIN, LOSS)
    record = summarize(LABELS, mine, PROVENANCE)
    compare(record, mine, {"base": base})
    assert record["vs_base_difference"] == 0.5
    assert (record["vs_base_wins"], record["vs_base_losses"]) == (2, 0)
    assert record["vs_base_mcnemar_p"] == 0.5  # 2 * (1/2)^2
    low, high = record["vs_base_95"]
    assert low < 0.5 < high


def test_pairs_need_the_same_seeds() -> None:
    with pytest.raises(ScoreError, match="same seeds"):
        compare({"policy": "score_det"}, seeded(WIN), {"base": [replace(WIN, seed=7)]})


def test_steps_reduction() -> None:
    fast = replace(WIN, steps_to_success=30)
    assert steps_reduction(seeded(fast, LOSS), seeded(WIN, WIN)) == 0.25
    assert steps_reduction(seeded(LOSS), seeded(WIN)) is None


def test_round_trip_and_lookup(tmp_path: Path) -> None:
    record = summarize(LABELS, seeded(WIN), PROVENANCE)
    write_results(tmp_path / "result.json", [record])
    (read,) = read_results(tmp_path / "result.json")
    assert read == record
    assert find_record([read], policy="base", world="proxy") == record
    with pytest.raises(ScoreError, match="did you mean 'policy=base'"):
        find_record([read], policy="bas")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 99}, "schema_version is 99"),
        ({"n": "4"}, "n is '4', expected a whole number"),
        ({"n": 0}, "n is 0"),
        ({"successes_end": 5}, "successes_end is 5, but n is 1"),
        ({"wilson95": [0.0, 0.5]}, "does not hold 1/1"),
        ({"commit": None}, "commit is None, expected text"),
    ],
)
def test_bad_records_are_named(change: dict, message: str, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps([summarize(LABELS, seeded(WIN), PROVENANCE) | change]))
    with pytest.raises(ScoreError, match=message):
        read_results(path)


def test_missing_field_is_named() -> None:
    record = summarize(LABELS, seeded(WIN), PROVENANCE)
    del record["machine"]
    with pytest.raises(ScoreError, match="record 0 lacks machine"):
        validate([record])
