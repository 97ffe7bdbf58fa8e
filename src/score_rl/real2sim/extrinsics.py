"""Where a camera takes points of a known surface to be: three of shift and three of turn, with their covariance.

A camera with an error of place reports a true point x at turn (x - about) + about + shift. Given what it reported of
something whose surface is known (the hand at known joints), the six numbers are those that lay the points, moved
back, onto the surface. One Gauss-Newton problem, reweighted so that pixels that fly between an edge and what is
behind do not pull; the weights' scale is the spread that is left. The covariance is the robust "sandwich" estimate
with one cluster per episode: what the points of an image, and the images of an episode, have in common counts once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from score_rl.real2sim.surface import Array, Nearest
from score_rl.sim import rotations_numpy as rotations

ITERATIONS = 40
_CAUCHY = 2.385
"""Scale of the weights in standard deviations: 95 % as efficient as least squares where all noise is normal."""
_FINEST_SPREAD_M = 2e-4
_DONE = 1e-8
"""Smallest step, m and rad."""


@dataclass(frozen=True)
class Extrinsics:
    """A camera's error of place."""

    shift_m: Array
    """(3,) by which the point `about_m` is reported too far."""
    turn_rad: Array
    """(3,) rotation vector of the reported scene, base frame."""
    about_m: Array
    """(3,) the point that the scene is turned about."""
    covariance: Array
    """(6, 6) of shift and turn."""
    spread_m: float
    """Robust standard deviation of the points about the surface."""
    points: int
    """Points that were seen."""

    def reported(self, points: Array) -> Array:
        """(..., 3) where true points (..., 3) are reported."""
        return (points - self.about_m) @ _matrix(self.turn_rad).T + self.about_m + self.shift_m

    def true(self, points: Array) -> Array:
        """(..., 3) where points (..., 3) that were reported really are."""
        return (points - self.about_m - self.shift_m) @ _matrix(self.turn_rad) + self.about_m

    def sd_m(self, point: Array) -> Array:
        """(3,) standard deviations of `true` at a point (3,)."""
        jacobian = np.concatenate([np.eye(3), -_cross(point - self.about_m)], axis=1)
        return np.sqrt(np.einsum("ij,jk,ik->i", jacobian, self.covariance, jacobian))


def fit_extrinsics(
    points: Array, surface: Callable[[Array], Nearest], clusters: Array, prior_sd: Array, about_m: Array
) -> Extrinsics:
    """The error of place of a camera that saw these points on this surface.

    Args:
        points: (f, p, 3) as reported, in the robot's base frame, m.
        surface: signed distances and normals of (f, p, 3), see `Surface.nearest`.
        clusters: (f,) what frames have in common, e.g. the number of their episode.
        prior_sd: (6,) standard deviations of shift [m] and turn [rad] before anything was seen, about zero.
        about_m: (3,) a point in the middle of the points, which makes shift and turn independent.
    """
    prior, x = prior_sd**-2.0, np.zeros(6)
    for _ in range(ITERATIONS):
        residual, jacobian = _linearise(points, surface, x, about_m)
        spread = max(1.4826 * float(np.median(np.abs(residual))), _FINEST_SPREAD_M)
        weight = 1 / (1 + (residual / (_CAUCHY * spread)) ** 2)
        rows = jacobian * (weight / spread**2)[..., None]
        information = np.einsum("fpi,fpj->ij", rows, jacobian) + np.diag(prior)
        step = np.linalg.solve(information, np.einsum("fpi,fp->i", rows, residual) + prior * x)
        x = x - step
        if np.abs(step).max() < _DONE:
            break
    return Extrinsics(
        shift_m=x[:3],
        turn_rad=x[3:],
        about_m=about_m,
        covariance=_covariance(residual, jacobian, spread, clusters, prior),
        spread_m=spread,
        points=residual.size,
    )


def _linearise(points: Array, surface: Callable[[Array], Nearest], x: Array, about_m: Array) -> tuple[Array, Array]:
    """(f, p) signed distances of points moved back, and their derivatives (f, p, 6) by shift and turn."""
    turn, arm = _matrix(x[3:]), points - about_m - x[:3]
    residual, normal = surface(arm @ turn + about_m)
    pull = normal @ turn.T
    # The turn's increment acts in front of the turn itself, which for turns this small is the same.
    return residual, -np.concatenate([pull, np.cross(arm, pull)], axis=-1)


def _covariance(residual: Array, jacobian: Array, spread: float, clusters: Array, prior: Array) -> Array:
    """(6, 6), cluster-robust."""
    away = (residual / (_CAUCHY * spread)) ** 2
    weight, slope = 1 / (1 + away), (1 - away) / (1 + away) ** 2
    scores = np.einsum("fpi,fp->fi", jacobian, weight * residual) / spread**2
    _, cluster = np.unique(clusters, return_inverse=True)
    summed = np.zeros((cluster.max() + 1, 6))
    np.add.at(summed, cluster, scores)
    bread = np.einsum("fpi,fp,fpj->ij", jacobian, slope / spread**2, jacobian) + np.diag(prior)
    inverse = np.linalg.inv(bread)
    return inverse @ (summed.T @ summed + np.diag(prior)) @ inverse


def _matrix(turn: Array) -> Array:
    return rotations.matrix(rotations.from_rotation_vector(turn[None]))[0]


def _cross(v: Array) -> Array:
    """(3, 3) with _cross(v) @ u = v x u."""
    x, y, z = v
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
