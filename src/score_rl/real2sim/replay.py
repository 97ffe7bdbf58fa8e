"""Contact-free replay: what would the twin's joints have done under the commands that the robot was sent?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from score_rl.contracts import COMMAND
from score_rl.core.clouds import shares
from score_rl.core.errors import ScoreError
from score_rl.core.parallel import usable_cores
from score_rl.data.dataset import OBSERVATION, Dataset
from score_rl.real2sim.camera import OBJECT_POSE
from score_rl.real2sim.clouds import CLOUD, CLOUD_SEEN, check_clouds
from score_rl.sim.actuation import Actuation
from score_rl.sim.domain import Domain
from score_rl.sim.engines.engine import open_engine
from score_rl.sim.plant import PlantBuilder
from score_rl.sim.robot import CONTROL_RATE_HZ, Robot, robot_interface
from score_rl.sim.scene import joint_addresses
from score_rl.sim.task import Task

Array = NDArray[np.float64]
Values = Mapping[str, Array]
"""Domain parameters {name: (size,)}."""

KEYS = ("state", COMMAND, "palm_pose", "fingertip_pos")
"""Observed keys that calibration reads, beside poses or clouds of objects."""


@dataclass(frozen=True)
class Segments:
    """The beginnings of e episodes, from the held start posture until the hand comes near anything.

    Padded to t + 1 frames; joint positions in rad.
    """

    measured: Array
    """(e, t + 1, joints) measured positions."""
    start: Array
    """(e, joints) command that the robot holds at the first frame."""
    sent: Array
    """(e, t, joints) command sent at frame k; its effect is seen from frame k + 1 on."""
    valid: NDArray[np.bool_]
    """(e, t + 1) frames that exist and are free of contact."""

    def subset(self, episodes: NDArray[np.int64]) -> Segments:
        """Some of the episodes, cut to the longest of them."""
        frames = int(self.valid[episodes].sum(1).max())
        return Segments(
            self.measured[episodes, :frames],
            self.start[episodes],
            self.sent[episodes, : frames - 1],
            self.valid[episodes, :frames],
        )


def require_features(dataset: Dataset, robot: Robot) -> None:
    """Raise ScoreError unless the dataset is a recording of this robot at the worlds' control rate, which shows where
    objects are by pose or by cloud, with clouds, if any, of its hand."""
    shown = robot_interface(robot).observation
    shapes = {OBSERVATION + key: shown[key].shape for key in KEYS}
    if OBJECT_POSE in dataset.columns:
        shapes[OBJECT_POSE] = shown["object_pose"].shape
    dataset.require(shapes, fps=CONTROL_RATE_HZ)
    if OBJECT_POSE not in dataset.columns and CLOUD not in dataset.columns:
        raise ScoreError(
            f"{dataset.root} has neither '{OBJECT_POSE}' nor '{CLOUD}', and calibration must know where the object "
            f"lies, to tell free motion from contact; it has {', '.join(sorted(dataset.columns))}"
        )
    if OBSERVATION + COMMAND in dataset.derived:
        raise ScoreError(
            f"{dataset.root}: calibration needs the commands that were really sent; record observation.command"
        )
    for name in shapes:
        if not np.isfinite(dataset.columns[name]).all():
            raise ScoreError(f"{dataset.root}: NaN or infinity in '{name}'")
    check_clouds(dataset)


def contact_free(
    dataset: Dataset,
    object_distance_m: float,
    table_clearance_m: float,
    min_frames: int,
    max_frames: int,
    objects: int = 1,
) -> Segments:
    """Cut every episode where the hand comes near the object or the table; short pieces are left out.

    Near: a fingertip within `object_distance_m` of the object's centre or `table_clearance_m` above the base
    plane, or the palm within twice the distance of the object. Without poses, the distance is to the nearest of the
    points of the first `objects` segments that an episode's first frame shows: nothing moves before it is touched. An
    episode that shows none is left out.
    Raises ScoreError where nothing is left.
    """
    pieces = []
    for index in range(dataset.num_episodes):
        columns = dataset.episode(index)
        frames = {key: columns[OBSERVATION + key].astype(np.float64) for key in KEYS}
        tips = frames["fingertip_pos"].reshape(-1, 4, 3)
        there = _objects(columns, objects)
        if not there.size:
            continue
        near = (_distance(tips, there) < object_distance_m).any(1)
        near |= (tips[..., 2] < table_clearance_m).any(1)
        near |= _distance(frames["palm_pose"][:, None, :3], there)[:, 0] < 2 * object_distance_m
        free = int(np.argmax(near)) if near.any() else len(near)
        if free >= min_frames:
            pieces.append((frames["state"], frames["command"], min(free, max_frames)))
    if not pieces:
        raise ScoreError(
            f"{dataset.root}: none of {dataset.num_episodes} episodes begins with {min_frames} frames in which the "
            f"hand is free (fingertips {object_distance_m} m from the object, {table_clearance_m} m above the table)"
        )
    joints, longest = pieces[0][0].shape[1], max(free for *_, free in pieces)
    measured = np.zeros((len(pieces), longest, joints))
    sent = np.zeros((len(pieces), longest - 1, joints))
    valid = np.zeros((len(pieces), longest), bool)
    for row, (state, command, free) in enumerate(pieces):
        measured[row, :free], sent[row, : free - 1] = state[:free], command[1:free]
        measured[row, free:], sent[row, free - 1 :] = state[free - 1], command[free - 1]
        valid[row, :free] = True
    return Segments(measured, np.stack([command[0] for _, command, _ in pieces]), sent, valid)


def _objects(columns: Mapping[str, NDArray[np.generic]], objects: int) -> Array:
    """Where an episode shows the object, (t, 1, 3) by its poses, or (1, p, 3) by what its first cloud shows of the
    first segments."""
    if OBJECT_POSE in columns:
        return columns[OBJECT_POSE][:, None, :3].astype(np.float64)
    points, seen = columns[CLOUD][0], columns[CLOUD_SEEN][0].reshape(-1) if CLOUD_SEEN in columns else np.ones(1)
    owner = np.repeat(np.arange(len(seen)), shares(len(points), len(seen)))
    return points[(owner < objects) & (seen[owner] > 0)][None].astype(np.float64)


def _distance(points: Array, there: Array) -> Array:
    """(t, k) from points (t, k, 3) to the nearest of (t or 1, p, 3)."""
    return np.linalg.norm(points[:, :, None] - there[:, None], axis=3).min(2)


class Replay:
    """The twin without contacts, for given numbers of candidates and segments: all run side by side."""

    def __init__(self, task: Task, domain: Domain, segments: Segments, candidates: int, threads: int = 0):
        physics = task.physics(domain.physics)
        self._segments, self._candidates = segments, candidates
        self._rows = candidates * len(segments.start)
        self._engine = open_engine(task, physics, self._rows, threads or usable_cores(), free_space=True)
        self._plant = PlantBuilder(self._engine.model, task, physics)
        self._robot = task.robot
        self._joints = joint_addresses(self._engine.model, task.robot)[0]
        self._substeps, self._timestep_s = physics.substeps(CONTROL_RATE_HZ), physics.timestep_s

    def run(self, candidates: Sequence[Values]) -> Array:
        """True joint positions (candidates, e, t + 1, joints) at the frames of the segments, rad."""
        if len(candidates) != self._candidates:
            raise ValueError(f"got {len(candidates)} candidates, made for {self._candidates}")
        episodes, frames, joints = self._segments.sent.shape
        values = {name: np.repeat([c[name] for c in candidates], episodes, axis=0) for name in candidates[0]}
        start, rows = np.tile(self._segments.start, (self._candidates, 1)), np.arange(self._rows)
        actuation = Actuation(self._rows, joints, self._substeps, self._timestep_s)
        actuation.begin(rows, self._robot, values, start)
        qpos = np.tile(self._engine.model.qpos0, (self._rows, 1))
        qpos[:, self._joints] = start
        self._engine.begin(rows, self._plant(values), qpos)
        path = np.empty((self._rows, frames + 1, joints))
        path[:, 0] = start
        for k, sent in enumerate(self._segments.sent.swapaxes(0, 1)):
            self._engine.advance(actuation.targets(np.tile(sent, (self._candidates, 1))))
            path[:, k + 1] = self._engine.qpos[:, self._joints]
        return path.reshape(self._candidates, episodes, frames + 1, joints)
