"""A depth camera that stands still: where it is, how it projects, and its own errors of place.

Frames: the camera's x points right in the image, y down, z forward; pixels (u, v) count from the image's left upper
corner. Depth is distance along z, so that a ray of unit depth times the depth of what it hits is the point itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from score_rl.core.errors import ScoreError
from score_rl.core.ranges import Count, Positive, Range
from score_rl.core.records import parse
from score_rl.sim import rotations_numpy as rotations

Metres = Annotated[float, Range(-100, 100)]
"""A coordinate in a room."""
NEAREST_M = 0.05
"""Depth below which nothing is seen."""


@dataclass(frozen=True)
class Camera:
    """What sees point clouds, in the robot's base frame; by default from the robot's right front, looking at the
    table before it. Its errors are parameters (`camera.*`)."""

    kind: Literal["depth", "full"] = "depth"
    """"depth": what the camera's rays hit first, with the errors that the domain declares; where it declares none, as
    in a twin, that is what is visible from there. "full": samples of all surfaces; nothing hides anything."""
    position_m: tuple[Metres, Metres, Metres] = (1.25, -0.55, 0.65)
    """Where it stands."""
    target_m: tuple[Metres, Metres, Metres] = (0.5, 0.0, 0.08)
    """The point that the middle of its image shows; the image's horizon is level."""
    focal_px: Positive = 600.0
    """Focal length."""
    resolution_px: tuple[Count, Count] = (640, 480)
    """Width and height of the image, whose middle is the principal point."""

    @property
    def axes(self) -> np.ndarray:
        """(3, 3) whose rows are the camera's axes in the base frame."""
        forward = np.subtract(self.target_m, self.position_m)
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right = right / np.linalg.norm(right)
        return np.stack([right, np.cross(forward, right), forward])

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) pixels at which points (..., 3) of the base frame appear; those behind it appear somewhere."""
        local = (points - np.array(self.position_m)) @ self.axes.T
        depth = np.maximum(local[..., 2:], NEAREST_M)
        return local[..., :2] / depth * self.focal_px + np.array(self.resolution_px) / 2

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """(..., 3) directions of unit depth, base frame, through pixels (..., 2)."""
        local = np.ones((*pixels.shape[:-1], 3))
        local[..., :2] = (pixels - np.array(self.resolution_px) / 2) / self.focal_px
        return np.einsum("...i,ij->...j", local, self.axes)


def parse_camera(table: Mapping[str, Any], source: str) -> Camera:
    """The camera of a domain's table `[camera]`. Raises ScoreError that names `source` and the key."""
    camera = parse(Camera, dict(table), source, defaults=True)
    aimed = np.subtract(camera.target_m, camera.position_m)
    if np.linalg.norm(aimed[:2]) < 1e-6:
        raise ScoreError(
            f"{source}: position_m and target_m lie above one another, so that no side of the image is up"
        )
    return camera


def reported(camera: Camera, values: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(k, 3, 3) and (k, 3): a true point x of k episodes is reported as matrix @ x + offset.

    values: parameters {name: (k, size)}. The depth camera's own error turns about its target and shifts; then comes
    what it shares with poses, as in `sensors.estimate_pose`.
    """
    target = np.array(camera.target_m)
    own = rotations.matrix(rotations.from_rotation_vector(values["camera.cloud_turn_rad"]))
    shared = rotations.matrix(rotations.about_z(values["camera.yaw_bias_rad"][:, 0]))
    offset = target + values["camera.cloud_shift_m"] - own @ target
    matrix = shared @ own
    return matrix, np.einsum("kij,kj->ki", shared, offset) + values["camera.position_bias_m"]
