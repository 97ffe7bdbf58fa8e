"""Point clouds of simulated scenes, as a depth camera with errors sees them; see `core.clouds` for their layout.

A segment is looked for in the box of the image around it: a fixed number of rays, evenly over that box, through
whole pixels. Rays that hit the segment first are its points; where there are more than its share, an even selection
of them, where there are fewer, some twice. Nothing of that depends on what else is looked at, or on how often.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from score_rl.core.clouds import CLOUD, CLOUD_SEEN, HAND_CLOUD, CloudConfig, shares
from score_rl.core.seeding import rng
from score_rl.sim.camera import Camera, reported
from score_rl.sim.cloud_scene import CloudScene, Placed, Segment
from score_rl.sim.plant import Plant
from score_rl.sim.task import Task

RAYS_PER_POINT = 2.0
"""Rays for every point: a third and more of a box misses what is in it, and more where a hand is before it."""
FLYING_M = 0.04
"""Pixels whose depth is mixed with another's by more than this are recognised and dropped by any camera's filter."""
_ERRORS = ("camera.depth_noise_m", "camera.depth_drift_m", "camera.dropout_share", "camera.flying_share")


class Clouds:
    """What is seen of n environments."""

    def __init__(self, task: Task, camera: Camera, config: CloudConfig, num_envs: int, threads: int) -> None:
        """Raises ScoreError for points that cannot be shared out, and geoms of other shapes than are known."""
        self._camera, self._scene = camera, CloudScene(task, num_envs, threads)
        shown = [*self._scene.objects, *([self._scene.hand] if config.hand else [])]
        points, geoms = shares(config.points, len(shown)), self._scene.model.ngeom
        self._parts = [_Part(shown[k], points[k], k, geoms) for k in range(len(shown))]
        self._hand = _Part(self._scene.hand, config.hand_points, len(shown), geoms)
        self._seeds = np.zeros(num_envs, np.int64)
        self._phase = np.zeros((num_envs, task.horizon + 1, len(shown) + 1, 2))
        self._matrix, self._offset = np.zeros((num_envs, 3, 3)), np.zeros((num_envs, 3))
        self._errors = np.zeros((num_envs, len(_ERRORS)))

    def begin(self, rows: np.ndarray, seeds: Sequence[int], plant: Plant, values: Mapping[str, np.ndarray]) -> None:
        """Episodes of these seeds and parameters {name: (k, size)} start in environments `rows` (k,)."""
        self._scene.begin(rows, plant)
        self._seeds[rows] = seeds
        for row, seed in zip(rows, seeds):
            rng("cloud", seed).random(out=self._phase[row])
        self._matrix[rows], self._offset[rows] = reported(self._camera, values)
        self._errors[rows] = np.concatenate([values[name] for name in _ERRORS], axis=1)

    def look(
        self,
        keys: Sequence[str],
        rows: np.ndarray,
        time: np.ndarray,
        qpos: np.ndarray,
        palm: Callable[[], np.ndarray],
    ) -> dict[str, np.ndarray]:
        """{key: (k, *shape)} of k different environments `rows` at frames `time` (k,), in configurations (k, nq).

        palm: (k, 3) where the robot takes its palm to be, which stands for what is out of sight; asked if need be.
        """
        cloud = CLOUD in keys or CLOUD_SEEN in keys
        parts = [*(self._parts if cloud else ()), *([self._hand] if HAND_CLOUD in keys else ())]
        placed = self._scene.place(rows, qpos)
        see = self._seen_by_camera if self._camera.kind == "depth" else self._samples
        found = [(self._reported(rows, points), seen) for points, seen in see(parts, rows, time, placed)]
        if not all(seen.all() for _, seen in found):
            there = palm()[:, None]
            found = [(np.where(seen[:, None, None], points, there), seen) for points, seen in found]
        result: dict[str, np.ndarray] = {}
        if cloud:
            objects = found[: len(self._parts)]
            result[CLOUD] = np.concatenate([points for points, _ in objects], axis=1)
            result[CLOUD_SEEN] = np.stack([seen for _, seen in objects], axis=1)
        if HAND_CLOUD in keys:
            result[HAND_CLOUD] = found[-1][0]
        return {key: result[key] for key in keys}

    def _reported(self, rows: np.ndarray, points: np.ndarray) -> np.ndarray:
        return np.einsum("kij,kpj->kpi", self._matrix[rows], points) + self._offset[rows, None]

    def _samples(
        self, parts: Sequence[_Part], rows: np.ndarray, time: np.ndarray, placed: Placed
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of every part points (k, points, 3) of its whole surface, and that it is seen (k,)."""
        start = self._phase[rows, time, :, 0]
        seen = np.ones(len(rows), bool)
        return [(placed.surface(part.segment, start[:, part.number], part.points), seen) for part in parts]

    def _seen_by_camera(
        self, parts: Sequence[_Part], rows: np.ndarray, time: np.ndarray, placed: Placed
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of every part true points (k, points, 3), up to errors of depth, and whether there is any (k,)."""
        camera, origin = self._camera, np.array(self._camera.position_m)
        directions = [
            camera.rays(part.pixels(camera, placed, self._phase[rows, time, part.number])) for part in parts
        ]
        depth, geoms = self._scene.rays(rows, origin, np.concatenate(directions, axis=1))
        found, end = [], 0
        for part, direction in zip(parts, directions):
            mine = slice(end, end := end + part.rays)
            ok = part.owns[geoms[:, mine]]
            measured, offset = self._with_errors(part, rows, time, depth[:, mine], ok)
            index, have = _selected(ok, part.points)
            length = np.take_along_axis(measured, index, axis=1) + offset
            chosen = np.take_along_axis(direction, index[..., None], axis=1)
            found.append((origin + length[..., None] * chosen, have > 0))
        return found

    def _with_errors(
        self, part: _Part, rows: np.ndarray, time: np.ndarray, depth: np.ndarray, ok: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Depths (k, rays) as measured, and what is added to those that become points (k, points).

        `ok` (k, rays) loses the pixels without depth.
        """
        offset, mixed = np.zeros((len(rows), part.points)), np.zeros(depth.shape)
        noisy = np.flatnonzero(self._errors[rows].any(1))
        for row in noisy:
            noise, drift, dropout, flying = self._errors[rows[row]]
            draw = _moment(int(self._seeds[rows[row]]), int(time[row]), part.number)
            lost, flies, share_of_next = draw.random((3, part.rays))
            ok[row] &= lost >= dropout
            mixed[row] = np.where(flies < flying, share_of_next, 0.0)
            offset[row] = drift * draw.standard_normal() + noise * draw.standard_normal(part.points)
        if not noisy.size:
            return depth, offset
        beside = depth[:, part.next]
        return depth + mixed * np.where(beside > 0, np.clip(beside - depth, -FLYING_M, FLYING_M), 0.0), offset


class _Part:
    """How one segment is looked for."""

    def __init__(self, segment: Segment, points: int, number: int, geoms: int) -> None:
        self.segment, self.points, self.number = segment, points, number
        self.owns = np.zeros(geoms + 1, bool)
        """(geoms + 1,) whether a geom is the segment's; the last stands for a miss, which is geom -1."""
        self.owns[segment.geoms] = True
        side = math.ceil(math.sqrt(RAYS_PER_POINT * points))
        row, column = np.divmod(np.arange(side * side), max(side, 1))
        self._side, self._cells = side, np.stack([column, row], axis=1)
        self.next = np.where(column + 1 < side, np.arange(side * side) + 1, np.arange(side * side) - 1)
        """(rays,) the ray beside every ray."""
        self.rays = side * side

    def pixels(self, camera: Camera, placed: Placed, phase: np.ndarray) -> np.ndarray:
        """(k, rays, 2) middles of the pixels that rays go through; phase: (k, 2) in [0, 1), where a cell is tried."""
        seen, image = camera.pixels(placed.corners(self.segment)), np.array(camera.resolution_px)
        low, high = np.clip(seen.min(1), 0, image), np.clip(seen.max(1), 0, image)
        cells = (self._cells + phase[:, None]) / self._side
        pixel = np.floor(low[:, None] + cells * (high - low)[:, None])
        return np.minimum(pixel, image - 1) + 0.5


def _selected(ok: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(k, count) places in rows of `ok` (k, rays) that are true, evenly over them, and (k,) how many there are.

    Where there are too few they repeat; where there are none the places mean nothing.
    """
    have = ok.sum(1)
    order = np.argsort(~ok, axis=1, kind="stable")
    slot, many = np.arange(count), have[:, None]
    index = np.where(many >= count, slot * many // max(count, 1), slot % np.maximum(many, 1))
    return np.take_along_axis(order, index, axis=1), have


def _moment(seed: int, time: int, number: int) -> np.random.Generator:
    """Generator of one part's image at one frame of an episode; ten times as fast to make as `rng`."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, number, time]))
