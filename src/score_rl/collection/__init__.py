"""Demonstration collection in the hardware proxy: one demonstrator per task, by the task's name."""

from score_rl.collection.grasp_bottle import GRASP_BOTTLE
from score_rl.collection.person import Routine
from score_rl.collection.pinch_cube import PINCH_CUBE
from score_rl.collection.push_ball import PUSH_BALL

DEMONSTRATORS: dict[str, Routine] = {
    "pinch_cube": PINCH_CUBE,
    "grasp_bottle": GRASP_BOTTLE,
    "push_ball": PUSH_BALL,
}
