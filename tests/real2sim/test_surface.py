"""Distances from primitives, by hand."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from score_rl.core.errors import ScoreError
from score_rl.real2sim import surface
from score_rl.real2sim.surface import Surface

SIZE = np.array([1.0, 2.0, 3.0])
HALF = np.sqrt(0.5)


@pytest.mark.parametrize(
    ("shape", "point", "distance", "normal"),
    [
        (surface.sphere, (0, 3, 4), 4, (0, 0.6, 0.8)),
        (surface.sphere, (0, 0, 0.25), -0.75, (0, 0, 1)),
        (surface.capsule, (3, 0, 1.5), 2, (1, 0, 0)),  # beside the straight part, |z| <= 2
        (surface.capsule, (0, 3, -6), 4, (0, 0.6, -0.8)),  # beyond the end at z = -2
        (surface.box, (2, 0, 0), 1, (1, 0, 0)),
        (surface.box, (-4, 6, 3), 5, (-0.6, 0.8, 0)),  # beside an edge, 3 and 4 away from its faces
        (surface.box, (0.5, -1.75, 0), -0.25, (0, -1, 0)),  # inside, the face at y = -2 is next
        (surface.cylinder, (0, 5, 1), 4, (0, 1, 0)),
        (surface.cylinder, (0.5, 0, -3), 1, (0, 0, -1)),  # above the lid
        (surface.cylinder, (0, -4, 6), 5, (0, -0.6, 0.8)),  # beside the rim
        (surface.cylinder, (0.25, 0, 1.9), -0.1, (0, 0, 1)),
    ],
)
def test_distance_and_normal(shape, point, distance, normal) -> None:
    found, direction = shape(np.array([point], float), SIZE)
    assert found == pytest.approx([distance])
    np.testing.assert_allclose(direction, [normal], atol=1e-12)


def scene(*geoms: str) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{''.join(geoms)}</worldbody></mujoco>")


def test_the_nearest_of_several_bodies_in_the_frame_of_the_points() -> None:
    model = scene('<geom type="sphere" size="1"/>', '<geom type="capsule" size="1 2"/>')
    # Second configuration: the capsule lies along x (its z axis turned there), and the sphere is 10 above.
    lying = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    position = np.array([[[0.0, 0, 0], [10, 0, 0]], [[0, 0, 10], [0, 0, 0]]])
    matrix = np.array([[np.eye(3), np.eye(3)], [np.eye(3), lying]])
    points = np.array([[[3.0, 0, 0], [10, 0, 5]], [[5, 0, 0], [1, 3, 0]]])
    distance, normal = Surface(model, [0, 1]).nearest(points, position, matrix)
    np.testing.assert_allclose(distance, [[2, 2], [2, 2]])
    np.testing.assert_allclose(normal, [[[1, 0, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 0]]], atol=1e-12)


def test_other_shapes_are_refused_by_name() -> None:
    model = scene('<geom name="egg" type="ellipsoid" size="1 2 3"/>')
    with pytest.raises(ScoreError, match=r"'egg'.*ellipsoid"):
        Surface(model, [0])
