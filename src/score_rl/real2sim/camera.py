"""Error of the object's pose estimate, from what the demonstrations do with the object.

The estimate is observed = Rz(psi) true + b. Three kinds of evidence, each one row of a linear problem:

- rest: an untouched object lies on the table, so that its observed height is b_z + table height + its own half
  height. Only the sum of b_z and the table's height shows; their priors share it out.
- grasp: an object held between opposed fingers is centred between them along the pinch axis n, wherever the hand
  was aimed: n . (observed - midpoint of the fingertips) = n . b + psi n . (z x p) + g, with one constant g of the
  hand. Different hand orientations tell b from g. Across the axis the object lies wherever the hand was aimed,
  which says nothing: the aim followed the very estimate that is in question.
- carry: in the palm's frame, where a held object sits firmly, its observed place moves for the camera's errors alone,
  as the hand turns (b) and travels (psi): R' (observed - palm) = c + R' b + psi R' (z x p), of which the last frames
  minus the first know no c. What sags in the fingers as they turn looks like b_z, which these rows leave alone.

Only frames count in which the object sits in the palm as it does in most of its episode, by its orientation there and
by its place: an object that has turned or slid in the hand is another grasp.

Palm and fingertips are forward kinematics of the joints corrected by their estimated offsets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from score_rl.data.dataset import OBSERVATION, Dataset
from score_rl.real2sim.surface import Array
from score_rl.sim.parameters import Parameter
from score_rl.sim.robot import Robot
from score_rl.sim.sensors import Kinematics

OBJECT_POSE = OBSERVATION + "object_pose"
PINCH_CENTRE_SD_M = 0.002
"""How far a pinched object's centre may be from the middle of the fingertip frames along the pinch axis."""
_SAG_SD_M = 0.02
"""How far an object may sink in the fingers when they turn over: nearly anything."""
_UNKNOWNS = ("b_x", "b_y", "b_z", "psi", "table", "g", "sag")
_LIFTED_M = 0.04
"""An object this far above where it lay is held by something."""
_STEADY_RAD, _STEADY_M = 0.15, 0.02
"""An object sits in the palm as usual within this turn, of which jitter makes 0.1, and this distance, of which the
camera's error makes up to twice its size as the hand turns over."""
_UP = np.array([0.0, 0.0, 1.0])
_REST_FRAMES = 5
_MIN_HELD_FRAMES = 6
_ROW_SD = {"rest": 0.002, "grasp": 0.004, "carry": 0.003}
"""Spread (m) of one episode's evidence, before the data are asked; only a starting point."""


Evidence = tuple[Array, Array]
"""One episode's rows of one kind: (k, unknowns) and what they should make (k,)."""


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
) -> CameraFit | None:
    """Estimate the error of the object's pose; None where the dataset has no poses.

    Args:
        dataset: with the feature state.
        robot: for forward kinematics.
        parameters: with the priors of the camera and the table.
        joint_offset: (joints,) true minus measured, rad.
        rest_height_m: height of the object's centre above the table where it lies untouched, nominal size.
        touching_m: fingertips this near to the object's centre, once it is lifted, hold it.
    """
    if OBJECT_POSE not in dataset.columns:
        return None
    rows: dict[str, list[Evidence]] = {"rest": [], "grasp": [], "carry": []}
    position_jitter, rotation_jitter = [], []
    joints = dataset.columns[OBSERVATION + "state"] + joint_offset
    palm, tips = Kinematics(robot, len(joints))(joints)
    for start, end in zip(dataset.starts, dataset.ends):
        pose = dataset.columns[OBJECT_POSE][start:end].astype(np.float64)
        rest = pose[:_REST_FRAMES]
        position_jitter.append(_pair_noise(rest[:, :3]))
        turns = Rotation.from_quat(rest[:, 3:], scalar_first=True)
        rotation_jitter.append((turns[:-1].inv() * turns[1:]).as_rotvec() / np.sqrt(2))
        height = float(np.median(rest[:, 2]))
        rows["rest"].append((_row(b_z=1.0, table=1.0)[None], np.array([height - rest_height_m])))
        held = pose[:, 2] - height > _LIFTED_M
        for kind, evidence in held_evidence(pose[held], palm[start:end][held], tips[start:end][held], touching_m):
            rows[kind].append(evidence)
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


def held_evidence(object_pose: Array, palm: Array, tips: Array, touching_m: float) -> list[tuple[str, Evidence]]:
    """What one episode's frames with the object off the table say, by kind; nothing where it is not held firmly.

    object_pose, palm: (k, 7) observed and by kinematics, wxyz. tips: (k, fingers, 3), the thumb last.
    """
    *fingers, thumb = range(tips.shape[1])
    near = np.linalg.norm(tips - object_pose[:, None, :3], axis=2) < touching_m
    gripped = near[:, thumb] & near[:, fingers].any(1)
    if gripped.sum() < _MIN_HELD_FRAMES:
        return []
    object_pose, palm, tips, near = (values[gripped] for values in (object_pose, palm, tips, near))
    steady = _steady(object_pose, palm)
    holding = near[steady][:, fingers].mean(0) > 0.5
    if steady.sum() < _MIN_HELD_FRAMES or not holding.any():
        return []
    position, palm, tips = object_pose[steady, :3], palm[steady], tips[steady]
    return [("grasp", _grasp(position, tips[:, fingers][:, holding].mean(1), tips[:, thumb])),
            ("carry", _carry(position, palm))]  # fmt: skip


def _steady(object_pose: Array, palm: Array) -> Array:
    """(k,) frames in which the object sits in the palm as it usually does."""
    hand = Rotation.from_quat(palm[:, 3:], scalar_first=True).inv()
    place = hand.apply(object_pose[:, :3] - palm[:, :3])
    turn = hand * Rotation.from_quat(object_pose[:, 3:], scalar_first=True)
    turn = turn.mean().inv() * turn
    turn = Rotation.from_rotvec(np.median(turn.as_rotvec(), axis=0)).inv() * turn
    far = np.linalg.norm(place - np.median(place, axis=0), axis=1)
    return (turn.magnitude() < _STEADY_RAD) & (far < _STEADY_M)


def _grasp(position: Array, opposed: Array, thumb: Array) -> Evidence:
    """One row: along the pinch axis the object (k, 3) is midway between fingers and thumb, (k, 3) both."""
    middle, axis = (opposed + thumb) / 2, opposed - thumb
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    # The axis is nearly level, and its small tilt goes with how deep the object sits in the grip, which moves its
    # centre by more than the camera's height error would: no evidence for b_z.
    rows = [_row(n[0], n[1], 0.0, n @ np.cross(_UP, p), g=1.0) for n, p in zip(axis, position)]
    return np.mean(rows, axis=0)[None], np.array([np.mean(np.sum(axis * (position - middle), axis=1))])


def _carry(position: Array, palm: Array) -> Evidence:
    """Three rows: how the object's place in the palm moves from the first third of the frames to the last."""
    hand = Rotation.from_quat(palm[:, 3:], scalar_first=True).inv()
    third = len(position) // 3
    shift, yaw, place = (
        values[-third:].mean(0) - values[:third].mean(0)
        for values in (hand.as_matrix(), hand.apply(np.cross(_UP, position)), hand.apply(position - palm[:, :3]))
    )
    rows = [_row(x, y, 0.0, turned, sag=down) for (x, y, down), turned in zip(shift, yaw)]
    return np.array(rows), place


def _row(*leading: float, **named: float) -> Array:
    row = np.zeros(len(_UNKNOWNS))
    row[: len(leading)] = leading
    for name, value in named.items():
        row[_UNKNOWNS.index(name)] = value
    return row


def _prior_sd(parameters: Mapping[str, Parameter]) -> Array:
    """(unknowns,) standard deviations of the unknowns before any evidence."""
    priors = [parameters[name].prior for name in ("camera.position_bias_m", "camera.yaw_bias_rad", "table.height_m")]
    camera, yaw, table = (prior.sd for prior in priors if prior is not None)
    return np.array([camera] * 3 + [yaw, table, PINCH_CENTRE_SD_M, _SAG_SD_M])


def _solve(rows: Mapping[str, list[Evidence]], prior_sd: Array) -> tuple[Array, Array]:
    """Robust (soft-L1, iteratively reweighted) maximum a posteriori estimate (u,) and its covariance (u, u).

    Every kind's spread is estimated from its residuals; rest rows share the mean of the objects' sizes, which is
    known to a percent or two, and so on: their systematic part is what the floors of
    priors are for.
    """
    prior = np.diag(prior_sd**-2.0)
    matrix = np.concatenate([row for kind in rows.values() for row, _ in kind])
    target = np.concatenate([value for kind in rows.values() for _, value in kind])
    kinds = np.array([name for name, kind in rows.items() for _, value in kind for _ in value])
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
