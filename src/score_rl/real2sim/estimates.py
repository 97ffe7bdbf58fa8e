"""What a calibration found out, as it stands in its file; read without loading a simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from score_rl.core.ranges import NonNegative
from score_rl.core.records import parse, read_json
from score_rl.core.run_record import verify
from score_rl.real2sim.settings import ESTIMATES_FILE


@dataclass(frozen=True)
class Estimate:
    """One domain parameter of this robot."""

    value: tuple[float, ...]
    """Best estimate, in the parameter's units."""
    sd: tuple[float, ...]
    """Its uncertainty, floors included: the width of the randomisation (before `width_scale`)."""
    statistical_sd: tuple[float, ...]
    """The part that more demonstrations would reduce."""
    identified: bool
    """Whether the demonstrations reduced the prior's uncertainty by half or more, for most elements."""
    source: str
    """Evidence: "free motion", "rest, grasp and carry", "clouds of the hand and of objects at rest" or "prior"."""
    meaning: str = ""
    """What the parameter is, one line for people."""


@dataclass(frozen=True)
class Comparison:
    """Replay against measurement, on episodes that the fit has not seen (where there are any)."""

    held_out: bool
    """False where there were too few episodes to spare some."""
    episodes: int
    frames: int
    before_rms_rad: tuple[float, ...]
    """Per joint: the twin as it was."""
    after_rms_rad: tuple[float, ...]
    """Per joint: the calibrated twin."""
    arm_before_rms_rad: float
    arm_after_rms_rad: float
    hand_before_rms_rad: float
    hand_after_rms_rad: float


@dataclass(frozen=True)
class Known:
    """A number and how well it is known."""

    value: float
    sd: NonNegative


@dataclass(frozen=True)
class Estimates:
    """The content of `ESTIMATES_FILE`; see `Calibration`."""

    version: Literal[1]
    estimates: Mapping[str, Estimate]
    effective: Mapping[str, tuple[float, ...]]
    lag_plus_delay_s: Known
    replay: Comparison
    used: Mapping[str, int]
    joint_names: tuple[str, ...]
    not_estimated: Mapping[str, str] = field(default_factory=dict)


def read_estimates(directory: Path) -> Estimates:
    """What a calibration found out. Raises ScoreError where the directory holds none, or another than was written."""
    path = Path(directory) / ESTIMATES_FILE
    verify(directory, ESTIMATES_FILE)
    return parse(Estimates, read_json(path), path, defaults=True)
