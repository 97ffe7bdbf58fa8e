"""From a depth image to the views `cloud`, `cloud_seen` and `hand_cloud` that a policy of point clouds asks for.

A camera gives depth along its axis, and somebody says which pixels belong to what (a segmentation network, colours, a
tracker). The pixels of a segment whose depth is good are moved into the robot's base frame, cut to the workspace, and
thinned evenly to the segment's share. Nothing is drawn at random: the same image gives the same points.

    camera = DepthCamera(focal_px=(605.0, 605.2), centre_px=(321.5, 242.1), pose=CAMERA_IN_BASE, unit_m=0.001)
    views = cloud_views(depth, masks_of(ids, [CUBE]), camera, points=128, elsewhere=palm_position)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class DepthCamera:
    """A camera without distortion: undistort its images before."""

    focal_px: tuple[float, float]
    """Focal lengths along the image's rows and columns (fx, fy)."""
    centre_px: tuple[float, float]
    """Principal point (cx, cy); pixel (0, 0) is the middle of the image's left upper pixel."""
    pose: Any
    """(4, 4) from the camera's frame (x right, y down, z forward) to the robot's base frame, metres."""
    unit_m: float = 1.0
    """What a 1 in the depth image means; 0.001 for images of whole millimetres."""
    nearest_m: float = 0.1
    """Depth below which the camera measures nothing."""
    farthest_m: float = 3.0
    """Depth beyond which it is not to be believed."""

    def __post_init__(self) -> None:
        pose = np.asarray(self.pose, dtype=np.float64)
        if pose.shape != (4, 4) or not np.allclose(pose[3], [0, 0, 0, 1]):
            raise ValueError(f"pose of a camera is a (4, 4) matrix with last row 0 0 0 1, not {pose.tolist()}")
        turn = pose[:3, :3]
        if not np.allclose(turn @ turn.T, np.eye(3), atol=1e-3) or np.linalg.det(turn) < 0:
            raise ValueError("pose of a camera turns by something that is no rotation")
        if min(self.focal_px) <= 0 or self.unit_m <= 0 or not 0 <= self.nearest_m < self.farthest_m:
            raise ValueError("focal lengths and unit are positive, nearest_m is smaller than farthest_m")


@dataclass(frozen=True)
class Workspace:
    """A box in the robot's base frame; what is outside is no part of any segment."""

    low_m: tuple[float, float, float] = (0.0, -0.7, -0.1)
    high_m: tuple[float, float, float] = (1.0, 0.7, 1.0)


def masks_of(ids: np.ndarray, wanted: Sequence[int]) -> list[np.ndarray]:
    """(h, w) masks of an image of numbers (h, w), one for each number that is wanted."""
    return [np.asarray(ids) == number for number in wanted]


def back_project(depth: np.ndarray, pixels: np.ndarray, camera: DepthCamera) -> np.ndarray:
    """(k, 3) base frame, m, of pixels (k,) of an image (h, w) counted row by row; NaN where depth is not good."""
    row, column = np.divmod(pixels, depth.shape[1])
    along = depth.reshape(-1)[pixels].astype(np.float64) * camera.unit_m
    with np.errstate(invalid="ignore"):
        good = (along >= camera.nearest_m) & (along <= camera.farthest_m)
    along = np.where(good, along, np.nan)
    x = (column - camera.centre_px[0]) / camera.focal_px[0] * along
    y = (row - camera.centre_px[1]) / camera.focal_px[1] * along
    pose = np.asarray(camera.pose, dtype=np.float64)
    return np.stack([x, y, along], axis=1) @ pose[:3, :3].T + pose[:3, 3]


def segment_points(
    depth: np.ndarray, mask: np.ndarray, camera: DepthCamera, count: int, workspace: Workspace | None = None
) -> tuple[np.ndarray, int]:
    """(count, 3) float32 points of one segment, base frame, and how many pixels of it were good.

    Spread evenly over the good pixels; where they are fewer than `count` they repeat, where there are none the points
    are zeros. Raises ValueError for a mask of another shape than the image.
    """
    depth, mask = np.asarray(depth), np.asarray(mask)
    if depth.ndim != 2 or mask.shape != depth.shape:
        raise ValueError(f"depth is an image (h, w) and a mask has its shape, not {depth.shape} and {mask.shape}")
    box = workspace or Workspace()
    points = back_project(depth, np.flatnonzero(mask), camera)
    with np.errstate(invalid="ignore"):
        inside = ((points >= box.low_m) & (points <= box.high_m)).all(axis=1)
    points = points[inside]
    have, slot = len(points), np.arange(count)
    if not have:
        return np.zeros((count, 3), np.float32), 0
    return points[slot * have // count if have >= count else slot % have].astype(np.float32), have


def cloud_views(
    depth: np.ndarray,
    masks: Sequence[np.ndarray],
    camera: DepthCamera,
    points: int,
    elsewhere: Sequence[float],
    workspace: Workspace | None = None,
) -> dict[str, np.ndarray]:
    """{"cloud": (points, 3), "cloud_seen": (segments,)} float32 of segments in the order that the policy knows.

    Every segment has the same share of the points, the first ones one more where that does not come out even. One
    without a good pixel is said to be out of sight (0 in `cloud_seen`); its points are then `elsewhere` (3,), the
    palm's position, as in training. Raises ValueError where there are too few points for the segments.
    """
    if not 1 <= len(masks) <= points:
        raise ValueError(f"{points} points cannot be shared out among {len(masks)} segments")
    each, more = divmod(points, len(masks))
    counts = [each + (segment < more) for segment in range(len(masks))]
    found = [segment_points(depth, mask, camera, count, workspace) for mask, count in zip(masks, counts)]
    place = np.asarray(elsewhere, dtype=np.float32)
    cloud = [part if have else np.broadcast_to(place, part.shape) for part, have in found]
    seen = np.array([float(have > 0) for _, have in found], np.float32)
    return {"cloud": np.concatenate(cloud), "cloud_seen": seen}
