"""What a task is: one file of plain functions of named, batched state, collected in one record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from score_rl.core import plugins
from score_rl.core.errors import ScoreError
from score_rl.sim.domain import Physics
from score_rl.sim.parameters import OBJECT, OBJECT_QUANTITIES, Parameters
from score_rl.sim.robot import Robot
from score_rl.sim.state import SceneState

if TYPE_CHECKING:
    from mujoco import MjSpec

RESERVED = (OBJECT, "robot", "arm", "hand", "contact", "table", "camera", "palm", "fingers", "physics", "name")
"""Names that no object may have."""


@dataclass(frozen=True)
class TaskObject:
    """Something in the scene that is not the robot: a body with everything that hangs on it by joints."""

    name: str
    """Of its root body in the scene, which is free, jointed to the world, or fixed."""
    seen: Literal["pose", "position", "not"] = "pose"
    """What the camera tells of it; a ball's orientation cannot be seen and is reported as none (1, 0, 0, 0)."""
    varies: tuple[str, ...] = tuple(OBJECT_QUANTITIES)
    """Its domain parameters, `NAME.QUANTITY`."""


Condition = Callable[[SceneState], np.ndarray]
"""(n,) bool of a state."""
Spawn = Callable[[np.random.Generator, Mapping[str, np.ndarray]], Mapping[str, "np.ndarray | float"]]
"""(generator, parameters {name: (size,)}) -> {free body: pose (7,), joint: position, other object: place (3,)}: xyz
above the table top, wxyz; hinges in rad, slides in m. Every free body is among them; joints that are not begin where
the scene has them, and so do objects that are fixed in the world or jointed to it."""


@dataclass(frozen=True)
class Task:
    """One manipulation task."""

    name: str
    description: str
    """One line for `score tasks`."""
    horizon: int
    """Time limit in control steps (10 Hz)."""
    robot: Robot
    """What does it."""
    hold_steps: int
    """Control steps for which success must hold; then the episode ends, as an operator would end it."""
    objects: tuple[TaskObject, ...]
    """What the task is about, the object that is handled first. Observed as `object_pose` (the first that is seen)
    and `NAME_pose` (the others)."""
    add_objects: Callable[[MjSpec], None]
    """Adds a body for every object, and whatever else is fixed in the scene. Bodies are made of boxes, capsules,
    spheres and cylinders, joints are hinges and slides: what every engine has."""
    spawn: Spawn
    """Where everything is when an episode begins."""
    success: Condition
    """The success condition holds now."""
    milestones: Mapping[str, tuple[float, Condition]]
    """name -> (reward, condition): sparse rewards, each paid once an episode when first reached."""
    success_reward: float
    """Paid when success has held for `hold_steps`."""
    contacts: tuple[tuple[str, str], ...] = ()
    """Pairs whose contact force the task reads, see `SceneState.contact_force`."""
    timestep_s: float = float("inf")
    """Largest physics step at which the task's contacts hold; a domain with longer steps takes this one."""

    def __post_init__(self) -> None:
        names = [item.name for item in self.objects]
        for name in names:
            if name in RESERVED or "." in name or names.count(name) > 1:
                raise ScoreError(f"task '{self.name}': an object cannot be called '{name}'")

    @cached_property
    def parameters(self) -> Parameters:
        """The domain parameters of its robot, surroundings and objects."""
        return Parameters(self.robot.parameters, {item.name: item.varies for item in self.objects})

    @property
    def observed(self) -> dict[str, TaskObject]:
        """Observation key -> object."""
        seen = [item for item in self.objects if item.seen != "not"]
        return {f"{OBJECT}_pose" if k == 0 else f"{item.name}_pose": item for k, item in enumerate(seen)}

    def physics(self, physics: Physics) -> Physics:
        """A domain's physics at a step that the task's contacts allow."""
        return replace(physics, timestep_s=min(physics.timestep_s, self.timestep_s))


def rise_m(state: SceneState, body: str) -> np.ndarray:
    """(n,) height of a body above where it began."""
    return state.body(body).position[:, 2] - state.start.body(body).position[:, 2]


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
