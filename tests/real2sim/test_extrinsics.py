"""A camera's error of place, from points on surfaces that are known."""

from __future__ import annotations

import numpy as np
import pytest

from score_rl.core.seeding import rng
from score_rl.real2sim.extrinsics import Extrinsics, fit_extrinsics
from score_rl.real2sim.surface import box

HALF = np.array([0.10, 0.08, 0.05])
CENTRE = np.array([0.5, 0.1, 0.2])
PRIOR = np.array([0.01] * 3 + [0.02] * 3)
TRUTH = Extrinsics(
    shift_m=np.array([0.006, -0.004, 0.003]),
    turn_rad=np.array([0.01, -0.015, 0.02]),
    about_m=CENTRE,
    covariance=np.zeros((6, 6)),
    spread_m=0.0,
    points=0,
)


def surface(points: np.ndarray):
    return box(points - CENTRE, HALF)


def points_on_the_box(frames: int, count: int) -> np.ndarray:
    """(frames, count, 3) true points on all faces."""
    generator = rng("box")
    points, face = generator.uniform(-1, 1, (frames, count, 3)), generator.integers(3, size=(frames, count, 1))
    np.put_along_axis(points, face, np.sign(np.take_along_axis(points, face, 2)), 2)
    return points * HALF + CENTRE


def test_reported_and_back() -> None:
    # A quarter turn about z through (1, 0, 0), then 0.5 up: (2, 0, 0) goes to (1, 1, 0.5).
    camera = Extrinsics(np.array([0, 0, 0.5]), np.array([0, 0, np.pi / 2]), np.array([1.0, 0, 0]), PRIOR, 0, 0)
    np.testing.assert_allclose(camera.reported(np.array([[2.0, 0, 0]])), [[1, 1, 0.5]], atol=1e-12)
    np.testing.assert_allclose(camera.true(np.array([[1.0, 1, 0.5]])), [[2, 0, 0]], atol=1e-12)


def test_points_without_noise_give_the_error_exactly() -> None:
    seen = TRUTH.reported(points_on_the_box(4, 50))
    found = fit_extrinsics(seen, surface, np.arange(4), 1e3 * PRIOR, CENTRE)
    np.testing.assert_allclose(found.shift_m, TRUTH.shift_m, atol=1e-7)
    np.testing.assert_allclose(found.turn_rad, TRUTH.turn_rad, atol=1e-7)
    assert found.points == 200


def noisy(seed: int) -> np.ndarray:
    """2 mm of noise, 1 mm that the points of a frame share, and 3 % that fly up to 40 mm away."""
    generator, points = rng("noise", seed), TRUTH.reported(points_on_the_box(60, 64))
    points += generator.normal(0, 0.002, points.shape) + generator.normal(0, 0.001, (60, 1, 3))
    flying = generator.random((60, 64, 1)) < 0.03
    return np.where(flying, points + generator.uniform(0, 0.04, points.shape), points)


def test_noise_is_survived_and_the_uncertainty_covers_what_is_left() -> None:
    scores = []
    for seed in range(12):
        found = fit_extrinsics(noisy(seed), surface, np.arange(60), PRIOR, CENTRE)
        error = np.concatenate([found.shift_m - TRUTH.shift_m, found.turn_rad - TRUTH.turn_rad])
        scores.append(error / np.sqrt(np.diag(found.covariance)))
        assert np.abs(error[:3]).max() < 5e-4 and np.abs(error[3:]).max() < 3e-3
    # 72 standard scores, if the covariance is right: rms 1, of which one in 400 is beyond 3.
    rms = np.sqrt(np.mean(np.square(scores)))
    assert 0.7 < rms < 1.5 and np.abs(scores).max() < 4


def test_what_frames_of_an_episode_share_counts_once() -> None:
    each = fit_extrinsics(noisy(0), surface, np.arange(60), PRIOR, CENTRE)
    copies = fit_extrinsics(np.tile(noisy(0), (4, 1, 1)), surface, np.tile(np.arange(60), 4), PRIOR, CENTRE)
    np.testing.assert_allclose(np.diag(copies.covariance), np.diag(each.covariance), rtol=0.05)


def test_without_evidence_the_prior_stays() -> None:
    # Points of one face alone, z up: its height and its two tilts show, the rest does not.
    points = np.stack([np.array([x, y, 0.05]) for x in (-0.1, 0.1) for y in (-0.08, 0.08)])[None] + CENTRE
    plane = lambda p: (p[..., 2] - CENTRE[2] - 0.05, np.broadcast_to([0.0, 0, 1], p.shape))  # noqa: E731
    found = fit_extrinsics(np.tile(points, (50, 1, 1)), plane, np.arange(50), PRIOR, CENTRE)
    sd = np.sqrt(np.diag(found.covariance))
    np.testing.assert_allclose(sd[[0, 1, 5]], PRIOR[[0, 1, 5]], rtol=1e-6)
    assert (sd[[2, 3, 4]] < 0.1 * PRIOR[[2, 3, 4]]).all()


def test_uncertainty_of_a_place_grows_with_its_distance() -> None:
    covariance = np.diag([1e-3, 1e-3, 1e-3, 2e-3, 0, 0]) ** 2
    camera = Extrinsics(np.zeros(3), np.zeros(3), CENTRE, covariance, 0, 0)
    # Half a metre along y, turned about x by 2 mrad: 1 mm up or down beside the shift's own.
    assert camera.sd_m(CENTRE + [0, 0.5, 0]) == pytest.approx([1e-3, 1e-3, np.sqrt(2) * 1e-3])
