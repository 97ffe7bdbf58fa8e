"""Signed distance from points to bodies that are made of boxes, spheres, capsules and cylinders."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray

from score_rl.core.errors import ScoreError, unknown_choice

Array = NDArray[np.float64]
Nearest = tuple[Array, Array]
"""(...) signed distances from a surface [m], negative inside, and (..., 3) its unit normals where they were taken."""

_TINY = 1e-12


class Surface:
    """The surface of some geoms of a compiled model together."""

    def __init__(self, model: mujoco.MjModel, geoms: Sequence[int]) -> None:
        """Raises ScoreError for a geom of another shape, by its name."""
        self._shapes = [(_shape(model, geom), model.geom_size[geom].copy()) for geom in geoms]

    def nearest(self, points: Array, position: Array, matrix: Array) -> Nearest:
        """Of points (f, p, 3) in f configurations; position, matrix: (f, g, 3) and (f, g, 3, 3) of the geoms, all in
        the same frame as the points. Where bodies overlap, distances inside them are those to the nearest geom."""
        distance = np.full(points.shape[:2], np.inf)
        normal = np.zeros(points.shape)
        for index, (shape, size) in enumerate(self._shapes):
            turn = matrix[:, index]
            away, direction = shape((points - position[:, None, index]) @ turn, size)
            closer = away < distance
            distance[closer] = away[closer]
            normal[closer] = (direction @ turn.swapaxes(1, 2))[closer]
        return distance, normal


def sphere(points: Array, size: Array) -> Nearest:
    """Of points (..., 3) around a sphere of radius size[0] at the origin."""
    length = np.linalg.norm(points, axis=-1)
    return length - size[0], points / np.maximum(length, _TINY)[..., None]


def capsule(points: Array, size: Array) -> Nearest:
    """Along z: radius size[0], half length of the straight part size[1]."""
    moved = points.copy()
    moved[..., 2] -= np.clip(points[..., 2], -size[1], size[1])
    return sphere(moved, size)


def box(points: Array, size: Array) -> Nearest:
    """Half sizes `size` (k,) along k axes, of points (..., k)."""
    beyond = np.abs(points) - size
    outside = np.maximum(beyond, 0)
    length, depth = np.linalg.norm(outside, axis=-1), beyond.max(axis=-1)
    # Inside, the nearest face counts.
    face = np.eye(points.shape[-1])[beyond.argmax(axis=-1)]
    direction = np.where((depth > 0)[..., None], outside / np.maximum(length, _TINY)[..., None], face)
    return np.where(depth > 0, length, depth), direction * np.where(points < 0, -1.0, 1.0)


def cylinder(points: Array, size: Array) -> Nearest:
    """Along z: radius size[0], half length size[1]."""
    radius = np.linalg.norm(points[..., :2], axis=-1)
    distance, profile = box(np.stack([radius, points[..., 2]], axis=-1), size[:2])
    outward = points[..., :2] / np.maximum(radius, _TINY)[..., None]
    return distance, np.concatenate([profile[..., :1] * outward, profile[..., 1:]], axis=-1)


_SHAPES: dict[str, Callable[[Array, Array], Nearest]] = {
    "box": box,
    "sphere": sphere,
    "capsule": capsule,
    "cylinder": cylinder,
}


def _shape(model: mujoco.MjModel, geom: int) -> Callable[[Array, Array], Nearest]:
    kind = mujoco.mjtGeom(model.geom_type[geom]).name.removeprefix("mjGEOM_").lower()
    if kind not in _SHAPES:
        error = unknown_choice(f"shape of geom '{model.geom(geom).name}'", kind, _SHAPES)
        raise ScoreError(f"{error}; the surface of others is not known here")
    return _SHAPES[kind]
