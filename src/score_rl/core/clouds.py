"""Point clouds as views: their keys and arrays, and how points are shared out among what they show.

`cloud` (points, 3) float32, metres in the robot's base frame: the task's objects in their declared order, then the
hand where it is shown, each a segment with its share of the points (`shares`). `cloud_seen` (segments,) is 1 for a
segment that was seen and 0 for one out of sight, whose points then repeat the palm's position and mean nothing.
`hand_cloud` (points, 3) is the hand alone, for calibration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from score_rl.contracts import ArraySpec
from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.ranges import Range
from score_rl.core.records import validate

CLOUD, CLOUD_SEEN, HAND_CLOUD = "cloud", "cloud_seen", "hand_cloud"
CLOUD_VIEWS = (CLOUD, CLOUD_SEEN, HAND_CLOUD)
"""All views of this kind."""

MAX_POINTS = 65_536
"""Of a view: more than an image shows of any segment."""
Sight = Literal["pose", "cloud"]
"""What a policy sees of objects: their estimated poses, or their points from a depth camera."""


@dataclass(frozen=True)
class CloudConfig:
    """Which points are shown."""

    points: Annotated[int, Range(1, MAX_POINTS)] = 128
    """Points of the view `cloud`, the same share for every segment."""
    hand: bool = False
    """Whether the hand is a segment of it, behind the objects."""
    hand_points: Annotated[int, Range(0, MAX_POINTS)] = 0
    """Points of the view `hand_cloud`; 0: there is none."""


def cloud_views(config: CloudConfig, objects: int) -> dict[str, ArraySpec]:
    """The views of a task in which so many objects are seen. Raises ScoreError for points that cannot be shared."""
    segments = objects + config.hand
    shares(config.points, segments)
    views = {
        CLOUD: ArraySpec((config.points, 3), unit="m", frame="base", names=("x", "y", "z")),
        CLOUD_SEEN: ArraySpec((segments,)),
    }
    if config.hand_points:
        views[HAND_CLOUD] = ArraySpec((config.hand_points, 3), unit="m", frame="base", names=("x", "y", "z"))
    return views


def views_of(sight: Sight, config: CloudConfig, objects: int) -> dict[str, ArraySpec]:
    """The views of whoever sees objects so; none of poses, which are observed at every step."""
    return cloud_views(config, objects) if sight == "cloud" else {}


def config_of(views: Mapping[str, ArraySpec], objects: int) -> CloudConfig:
    """The inverse of `cloud_views`. Raises ScoreError for views that are no clouds of so many objects."""
    for key in views:
        if key not in CLOUD_VIEWS:
            raise unknown_choice("view of a simulated world", key, CLOUD_VIEWS)
    points = views[CLOUD].shape[0] if CLOUD in views else CloudConfig.points
    segments = views[CLOUD_SEEN].shape[0] if CLOUD_SEEN in views else objects
    hand_points = views[HAND_CLOUD].shape[0] if HAND_CLOUD in views else 0
    config = CloudConfig(points, segments > objects, hand_points)
    validate(config, "clouds")
    expected = cloud_views(config, objects)
    for key, array in views.items():
        if array.shape != expected[key].shape:
            raise ScoreError(f"the view '{key}' is {array}, but with {objects} object(s) it is {expected[key]}")
    return config


def shares(points: int, segments: int) -> list[int]:
    """Points of every segment: as many for each, where that does not come out even one more for the first.

    Raises ScoreError where there are not enough.
    """
    if not 1 <= segments <= points:
        raise ScoreError(f"{points} points cannot be shared out among {segments} segments")
    each, more = divmod(points, segments)
    return [each + (segment < more) for segment in range(segments)]
