"""Tasks: spawn, reward and success as plain functions of batched state; one file each."""

from score_rl.foundation.errors import unknown_choice
from score_rl.tasks.grasp_bottle import GRASP_BOTTLE
from score_rl.tasks.pinch_cube import PINCH_CUBE
from score_rl.tasks.push_ball import PUSH_BALL
from score_rl.tasks.task import Task, TaskState

TASKS: dict[str, Task] = {task.name: task for task in (PINCH_CUBE, GRASP_BOTTLE, PUSH_BALL)}


def get_task(name: str) -> Task:
    """The task of that name; raises ScoreError that lists the choices."""
    if name not in TASKS:
        raise unknown_choice("task", name, list(TASKS))
    return TASKS[name]


__all__ = ["TASKS", "Task", "TaskState", "get_task"]
