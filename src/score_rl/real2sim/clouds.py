"""Where the depth camera stands and how high the table is, from the point clouds in the demonstrations.

The hand's surface is known from its model, and where it is from the calibrated joints: what the camera shows of it
tells all six numbers of the camera's error of place (`extrinsics.py`). With the camera known, objects that lie
untouched tell the table's height, which poses cannot tell from the camera's: each is laid against its own model at
nominal size, at the height and the turn about the vertical that fit best.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from score_rl.core.errors import ScoreError
from score_rl.data.dataset import OBSERVATION, Dataset
from score_rl.real2sim.extrinsics import Extrinsics, fit_extrinsics
from score_rl.real2sim.surface import Array, Nearest, Surface
from score_rl.sim.domain import Physics
from score_rl.sim.parameters import Parameters
from score_rl.sim.plant import ObjectParts
from score_rl.sim.robot import Robot
from score_rl.sim.scene import joint_addresses, kinematic_model, scene_spec
from score_rl.sim.task import Task

CLOUD, CLOUD_SEEN, HAND_CLOUD = (OBSERVATION + key for key in ("cloud", "cloud_seen", "hand_cloud"))
HAND_FRAMES = 200
"""Frames of the hand that are used, spread evenly."""
REST_EPISODES, REST_FRAMES = 60, 3
"""Episodes whose first frames show where the object lies."""
HAND_REACH_M = 0.5
"""Nothing of a hand is farther from its palm, whatever a camera's error of place."""
FEWEST_FRAMES = 10
"""With fewer frames of the hand nothing is estimated."""
_YAWS, _ITERATIONS = 6, 15
_START_SD = np.array([0.05, 0.05, 0.02, 1.0])
"""How far the object may be from where its points are (m), from the nominal height (m), and turned (rad)."""
_REST_SPREAD_M = 0.002
"""Points farther than this from the object's surface hardly count."""


@dataclass(frozen=True)
class CloudFit:
    """What clouds tell of camera and table."""

    camera: Extrinsics
    table_height_m: float
    table_sd_m: float
    """Of the prior, where no object was seen at rest."""
    hand_frames: int
    rest_episodes: int

    def estimates(self, aimed_m: Array) -> dict[str, tuple[Array, Array]]:
        """{domain parameter: (value, standard deviation)}, which together report every point as this camera does.

        The turn is split into the one about the base's z, which poses share, and the tilt that is left, about the
        point `aimed_m` (3,) that the camera is aimed at.
        """
        camera, aimed_m = self.camera, np.asarray(aimed_m)
        x, y, z, w = Rotation.from_rotvec(camera.turn_rad).as_quat()
        yaw = 2 * np.arctan2(z, w)
        about_z = Rotation.from_euler("z", yaw)
        tilt = (about_z.inv() * Rotation.from_quat([x, y, z, w])).as_rotvec()
        shift = camera.reported(aimed_m) - about_z.apply(aimed_m)
        # To first order: how the shift goes with the camera's own six numbers.
        arm, swept = aimed_m - camera.about_m, np.cross([0.0, 0.0, 1.0], aimed_m)
        by_turn = np.cross(np.eye(3), arm).T - np.outer(swept, [0.0, 0.0, 1.0])
        jacobian = np.concatenate([np.eye(3), by_turn], axis=1)
        shift_sd = np.sqrt(np.einsum("ij,jk,ik->i", jacobian, camera.covariance, jacobian))
        turn_sd = np.sqrt(np.diag(camera.covariance))[3:]
        return {
            "camera.position_bias_m": (shift, shift_sd),
            "camera.yaw_bias_rad": (np.array([yaw]), turn_sd[2:]),
            "camera.cloud_turn_rad": (tilt, turn_sd * [1.0, 1.0, 0.0]),
            "table.height_m": (np.array([self.table_height_m]), np.array([self.table_sd_m])),
        }


def check_clouds(dataset: Dataset) -> None:
    """Raise ScoreError for clouds of other shapes than (points, 3), or that lie where nothing of the robot's can be:
    recorded in millimetres, or in the camera's own frame."""
    columns = dataset.columns
    for key in (CLOUD, HAND_CLOUD):
        if key in columns and (columns[key].ndim != 3 or columns[key].shape[2] != 3):
            raise ScoreError(f"{dataset.root}: '{key}' has shape {columns[key].shape[1:]}, expected (points, 3)")
    if CLOUD in columns and CLOUD_SEEN in columns:
        segments, points = columns[CLOUD_SEEN].reshape(dataset.num_frames, -1).shape[1], columns[CLOUD].shape[1]
        if segments > points:
            raise ScoreError(f"{dataset.root}: '{CLOUD}' has {points} points for {segments} segments")
    if HAND_CLOUD not in columns:
        return
    frames, points = _seen_frames(dataset)
    palm = columns[OBSERVATION + "palm_pose"][frames, :3]
    away = np.linalg.norm(np.median(points, axis=1) - palm, axis=1)
    if len(frames) and (distance := float(np.median(away))) > HAND_REACH_M:
        raise ScoreError(
            f"{dataset.root}: the points of '{HAND_CLOUD}' are {distance:.3g} m from the palm; they must be metres "
            "in the robot's base frame"
        )


def fit_clouds(dataset: Dataset, task: Task, parameters: Parameters, joint_offset: Array) -> CloudFit | None:
    """Estimate the depth camera's error of place, and the table's height.

    joint_offset: (joints,) true minus measured, rad. None where the dataset shows the hand in too few frames.
    """
    if HAND_CLOUD not in dataset.columns:
        return None
    frames, points = _seen_frames(dataset)
    if len(frames) < FEWEST_FRAMES:
        return None
    joints = dataset.columns[OBSERVATION + "state"][frames] + joint_offset
    episodes = np.searchsorted(dataset.starts, frames, side="right")
    middle = np.median(points, axis=(0, 1))
    camera = fit_extrinsics(points, hand_surface(task.robot, joints), episodes, _prior_sd(parameters, middle), middle)
    prior = parameters["table.height_m"].prior
    assert prior is not None
    mean, information, rest = 0.0, prior.sd**-2.0, np.zeros(0)
    if CLOUD in dataset.columns and (resting := RestingObject.of(task)) is not None:
        seen = _rest_clouds(dataset)
        rest = resting.heights_m(camera.true(seen)) if len(seen) else rest
    if len(rest):
        spread = max(1.4826 * float(np.median(np.abs(rest - np.median(rest)))), 1e-4)
        # Of a median, and of the camera's height where the objects are.
        sd = np.hypot(1.2533 * spread / np.sqrt(len(rest)), camera.sd_m(np.median(seen, axis=(0, 1)))[2])
        information += sd**-2.0
        mean = float(np.median(rest)) * sd**-2.0 / information
    return CloudFit(camera, mean, information**-0.5, len(frames), len(rest))


def hand_surface(robot: Robot, joints: Array) -> Callable[[Array], Nearest]:
    """The surface of everything that hangs on the palm, in f postures (f, joints); of points (f, p, 3)."""
    model = kinematic_model(robot)
    palm = model.body(model.site(robot.palm).bodyid[0]).name
    geoms = ObjectParts(model, palm).geoms
    data, address = mujoco.MjData(model), joint_addresses(model, robot)[0]
    position, matrix = np.empty((len(joints), len(geoms), 3)), np.empty((len(joints), len(geoms), 9))
    for row, posture in enumerate(joints):
        data.qpos[address] = posture
        mujoco.mj_kinematics(model, data)
        position[row], matrix[row] = data.geom_xpos[geoms], data.geom_xmat[geoms]
    surface, turned = Surface(model, geoms), matrix.reshape(*position.shape, 3)
    return lambda points: surface.nearest(points, position, turned)


class RestingObject:
    """The handled object as it lies on a table, at nominal size."""

    def __init__(self, surface: Surface, position: Array, matrix: Array, height_m: float) -> None:
        """position, matrix: (g, 3), (g, 3, 3) of its geoms about its origin; height_m: of the origin."""
        self._surface, self._position, self._matrix, self._height_m = surface, position, matrix, height_m

    @classmethod
    def of(cls, task: Task) -> RestingObject | None:
        """Of a task's first object that is seen; None where it is no free body, so that it need not lie anywhere."""
        model = scene_spec(task, Physics()).compile()
        name = next(iter(task.observed.values())).name
        parts = ObjectParts(model, name)
        if not parts.free:
            return None
        data, place = mujoco.MjData(model), task.spawn(np.random.default_rng(0), task.parameters.nominal())[name]
        pose, first = np.asarray(place), model.jnt_qposadr[model.body_jntadr[parts.root]]
        data.qpos[first : first + 7] = pose
        mujoco.mj_kinematics(model, data)
        position, matrix = data.geom_xpos[parts.geoms] - pose[:3], data.geom_xmat[parts.geoms]
        return cls(Surface(model, parts.geoms), position, matrix.reshape(-1, 3, 3), float(pose[2]))

    def heights_m(self, points: Array) -> Array:
        """(e,) of the tables under e objects, each seen as true points (e, p, 3)."""
        best, height = np.full(len(points), np.inf), np.zeros(len(points))
        for yaw in 2 * np.pi * np.arange(_YAWS) / _YAWS:
            cost, pose = self._laid(points, yaw)
            better = cost < best
            best[better], height[better] = cost[better], pose[better, 2]
        return height - self._height_m

    def _laid(self, points: Array, yaw: float) -> tuple[Array, Array]:
        """(e,) costs and (e, 4) places (x, y, z, yaw) of the objects, by reweighted Gauss-Newton from a turn."""
        start = np.full((len(points), 4), [0.0, 0.0, self._height_m, yaw])
        start[:, :2] = np.median(points[..., :2], axis=1)
        place, prior = start.copy(), np.diag(_START_SD**-2.0)
        for _ in range(_ITERATIONS):
            residual, jacobian = self._linearise(points, place)
            away = (residual / _REST_SPREAD_M) ** 2
            rows = jacobian / ((1 + away) * _REST_SPREAD_M**2)[..., None]
            information = np.einsum("epi,epj->eij", rows, jacobian) + prior
            gradient = np.einsum("epi,ep->ei", rows, residual) + (place - start) @ prior
            place = place - np.linalg.solve(information, gradient[..., None])[..., 0]
        residual, _ = self._linearise(points, place)
        return np.log1p((residual / _REST_SPREAD_M) ** 2).sum(1), place

    def _linearise(self, points: Array, place: Array) -> tuple[Array, Array]:
        """(e, p) distances from the objects at (e, 4) and their derivatives (e, p, 4)."""
        cos, sin, zero, one = (f(place[:, 3]) for f in (np.cos, np.sin, np.zeros_like, np.ones_like))
        turn = np.array([[cos, -sin, zero], [sin, cos, zero], [zero, zero, one]]).transpose(2, 0, 1)
        arm = points - place[:, None, :3]
        each = (len(points), *self._position.shape)
        residual, normal = self._surface.nearest(
            arm @ turn,
            np.broadcast_to(self._position, each),
            np.broadcast_to(self._matrix, (*each, 3)),
        )
        pull = normal @ turn.swapaxes(1, 2)
        about = arm[..., 0] * pull[..., 1] - arm[..., 1] * pull[..., 0]
        return residual, -np.concatenate([pull, about[..., None]], axis=-1)


def _seen_frames(dataset: Dataset) -> tuple[NDArray[np.int64], Array]:
    """Frames (f,) in which the hand is seen, spread evenly, and its points (f, p, 3)."""
    column = dataset.columns[HAND_CLOUD]
    # Out of sight, all points are the same place.
    seen = np.flatnonzero((column != column[:, :1]).any(axis=(1, 2)))
    frames = seen[np.linspace(0, len(seen) - 1, min(HAND_FRAMES, len(seen))).astype(int)] if len(seen) else seen
    return frames, column[frames].astype(np.float64)


def _rest_clouds(dataset: Dataset) -> Array:
    """(e, p, 3) points of the first object at the beginnings of episodes, where it is seen in all of their frames."""
    seen = dataset.columns[CLOUD_SEEN] if CLOUD_SEEN in dataset.columns else np.ones((dataset.num_frames, 1))
    share = -(-dataset.columns[CLOUD].shape[1] // seen.shape[1])  # rounded up, as the first object's is
    starts = dataset.starts[dataset.lengths >= REST_FRAMES]
    frames = starts[:, None] + np.arange(REST_FRAMES)
    frames = frames[(seen[frames, 0] > 0).all(axis=1)]
    chosen = frames[np.linspace(0, len(frames) - 1, min(REST_EPISODES, len(frames))).astype(int)]
    points = dataset.columns[CLOUD][chosen][:, :, :share].astype(np.float64)
    return points.reshape(len(chosen), REST_FRAMES * share, 3)


def _prior_sd(parameters: Parameters, middle: Array) -> Array:
    """(6,) of shift and turn about `middle`, from what is believed of a camera's shift, yaw and tilt."""
    names = ("position_bias_m", "yaw_bias_rad", "cloud_turn_rad")
    shift, yaw, tilt = (parameters[f"camera.{name}"].prior for name in names)
    assert shift is not None and yaw is not None and tilt is not None
    sd_m = np.hypot(shift.sd, yaw.sd * np.linalg.norm(middle))
    return np.array([sd_m, sd_m, sd_m, tilt.sd, tilt.sd, yaw.sd])
