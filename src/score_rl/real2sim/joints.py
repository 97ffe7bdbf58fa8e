"""Fit of joint offsets, play, servo gains, lag and delay to the contact-free beginnings of demonstrations.

One maximum a posteriori problem: find parameters p that minimise

    sum over frames and joints  rho((replay(p) - offset - measured)^2 / sigma^2)  +  sum ((p - prior) / sd)^2

where `replay` are the twin's true joint positions under the commands that were sent, rho is the soft-L1 loss (a
missed contact must not count) and sigma the residual that the best fit leaves. The covariance is the robust
"sandwich" estimate with one cluster per episode, to first order the same as a bootstrap over episodes:
errors of the model are correlated within an episode, so that frames must not be counted as independent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from score_rl.real2sim.replay import Array, Segments, Values
from score_rl.sim.parameters import Parameter

OFFSETS = ("arm.joint_bias_rad", "hand.joint_bias_rad")
DYNAMICS = (
    "robot.lag_s",
    "robot.delay_s",
    "arm.gain_scale",
    "hand.gain_scale",
    "hand.backlash_rad",
    "hand.dry_friction_nm",
)

_PROBES: Sequence[Mapping[str, float]] = (
    {"robot.lag_s": 0.004},
    {"robot.delay_s": 0.004},
    {"arm.gain_scale": 0.05, "hand.gain_scale": 0.05},
    {"hand.backlash_rad": 0.004},
    {"hand.dry_friction_nm": 0.003},
)
"""Finite-difference steps. Parameters that act on different joints are probed in one replay: without contact the
joints hardly influence each other, so that a joint's path depends on its own play and its own servo's gain."""

ReplayFunction = Callable[[Sequence[Values]], Array]
MakeReplay = Callable[[Segments, int], ReplayFunction]
"""(segments, number of candidates) -> function from as many parameter sets to joint paths (see `Replay.run`)."""
_FEW_EPISODES = 8
_FIRST_SIGMA_RAD = 0.02


@dataclass(frozen=True)
class Belief:
    """Normal prior of one parameter's elements."""

    mean: Array
    """(size,)."""
    sd: float
    low: float
    """Bounds that make physical sense."""
    high: float


def belief(parameter: Parameter, mean: Array | None = None) -> Belief:
    """A parameter's prior, or a belief as wide as it is about another value (size,)."""
    prior = parameter.prior
    assert prior is not None, f"{parameter.name} has no prior"
    mean = np.full(parameter.size, prior.mean) if mean is None else mean
    return Belief(mean, prior.sd, parameter.low, parameter.high)


@dataclass(frozen=True)
class Fit:
    """Estimates of parameters with their joint covariance."""

    names: tuple[str, ...]
    """Parameter of every element of `mean`, e.g. sixteen times "hand.backlash_rad"."""
    mean: Array
    """(p,) estimates."""
    covariance: Array
    """(p, p)."""
    residual_rad: Array
    """(e, t + 1, joints) replayed minus measured at the estimates."""

    def values(self, name: str) -> Array:
        """Estimate of one parameter, (size,)."""
        return self.mean[self._where(name)]

    def sd(self, name: str) -> Array:
        """Its standard deviation, (size,)."""
        return np.sqrt(np.diag(self.covariance)[self._where(name)])

    def _where(self, name: str) -> Array:
        return np.flatnonzero(np.array(self.names) == name)


def fit_joints(segments: Segments, base: Values, beliefs: Mapping[str, Belief], make_replay: MakeReplay) -> Fit:
    """Estimate the parameters in `beliefs`: both `OFFSETS` and some of `DYNAMICS`; `base` holds all others.

    A few episodes find the neighbourhood, then all of them the estimate.
    """
    few = segments.subset(np.arange(0, len(segments.start), max(1, len(segments.start) // _FEW_EPISODES)))
    small, large = (_Problem(make_replay, pieces, base, beliefs) for pieces in (few, segments))
    point, sigma = small.prior_mean, np.full(segments.measured.shape[2], _FIRST_SIGMA_RAD)
    # The scale of the loss is the residual that is left: each round takes the last one's.
    for problem, iterations in ((small, 6), (small, 6), (large, 5)):
        point = _minimise(problem, point, sigma, iterations)
        sigma = problem.spread(point)
    return Fit(large.names, point, large.covariance(point, sigma), large.error(point))


def _minimise(problem: _Problem, point: Array, sigma: Array, iterations: int) -> Array:
    """Levenberg-Marquardt on the iteratively reweighted problem; bounds by clipping.

    scipy's trust region with bounds creeps here: half of the parameters start near a bound, which it scales away
    from, and play and torque limits make kinks.
    """
    damping = 1e-3
    cost, gradient, information = problem.linearise(point, sigma)
    for _ in range(iterations):
        step = np.linalg.solve(information + damping * np.diag(np.diag(information)), -gradient)
        trial = np.clip(point + step, problem.lower, problem.upper)
        found = problem.linearise(trial, sigma)
        if found[0] < cost:
            small_gain = cost - found[0] < 1e-3 * cost
            point, (cost, gradient, information), damping = trial, found, damping / 10
            if small_gain:
                break
        else:
            damping = max(damping, 1e-2) * 10
    return point


class _Problem:
    """Residuals and derivatives; the last replay is kept, since both are asked for at the same point."""

    def __init__(self, make_replay: MakeReplay, segments: Segments, base: Values, beliefs: Mapping[str, Belief]):
        self._segments, self._base = segments, base
        self._probes = [probe for probe in _PROBES if probe.keys() & beliefs.keys()]
        self._replay = make_replay(segments, 1 + len(self._probes))
        names = [name for name in (*OFFSETS, *DYNAMICS) if name in beliefs]
        sizes = {name: len(beliefs[name].mean) for name in names}
        self.names = tuple(name for name, size in sizes.items() for _ in range(size))
        self.prior_mean = np.concatenate([beliefs[name].mean for name in names])
        self.prior_sd = np.array([beliefs[name].sd for name in self.names])
        self.lower = np.array([beliefs[name].low for name in self.names])
        self.upper = np.array([beliefs[name].high for name in self.names])
        ends = np.cumsum(list(sizes.values()))
        self._slices = {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends)}
        self._arm = sizes[OFFSETS[0]]
        self._joints = sum(sizes[name] for name in OFFSETS)
        self._at: Array | None = None

    def _values(self, point: Array) -> dict[str, Array]:
        return {**self._base, **{name: point[where] for name, where in self._slices.items()}}

    def _run(self, point: Array) -> tuple[Array, list[Array]]:
        """Path at the point (e, t + 1, joints), and its derivative by every probe."""
        if self._at is None or not np.array_equal(self._at, point):
            here = self._values(point)
            probed = [{**here, **{name: here[name] + step for name, step in probe.items()}} for probe in self._probes]
            paths = self._replay([here, *probed])
            steps = [next(iter(probe.values())) for probe in self._probes]
            self._at = point.copy()
            self._path = paths[0]
            self._slopes = [(path - paths[0]) / step for path, step in zip(paths[1:], steps)]
        return self._path, self._slopes

    def error(self, point: Array) -> Array:
        """(e, t + 1, joints) replayed minus measured, rad."""
        path, _ = self._run(point)
        return path - point[: self._joints] - self._segments.measured

    def spread(self, point: Array) -> Array:
        """(joints,) robust standard deviation of the error, one for the arm and one for the hand."""
        error = np.abs(self.error(point)[self._segments.valid])
        arm, hand = (1.4826 * np.median(part) for part in np.split(error, [self._arm], axis=1))
        return np.maximum(np.repeat([arm, hand], [self._arm, self._joints - self._arm]), 2e-4)

    def linearise(self, point: Array, sigma: Array) -> tuple[float, Array, Array]:
        """Cost, half its gradient (p,) and the reweighted Gauss-Newton matrix (p, p)."""
        error, rows = self._weighted(point, sigma)
        normalised = (self.error(point) / sigma)[self._segments.valid]
        away = (point - self.prior_mean) / self.prior_sd
        cost = 2 * float(np.sum(np.sqrt(1 + normalised**2) - 1)) + float(away @ away)
        gradient = rows.T @ error + away / self.prior_sd
        return cost, gradient, rows.T @ rows + np.diag(self.prior_sd**-2)

    def covariance(self, point: Array, sigma: Array) -> Array:
        """Cluster-robust posterior covariance (p, p)."""
        error, rows = self._weighted(point, sigma)
        prior = np.diag(self.prior_sd**-2)
        episode = np.repeat(np.nonzero(self._segments.valid)[0], self._joints)
        starts = np.flatnonzero(np.diff(episode, prepend=-1))
        score = np.add.reduceat(rows * error[:, None], starts)
        inverse = np.linalg.inv(rows.T @ rows + prior)
        return inverse @ (score.T @ score + prior) @ inverse

    def _weighted(self, point: Array, sigma: Array) -> tuple[Array, Array]:
        """Residuals (k,) and their derivatives (k, p), times the square root of the loss' weights."""
        valid = self._segments.valid
        error = (self.error(point) / sigma)[valid]
        weight = (1 + error**2) ** -0.25
        rows = self._data_jacobian(point)[valid] * (weight / sigma)[..., None]
        return (error * weight).ravel(), rows.reshape(-1, len(point))

    def _data_jacobian(self, point: Array) -> Array:
        """(e, t + 1, joints, p)."""
        path, slopes = self._run(point)
        jacobian = np.zeros((*path.shape, len(point)))
        joint = np.arange(self._joints)
        jacobian[..., joint, joint] = -1
        for probe, slope in zip(self._probes, slopes):
            for name in probe.keys() & self._slices.keys():
                where = self._slices[name]
                mine = joint[: self._arm] if name.startswith("arm.") else joint[self._arm :]
                if name == "hand.backlash_rad":
                    jacobian[..., mine, np.arange(where.start, where.stop)] = slope[..., mine]
                elif name.startswith(("arm.", "hand.")):
                    jacobian[..., mine, where.start] = slope[..., mine]
                else:
                    jacobian[..., where.start] = slope
        return jacobian
