"""A depth image of a plane and a sphere, drawn by hand, becomes points of the plane and of the sphere."""

from __future__ import annotations

import numpy as np
import pytest
from score_client.depth import DepthCamera, Workspace, back_project, cloud_views, masks_of, segment_points

FLOOR, BALL = 1, 2
CENTRE, RADIUS, FAR = np.array([0.1, -0.05, 0.8]), 0.2, 1.0
"""Of the ball, in the camera's frame; and of the plane before the camera."""
SHAPE = (48, 64)
# The camera hangs 1 m above the base and looks down: its x is the base's x, its y the base's -y.
POSE = np.array([[1.0, 0, 0, 0.5], [0, -1, 0, 0], [0, 0, -1, 1.0], [0, 0, 0, 1]])
CAMERA = DepthCamera(focal_px=(60.0, 80.0), centre_px=(31.5, 23.5), pose=POSE)
ROOM = Workspace((-1, -1, -1), (2, 2, 2))


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Depth (48, 64) and what is seen: rays t (x, y, 1) meet |t ray - centre| = radius, or the plane z = 1."""
    column, row = np.meshgrid(np.arange(SHAPE[1]), np.arange(SHAPE[0]))
    ray = np.stack([(column - 31.5) / 60, (row - 23.5) / 80, np.ones(SHAPE)], axis=-1)
    a, b, c = (ray**2).sum(-1), ray @ CENTRE, CENTRE @ CENTRE - RADIUS**2
    hit = b**2 - a * c > 0
    depth = np.where(hit, (b - np.sqrt(np.maximum(b**2 - a * c, 0))) / a, FAR)
    return depth, np.where(hit, BALL, FLOOR)


DEPTH, IDS = scene()


def test_one_pixel_by_hand() -> None:
    # Row 31, column 43: 7.5 rows below and 11.5 columns right of the middle, 0.6 m away.
    depth = np.full(SHAPE, 0.6)
    (point,) = back_project(depth, np.array([31 * 64 + 43]), CAMERA)
    x, y = 11.5 / 60 * 0.6, 7.5 / 80 * 0.6
    np.testing.assert_allclose(point, [0.5 + x, -y, 1.0 - 0.6])


def test_points_lie_on_what_was_seen() -> None:
    floor, ball = masks_of(IDS, [FLOOR, BALL])
    points, have = segment_points(DEPTH, floor, CAMERA, 100, ROOM)
    assert points.shape == (100, 3) and points.dtype == np.float32 and have == floor.sum()
    np.testing.assert_allclose(points[:, 2], 1.0 - FAR, atol=1e-6)
    points, have = segment_points(DEPTH, ball, CAMERA, 100, ROOM)
    centre = POSE[:3, :3] @ CENTRE + POSE[:3, 3]
    np.testing.assert_allclose(np.linalg.norm(points - centre, axis=1), RADIUS, atol=1e-6)
    assert have == ball.sum() > 100 and len(np.unique(points, axis=0)) == 100  # spread, none twice
    assert np.ptp(points[:, :2], axis=0).min() > 1.5 * RADIUS  # over all of what is seen of it


def test_the_same_image_gives_the_same_points_and_few_pixels_repeat() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[10, 10:13] = True
    points, have = segment_points(DEPTH, mask, CAMERA, 7, ROOM)
    assert have == 3
    np.testing.assert_array_equal(points, points[[0, 1, 2, 0, 1, 2, 0]])
    np.testing.assert_array_equal(points, segment_points(DEPTH, mask, CAMERA, 7, ROOM)[0])


def test_millimetres_and_bad_depth() -> None:
    millimetres = np.round(1000 * DEPTH).astype(np.uint16)
    millimetres[::2] = 0  # no reading
    camera = DepthCamera((60.0, 80.0), (31.5, 23.5), POSE, unit_m=0.001)
    points, have = segment_points(millimetres, IDS == FLOOR, camera, 50, ROOM)
    assert have == (IDS[1::2] == FLOOR).sum()
    np.testing.assert_allclose(points[:, 2], 0, atol=5e-4)
    broken = DEPTH.copy()
    broken[:, :20], broken[:, 20:30], broken[:, 30:40] = np.nan, np.inf, 5.0
    _, have = segment_points(broken, np.ones(SHAPE, bool), CAMERA, 50, ROOM)
    assert have == 48 * 24


def test_the_workspace_is_cut_out() -> None:
    # Of the plane z = 0 only what has x >= 0.5 and y >= 0: the columns from the 32nd, and the rows up to the 23rd.
    points, have = segment_points(
        np.full(SHAPE, FAR), np.ones(SHAPE, bool), CAMERA, 10, Workspace((0.5, 0, -1), (2, 2, 1))
    )
    assert have == 24 * 32 and (points[:, 0] >= 0.5).all() and (points[:, 1] >= 0).all()


def test_views_of_segments_and_what_is_out_of_sight() -> None:
    palm = (0.4, 0.0, 0.3)
    views = cloud_views(DEPTH, masks_of(IDS, [BALL, 7]), CAMERA, 128, palm, ROOM)
    assert views["cloud"].shape == (128, 3) and views["cloud"].dtype == views["cloud_seen"].dtype == np.float32
    assert views["cloud_seen"].tolist() == [1, 0]
    ball = segment_points(DEPTH, IDS == BALL, CAMERA, 64, ROOM)[0]
    np.testing.assert_array_equal(views["cloud"][:64], ball)
    np.testing.assert_array_equal(views["cloud"][64:], np.tile(np.float32(palm), (64, 1)))
    uneven = cloud_views(DEPTH, masks_of(IDS, [BALL, FLOOR, 7]), CAMERA, 128, palm, ROOM)["cloud"]  # 43, 43 and 42
    np.testing.assert_array_equal(uneven[43:86], segment_points(DEPTH, IDS == FLOOR, CAMERA, 43, ROOM)[0])


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda: cloud_views(DEPTH, masks_of(IDS, [1, 2, 3]), CAMERA, 2, (0, 0, 0)), "2 points .* 3 segments"),
        (lambda: segment_points(DEPTH, IDS[:10] == 1, CAMERA, 8), r"\(48, 64\) and \(10, 64\)"),
        (lambda: DepthCamera((60.0, 80.0), (31.5, 23.5), np.eye(3)), r"\(4, 4\)"),
        (lambda: DepthCamera((60.0, 80.0), (31.5, 23.5), np.diag([1.0, 1, -1, 1])), "no rotation"),
        (lambda: DepthCamera((60.0, 0.0), (31.5, 23.5), POSE), "positive"),
    ],
)
def test_what_makes_no_sense_is_refused(broken, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        broken()
