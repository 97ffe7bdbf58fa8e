"""Demonstration collection in the hardware proxy: one demonstrator per task, by the task's name."""

from score_rl.collection.person import Routine
from score_rl.collection.pinch_cube import PINCH_CUBE

DEMONSTRATORS: dict[str, Routine] = {"pinch_cube": PINCH_CUBE}
