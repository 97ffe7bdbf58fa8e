"""The person does what it does in Pinch Cube."""

from score_rl.tasks.pinch_cube.demonstrator import ROUTINE

__all__ = ["ROUTINE"]
