"""Error of the object's pose estimate, from what the demonstrations do with the object.

The estimate is observed = Rz(psi) true + b. Three kinds of evidence, each one row of a linear problem:

- rest: an untouched object lies on the table, so that its observed height is b_z + table height + its own half
  height. Only the sum of b_z and the table's height shows; their priors share it out.
- grasp: an object held between opposed fingers is centred between them along the pinch axis n, wherever the hand
  was aimed: n . (observed - midpoint of the fingertips) = n . b + psi n . (z x p) + g, with one constant g of the
  hand. Different hand orientations tell b from g. Across the axis the object lies wherever the hand was aimed,
  which says nothing: the aim followed the very estimate that is in question.
- carry: the observed displacement of a held object is that of the hand, turned by psi.

Fingertips are forward kinematics of the joints corrected by their estimated offsets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from score_rl.data.dataset import OBSERVATION, Dataset
from score_rl.real2sim.replay import Array
from score_rl.sim.parameters import Parameter
from score_rl.sim.robot import Robot
from score_rl.sim.sensors import Kinematics

PINCH_CENTRE_SD_M = 0.002
"""How far a pinched object's centre may be from the middle of the fingertip frames along the pinch axis."""
_UNKNOWNS = ("b_x", "b_y", "b_z", "psi", "table", "g")
_LIFTED_M = 0.04
"""An object this far above where it lay is held by something."""
_MIN_CARRY_M = 0.08
"""Shorter horizontal displacements say nothing about a direction."""
_REST_FRAMES = 5
_MIN_CARRY_FRAMES = 6
_ROW_SD = {"rest": 0.002, "grasp": 0.004, "carry": 0.03}
"""Spread (m, m, rad) of one episode's evidence, before the data are asked; only a starting point."""


@dataclass(frozen=True)
class CameraFit:
    """Estimates with standard deviations; metres and radians, robot base frame."""

    position_bias_m: Array
    """(3,) observed minus true."""
    position_sd_m: Array
    yaw_bias_rad: float
    yaw_sd_rad: float
    table_height_m: float
    table_sd_m: float
    position_jitter_m: float
    """Standard deviation per frame of the estimate of a resting object."""
    rotation_jitter_rad: float
    """The same of its rotation vector, per axis."""
    used: Mapping[str, int]
    """Episodes that gave each kind of evidence."""


def fit_camera(
    dataset: Dataset,
    robot: Robot,
    parameters: Mapping[str, Parameter],
    joint_offset: Array,
    rest_height_m: float,
    touching_m: float = 0.055,
) -> CameraFit:
    """Estimate the error of the object's pose.

    Args:
        dataset: with features state, object_pose, command.
        robot: for forward kinematics.
        parameters: with the priors of the camera and the table.
        joint_offset: (joints,) true minus measured, rad.
        rest_height_m: height of the object's centre above the table where it lies untouched, nominal size.
        touching_m: fingertips this near to the object's centre, once it is lifted, hold it.
    """
    rows: dict[str, list[tuple[Array, float]]] = {"rest": [], "grasp": [], "carry": []}
    position_jitter, rotation_jitter = [], []
    tips = _fingertips(dataset, robot, joint_offset)
    for start, end in zip(dataset.starts, dataset.ends):
        pose = dataset.columns[OBSERVATION + "object_pose"][start:end].astype(np.float64)
        rest = pose[:_REST_FRAMES]
        position_jitter.append(_pair_noise(rest[:, :3]))
        turns = Rotation.from_quat(rest[:, 3:], scalar_first=True)
        rotation_jitter.append((turns[:-1].inv() * turns[1:]).as_rotvec() / np.sqrt(2))
        height = float(np.median(rest[:, 2]))
        rows["rest"].append((_row(b_z=1.0, table=1.0), height - rest_height_m))
        held = pose[:, 2] - height > _LIFTED_M
        for kind, row in _held_rows(pose[held, :3], tips[start:end][held], touching_m):
            rows[kind].append(row)
    mean, covariance = _solve(rows, _prior_sd(parameters))
    sd = np.sqrt(np.diag(covariance))
    return CameraFit(
        position_bias_m=mean[:3],
        position_sd_m=sd[:3],
        yaw_bias_rad=float(mean[3]),
        yaw_sd_rad=float(sd[3]),
        table_height_m=float(mean[4]),
        table_sd_m=float(sd[4]),
        position_jitter_m=_spread(np.concatenate(position_jitter)),
        rotation_jitter_rad=_spread(np.concatenate(rotation_jitter)),
        used={kind: len(values) for kind, values in rows.items()},
    )


def _fingertips(dataset: Dataset, robot: Robot, joint_offset: Array) -> Array:
    """(frames, fingers, 3) by forward kinematics of the corrected joints."""
    joints = dataset.columns[OBSERVATION + "state"] + joint_offset
    return Kinematics(robot, len(joints))(joints)[1].copy()


def _held_rows(position: Array, tips: Array, touching_m: float) -> list[tuple[str, tuple[Array, float]]]:
    """Evidence of one episode's frames (k, 3), (k, fingers, 3) with the object off the table."""
    *fingers, thumb = range(tips.shape[1])
    near = np.linalg.norm(tips - position[:, None], axis=2) < touching_m
    gripped = near[:, thumb] & near[:, fingers].any(1)
    if gripped.sum() < _MIN_CARRY_FRAMES:
        return []
    position, tips = position[gripped], tips[gripped]
    holding = near[gripped][:, fingers].mean(0) > 0.5
    if not holding.any():
        return []
    opposed = tips[:, fingers][:, holding].mean(1)
    middle = (opposed + tips[:, thumb]) / 2
    axis = opposed - tips[:, thumb]
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    # The axis is nearly level, and its small tilt goes with how deep the object sits in the grip, which moves its
    # centre by more than the camera's height error would: no evidence for b_z.
    rows_of_frames = [_row(n[0], n[1], 0.0, n @ np.array([-p[1], p[0], 0.0]), g=1.0) for n, p in zip(axis, position)]
    coefficients = np.mean(rows_of_frames, axis=0)
    seen = float(np.mean(np.sum(axis * (position - middle), axis=1)))
    rows = [("grasp", (coefficients, seen))]
    third = max(len(position) // 3, 1)
    moved, hand = (x[-third:].mean(0) - x[:third].mean(0) for x in (position, middle))
    if np.linalg.norm(hand[:2]) >= _MIN_CARRY_M:
        angle = np.arctan2(hand[0] * moved[1] - hand[1] * moved[0], hand[:2] @ moved[:2])
        rows.append(("carry", (_row(psi=1.0), float(angle))))
    return rows


def _row(*leading: float, **named: float) -> Array:
    row = np.zeros(len(_UNKNOWNS))
    row[: len(leading)] = leading
    for name, value in named.items():
        row[_UNKNOWNS.index(name)] = value
    return row


def _prior_sd(parameters: Mapping[str, Parameter]) -> Array:
    """(6,) standard deviations of the unknowns before any evidence."""
    priors = [parameters[name].prior for name in ("camera.position_bias_m", "camera.yaw_bias_rad", "table.height_m")]
    camera, yaw, table = (prior.sd for prior in priors if prior is not None)
    return np.array([camera] * 3 + [yaw, table, PINCH_CENTRE_SD_M])


def _solve(rows: Mapping[str, list[tuple[Array, float]]], prior_sd: Array) -> tuple[Array, Array]:
    """Robust (soft-L1, iteratively reweighted) maximum a posteriori estimate (6,) and its covariance (6, 6).

    Every kind's spread is estimated from its residuals; rest rows share the mean of the objects' sizes, which is
    known to a percent or two, and so on: their systematic part is what the floors of
    priors are for.
    """
    prior = np.diag(prior_sd**-2.0)
    matrix = np.array([row for kind in rows.values() for row, _ in kind]).reshape(-1, len(_UNKNOWNS))
    target = np.array([value for kind in rows.values() for _, value in kind])
    kinds = np.array([name for name, kind in rows.items() for _ in kind])
    mean, sd = np.zeros(len(_UNKNOWNS)), np.array([_ROW_SD[kind] for kind in kinds])
    for _ in range(20):
        error = target - matrix @ mean
        for kind in set(kinds):
            mine = kinds == kind
            if mine.sum() >= 10:
                sd[mine] = max(1.4826 * np.median(np.abs(error[mine])), 0.05 * _ROW_SD[kind])
        weight = (1 + (error / sd) ** 2) ** -0.5 / sd**2
        covariance = np.linalg.inv(matrix.T @ (matrix * weight[:, None]) + prior)
        mean = covariance @ (matrix.T @ (weight * target))
    return mean, covariance


def _pair_noise(values: Array) -> Array:
    """Differences of neighbouring frames, scaled to the spread of one frame."""
    return np.diff(values, axis=0) / np.sqrt(2)


def _spread(values: Array) -> float:
    return float(1.4826 * np.median(np.abs(values)))
