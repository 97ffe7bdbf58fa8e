"""What a task is: one file of plain functions of batched state, collected in one record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import mujoco
import numpy as np

from score_rl.core import plugins
from score_rl.core.errors import ScoreError
from score_rl.sim.robot import Robot


@dataclass(frozen=True)
class TaskState:
    """The truth that task functions read, n environments; world frame = robot base frame; metres, radians."""

    object_pos: np.ndarray
    """(n, 3) position of the task's object."""
    object_quat: np.ndarray
    """(n, 4) its orientation, wxyz."""
    object_linvel: np.ndarray
    """(n, 3) its linear velocity."""
    object_start_pos: np.ndarray
    """(n, 3) where it lay when the episode began."""
    fingertip_pos: np.ndarray
    """(n, 4, 3) index, middle, ring, thumb."""


@dataclass(frozen=True)
class Task:
    """One manipulation task with a single free object named `object`."""

    name: str
    description: str
    """One line for `score tasks`."""
    horizon: int
    """Time limit in control steps (10 Hz)."""
    robot: Robot
    """What does it."""
    hold_steps: int
    """Control steps for which success must hold; then the episode ends, as an operator would end it."""
    add_objects: Callable[[mujoco.MjSpec], None]
    """Adds a body `object` (free joint, one geom `object`) and whatever is fixed in the scene."""
    spawn: Callable[[np.random.Generator, Mapping[str, np.ndarray]], np.ndarray]
    """(generator, episode parameters) -> (7,) object pose: xyz above the table top, quaternion wxyz."""
    success: Callable[[TaskState], np.ndarray]
    """(n,) bool: the success condition holds now."""
    milestones: Mapping[str, tuple[float, Callable[[TaskState], np.ndarray]]]
    """name -> (reward, condition): sparse rewards, each paid once an episode when first reached."""
    success_reward: float
    """Paid when success has held for `hold_steps`."""
    orientation_seen: bool = True
    """Whether the camera can tell the object's orientation; a ball's is reported as none (1, 0, 0, 0)."""


def rise_m(state: TaskState) -> np.ndarray:
    """(n,) height of the object above where it lay."""
    return state.object_pos[:, 2] - state.object_start_pos[:, 2]


TASKS = "score_rl.tasks"
"""Entry points of tasks."""


def task_names() -> tuple[str, ...]:
    """Installed tasks that have a simulated world."""
    return plugins.names(TASKS, "task")


def get_task(name: str) -> Task:
    """The installed task of that name; raises ScoreError that lists the choices, or says what is broken."""
    task = plugins.load_part(TASKS, name, "task", "TASK", "task", Task)
    if task.name != name:
        raise ScoreError(f"the entry point '{name}' of {TASKS} leads to a task named '{task.name}'")
    return task
