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
"""A mixed depth is at most this far from the pixel's own; any camera's filter knows and drops what is farther."""
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
        pixels = [part.pixels(camera, placed, self._phase[rows, time, part.number]) for part in parts]
        directions = [camera.rays(pixel) for pixel in pixels]
        depths, geoms = self._scene.rays(rows, origin, np.concatenate(directions, axis=1))
        found, end = [], 0
        for part, pixel, direction in zip(parts, pixels, directions):
            mine = slice(end, end := end + part.rays)
            kept, mixed, offset = self._draw_errors(part, rows, time)
            index, have = _selected(part.owns[geoms[:, mine]] & kept, part.points)
            depth = np.take_along_axis(depths[:, mine], index, axis=1)
            mixed = np.take_along_axis(mixed, index, axis=1)
            flying = np.flatnonzero(mixed.any(1))
            if flying.size:
                chosen = np.take_along_axis(pixel[flying], index[flying, :, None], axis=1)
                depth[flying] += self._mixed_in(rows[flying], chosen, depth[flying], mixed[flying])
            chosen = np.take_along_axis(direction, index[..., None], axis=1)
            found.append((origin + (depth + offset)[..., None] * chosen, have > 0))
        return found

    def _draw_errors(
        self, part: _Part, rows: np.ndarray, time: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which pixels (k, rays) have a depth, what share (k, rays) of it is another's, the pixel's on the right or,
        where negative, on the left, and what is added to the depths of those that become points (k, points)."""
        kept, mixed = np.ones((len(rows), part.rays), bool), np.zeros((len(rows), part.rays))
        offset = np.zeros((len(rows), part.points))
        for row in np.flatnonzero(self._errors[rows].any(1)):
            noise, drift, dropout, flying = self._errors[rows[row]]
            draw = _moment(int(self._seeds[rows[row]]), int(time[row]), part.number)
            lost, flies, share = draw.random((3, part.rays))
            kept[row] = lost >= dropout
            mixed[row] = np.where(flies < flying, 2 * share - 1, 0.0)
            offset[row] = drift * draw.standard_normal() + noise * draw.standard_normal(part.points)
        return kept, mixed, offset

    def _mixed_in(self, rows: np.ndarray, pixels: np.ndarray, depth: np.ndarray, share: np.ndarray) -> np.ndarray:
        """(k, p) what is added to depths (k, p) where those of the pixels beside `pixels` (k, p, 2) have a share.

        A sensor averages over what a pixel sees, to both sides: pixels at an edge fly, and a slanted surface stays
        where it is. Where nothing is beside, nothing is mixed in.
        """
        beside, (width, _) = pixels.copy(), self._camera.resolution_px
        beside[..., 0] = np.clip(beside[..., 0] + np.sign(share), 0.5, width - 0.5)
        there, _ = self._scene.rays(rows, np.array(self._camera.position_m), self._camera.rays(beside))
        return np.abs(share) * np.where(there > 0, np.clip(there - depth, -FLYING_M, FLYING_M), 0.0)


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
