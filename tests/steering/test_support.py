"""Nearest-sample support: by hand, its exact level, and planted violations on a policy trained here."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from trained import ACTIONS

from score_rl.core.errors import ScoreError
from score_rl.evaluation.support.figures import record_figures
from score_rl.evaluation.support.meter import (
    Executed,
    SupportConfig,
    SupportMeter,
    executed_chunks,
    moved_directions,
    nearest_rank,
    whitened,
)
from score_rl.steering.latent import LatentConfig

LOW, HIGH = [-1.2] * ACTIONS, [1.2] * ACTIONS


def line(*points: float) -> torch.Tensor:
    return torch.tensor(points, dtype=torch.float32).view(1, -1, 1)


# ---- by hand ---------------------------------------------------------------------------------------------------


def test_ranks_by_hand() -> None:
    # Nearest others of 0, 1, 3 and the item 10: 1, 1, 2 and 7. The median of the samples' own is 1.
    rank, distance = nearest_rank(line(10), line(0, 1, 3), torch.zeros(1))
    assert (rank.item(), distance.item()) == (1.0, 7.0)
    # Of 0, 3, 10 and the item 0.5: 0.5, 2.5, 7 and 0.5: a tie with 0, which the lot decides.
    for lot, expected in ((0.0, 0.0), (0.49, 0.0), (0.51, 1 / 3), (0.99, 1 / 3)):
        assert nearest_rank(line(0.5), line(0, 3, 10), torch.tensor([lot]))[0].item() == pytest.approx(expected)


def test_the_level_is_exact_for_exchangeable_items() -> None:
    # 6000 states with 9 samples each: every one of the 10 ranks has 600 +- 23. Clustered and tied points included.
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(6000, 10, 2, generator=generator)
    points[3000:] = points[3000:].round()
    rank, _ = nearest_rank(points[:, :1], points[:, 1:], torch.rand(6000, generator=generator))
    counts = torch.bincount((rank * 9).round().long(), minlength=10)
    assert counts.sum() == 6000 and (counts - 600).abs().max() < 5 * 23.2


def test_whitening_makes_distance_count_in_spreads() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([10.0, 0.1])
    probes = 5 + spread * torch.randn(1, 4000, 2, generator=generator)
    item, samples = whitened(line(5, 5).view(1, 1, 2), 5 + torch.diag(spread).unsqueeze(0), probes)
    assert (samples - item)[0].norm(dim=1).tolist() == pytest.approx([1, 1], abs=0.1)


def test_directions_are_those_that_coordinates_move() -> None:
    generator = torch.Generator().manual_seed(0)
    w, rest = torch.randn(1, 50, 1, generator=generator), torch.randn(1, 50, 3, generator=generator)
    axes = moved_directions(w, w * torch.tensor([3.0, 0.0, 4.0]) + 1e-4 * rest)
    assert axes.shape == (1, 3, 1)
    assert axes[0, :, 0].abs().tolist() == pytest.approx([0.6, 0, 0.8], abs=1e-3)


def test_chunks_are_cut_as_they_were_executed() -> None:
    frames = {"x": torch.arange(10.0).view(2, 5, 1)}
    actions = 100 + torch.arange(10.0).view(2, 5, 1)
    found = executed_chunks(frames, actions, [5, 2], [7, 8], history=2, steps=2)
    assert found.episode.tolist() == [0, 0, 0, 1] and found.steps.tolist() == [2, 2, 1, 2]
    assert found.seeds == ((7, 0), (7, 1), (7, 2), (8, 0))
    assert found.window["x"][:, :, 0].tolist() == [[0, 0], [1, 2], [3, 4], [5, 5]]
    assert found.chunk.nan_to_num(-1)[:, :, 0].tolist() == [[100, 101], [102, 103], [104, -1], [105, 106]]


@pytest.mark.parametrize(("samples", "level"), [(50, 0.01), (99, 0.015), (9, 0.6)])
def test_a_level_that_is_not_exact_is_refused(samples: int, level: float, motions) -> None:
    with pytest.raises(ScoreError, match="false alarms would not be known"):
        SupportMeter(motions, LOW, HIGH, SupportConfig(samples=samples, level=level))


@pytest.mark.parametrize("level", [0.0, 1.0, -0.01, 1.01])
def test_a_level_that_is_no_share_in_between_is_refused(level: float, motions) -> None:
    with pytest.raises(ScoreError, match=rf"level is {level}, expected > 0 and < 1"):
        SupportMeter(motions, LOW, HIGH, SupportConfig(level=level))


# ---- on a trained policy -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def meter(motions) -> SupportMeter:
    return SupportMeter(motions, LOW, HIGH)


def figures(meter: SupportMeter, executed: Executed) -> dict:
    return record_figures(meter.measure(executed), None, meter.config)


@pytest.mark.slow
def test_the_base_policys_own_clipped_samples_are_in_its_support(meter: SupportMeter, planted) -> None:
    executed = planted("base", 300)
    assert (executed.chunk.abs() == 1.2).any()  # clipping happens, and is no violation
    found = figures(meter, executed)
    low, high = found["support_violation_95"]
    assert low <= 0.01 <= high and found["support_violation_rate"] <= 0.03
    assert found["support_auc"] == pytest.approx(0.5, abs=0.06)
    assert found["support_steered_auc"] == pytest.approx(0.5, abs=0.06)
    assert found["support_typicality"] == pytest.approx(0.5, abs=0.05)
    assert found["support_step_violation_rate"] == pytest.approx(0.01, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "at_least", "at_most"),
    [(0.01, 0.03, 0.5), (0.03, 0.8, 1.0), (0.1, 0.99, 1.0), ("other state", 0.97, 1.0), ("uniform", 1.0, 1.0)],
)
def test_planted_violations_are_found(
    kind: str | float, at_least: float, at_most: float, meter: SupportMeter, planted
) -> None:
    found = figures(meter, planted(kind))
    assert at_least <= found["support_violation_rate"] <= at_most
    assert found["support_auc"] > 0.6 and found["support_inside_rate"] < 0.02


@pytest.mark.slow
def test_the_mean_is_no_violation_but_too_central(meter: SupportMeter, planted) -> None:
    found = figures(meter, planted("z0"))
    assert found["support_violation_rate"] == 0 and found["support_inside_rate"] > 0.3
    assert found["support_typicality"] < 0.1 and found["support_auc"] < 0.1


def test_figures_do_not_depend_on_the_batch_and_cut_chunks_are_measured(meter: SupportMeter, planted) -> None:
    executed = planted("base", 12)
    chunk, steps = executed.chunk.clone(), executed.steps.clone()
    chunk[3, 5:], steps[3] = torch.nan, 5
    executed = replace(executed, chunk=chunk, steps=steps)
    whole = meter.measure(executed)
    small = SupportMeter(meter.policy, LOW, HIGH, SupportConfig(rows=500)).measure(executed)
    assert torch.equal(whole.chunk, small.chunk) and torch.equal(whole.steered, small.steered)
    assert whole.step[3].isfinite().tolist() == [True] * 5 + [False] * 3
    assert whole.chunk.isfinite().all() and whole.steps[3] == 5
    chunk = chunk.clone()
    chunk[3, :5] += 0.5  # a cut chunk can be off, too
    assert meter.measure(replace(executed, chunk=chunk)).chunk[3] == 1


def test_without_a_complement_there_is_no_steered_part(motions, planted) -> None:
    full = SupportMeter(motions, LOW, HIGH, latent=LatentConfig(kind="full"))
    ranks = full.measure(planted("base", 5))
    assert ranks.steered.isnan().all() and ranks.chunk.isfinite().all()
    assert "support_steered_auc" not in record_figures(ranks, None, full.config)


def test_chunks_longer_than_the_policys_are_refused(meter: SupportMeter, planted) -> None:
    executed = planted("base", 2)
    with pytest.raises(ScoreError, match="8 actions, 16 were executed"):
        meter.measure(replace(executed, chunk=executed.chunk.repeat(1, 2, 1)))
