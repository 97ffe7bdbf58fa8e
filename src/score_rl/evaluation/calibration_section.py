"""The report's section on the twin before and after calibration."""

from __future__ import annotations

from pathlib import Path


def calibration_section(calibration: Path | None) -> str:
    """Measured against replayed motion, and every estimate with its uncertainty."""
    return ""
