"""Surfaces of a scene's geoms: what bounds them, and points that are uniform over their area."""

from __future__ import annotations

import itertools

import mujoco
import numpy as np

from score_rl.core.errors import ScoreError

_BOX, _SPHERE = mujoco.mjtGeom.mjGEOM_BOX.value, mujoco.mjtGeom.mjGEOM_SPHERE.value
_CAPSULE, _CYLINDER = mujoco.mjtGeom.mjGEOM_CAPSULE.value, mujoco.mjtGeom.mjGEOM_CYLINDER.value
SHAPES = (_BOX, _SPHERE, _CAPSULE, _CYLINDER)
"""What scenes are made of."""
_SIGNS = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))


def check_shapes(model: mujoco.MjModel, geoms: np.ndarray) -> None:
    """Raise ScoreError for a geom whose surface is not known here."""
    for geom in geoms:
        if model.geom_type[geom] not in SHAPES:
            raise ScoreError(
                f"point clouds know boxes, spheres, capsules and cylinders; geom '{model.geom(geom).name}' is none"
            )


def corners(model: mujoco.MjModel, geom: int) -> np.ndarray:
    """(8, 3) corners of the smallest box around a geom, in its own frame, m."""
    size, kind = model.geom_size[geom], model.geom_type[geom]
    radius = size[0]
    half = {
        _BOX: size,
        _SPHERE: np.full(3, radius),
        _CAPSULE: np.array([radius, radius, radius + size[1]]),
        _CYLINDER: np.array([radius, radius, size[1]]),
    }[kind]
    return _SIGNS * half


def area(model: mujoco.MjModel, geom: int) -> float:
    """Surface of a geom, m^2."""
    (x, y, z), kind = model.geom_size[geom], model.geom_type[geom]
    return {
        _BOX: 8 * (x * y + y * z + x * z),
        _SPHERE: 4 * np.pi * x**2,
        _CAPSULE: 4 * np.pi * x * (x + y),
        _CYLINDER: 2 * np.pi * x * (x + 2 * y),
    }[kind]


def sample(model: mujoco.MjModel, geom: int, count: int, generator: np.random.Generator) -> np.ndarray:
    """(count, 3) points on the surface of a geom, in its own frame, m."""
    size, kind = model.geom_size[geom], model.geom_type[geom]
    if kind == _BOX:
        return _on_box(size, count, generator)
    around = generator.normal(size=(count, 3))
    if kind == _SPHERE:
        return size[0] * around / np.linalg.norm(around, axis=1, keepdims=True)
    return (_on_capsule if kind == _CAPSULE else _on_cylinder)(size[0], size[1], around, generator)


def _on_box(half: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    faces = np.array([half[1] * half[2], half[0] * half[2], half[0] * half[1]])
    axis = generator.choice(3, count, p=faces / faces.sum())
    points = generator.uniform(-1, 1, (count, 3))
    points[np.arange(count), axis] = np.sign(points[np.arange(count), axis])
    return points * half


def _on_capsule(radius: float, half: float, around: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    on_side = generator.random(len(around)) < half / (half + radius)
    around[on_side, 2] = 0
    points = radius * around / np.linalg.norm(around, axis=1, keepdims=True)
    along = np.where(on_side, generator.uniform(-half, half, len(around)), np.sign(points[:, 2]) * half)
    points[:, 2] += along
    return points


def _on_cylinder(radius: float, half: float, around: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    count = len(around)
    on_side = generator.random(count) < 2 * half / (2 * half + radius)
    ring = around[:, :2] / np.linalg.norm(around[:, :2], axis=1, keepdims=True)
    distance = radius * np.where(on_side, 1.0, np.sqrt(generator.random(count)))
    height = np.where(on_side, generator.uniform(-half, half, count), half * generator.choice([-1.0, 1.0], count))
    return np.concatenate([ring * distance[:, None], height[:, None]], axis=1)
