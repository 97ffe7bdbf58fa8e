"""What calibration can be told and which files it leaves; read without loading a simulator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from score_rl.core.ranges import Count, Natural, NonNegative, Positive, Range

DOMAIN_FILE = "domain.toml"
"""The calibrated twin; a world's domain by its path."""
ESTIMATES_FILE = "calibration.json"
REPLAY_FILE = "replay.safetensors"
"""Some held-out episodes: `measured`, `before`, `after` (e, frames, joints) rad, `valid` (e, frames), and
`joint_names` in the header."""


@dataclass(frozen=True)
class CalibrateConfig:
    """What of the demonstrations is used."""

    fit_episodes: Count = 24
    """Episodes whose contact-free beginnings are replayed for the fit, spread evenly; others judge it."""
    max_frames: Count = 25
    """Frames of an episode's beginning that are used at most."""
    min_frames: Count = 5
    """Shorter contact-free beginnings are left out."""
    object_distance_m: NonNegative = 0.07
    """Free of contact: fingertips are this far from the object's centre, or, where there are no poses, from its
    points (the palm twice as far)."""
    table_clearance_m: NonNegative = 0.04
    """Free of contact: fingertips are this high above the base plane."""
    touching_m: Positive = 0.055
    """Fingertips this near to the centre of a lifted object hold it."""
    width_scale: NonNegative = 1.0
    """Factor on the widths (not the values) that the calibrated twin randomises with."""
    protective_stop_n: NonNegative = 0.0
    """Contact force of the robot's own protective stop, known from its controller's settings; the calibrated twin
    gets it, so that steering sees such episodes end. 0: as in the twin, which has none."""
    plot_episodes: Natural = 4
    """Held-out episodes whose trajectories are kept for plots."""
    timestep_s: Annotated[float, Range(0, 0.1, open="low")] = 1 / 240
    """Physics step of the replays that identify the robot (other settings of `Physics`: the defaults)."""
    threads: Natural = 0
    """Simulation threads; 0: all cores."""


DEFAULT = CalibrateConfig()
"""As `score calibrate` does where nobody says otherwise."""
