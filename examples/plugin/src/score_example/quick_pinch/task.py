"""The scene: that of Pinch Cube; success need only hold for an instant."""

from __future__ import annotations

from dataclasses import replace

from score_rl.tasks.pinch_cube.task import TASK as PINCH_CUBE

TASK = replace(
    PINCH_CUBE, name="quick_pinch", description="pinch the cube and raise it, without having to hold it", hold_steps=1
)
