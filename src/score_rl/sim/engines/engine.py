"""Engines: what moves a compiled scene. Everything else of a simulated world is the same in all of them.

An engine is a file in this folder, with its settings in `settings.py`; `[physics] engine = "NAME"` in a domain
chooses it. It loads the scene as a compiled `MjModel`, whichever library then simulates, and speaks of configurations
in MuJoCo's layout, so that pictures, named state and kinematics need no engine.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Protocol

import mujoco
import numpy as np

from score_rl.core.errors import ScoreError
from score_rl.sim.domain import Domain, Physics
from score_rl.sim.plant import Plant
from score_rl.sim.task import Task


@dataclass(frozen=True)
class Motion:
    """What happened in one control period: n environments, s physics steps."""

    forces: np.ndarray
    """(n, s, b) size of the net contact force that acted on every link of the hand in every physics step, newtons."""
    torques: np.ndarray
    """(n, s, a) of the servos, N m."""
    contacts: np.ndarray
    """(n, s, c) size of the net contact force between the pairs of `Task.contacts` in every physics step, newtons."""
    diverged: np.ndarray
    """(n,) bool: the physics is not finite any more, or was given up. Such environments are parked at rest, with
    finite state and zero forces, until their next episode begins."""


class Engine(Protocol):
    """n environments of one scene. `tests/sim/engine_conformance.py` checks what is promised here.

    Environments are independent: what one does depends neither on the others nor on their number, threads or past
    episodes, to the bit.
    """

    model: mujoco.MjModel
    """The nominal scene, for pictures and for the layout of `qpos`."""
    links: tuple[str, ...]
    """Bodies of the hand whose contact forces are told, in the order of `Motion.forces`."""
    qpos: np.ndarray
    """(n, nq) configurations, live, in MuJoCo's layout. What is written into it holds from the next `advance` on."""
    qvel: np.ndarray
    """(n, nv) velocities, live likewise; a free body's are linear in the world, angular in its own frame."""
    not_represented: frozenset[str]
    """Domain parameters that this engine has nothing for."""
    represented_in_part: tuple[str, ...]
    """What of the parameters does not hold everywhere, as results list it beside what is not applied."""

    def begin(self, rows: np.ndarray, plant: Plant, qpos: np.ndarray) -> None:
        """Start episodes in k environments `rows` (k,), at rest in `qpos` (k, nq); nothing of the past remains."""
        ...

    def advance(self, targets: np.ndarray) -> Motion:
        """Run s physics steps with servo targets (n, s, a), which are clipped to the robot's target limits."""
        ...


def open_engine(task: Task, physics: Physics, num_envs: int, threads: int, free_space: bool = False) -> Engine:
    """The engine that a domain's physics names, loaded with a task's scene.

    threads: of the physics. free_space: without contacts, gravity and forces, for motion of the robot alone.
    Raises ScoreError where the engine's library is not installed.
    """
    name = physics.engine
    try:
        module = importlib.import_module(f"score_rl.sim.engines.{name}")
    except ImportError as error:
        raise ScoreError(f"engine '{name}' cannot be loaded: {error}; try pip install 'score-rl[{name}]'") from error
    return module.load(task, physics, num_envs, threads, free_space)


def not_applied(engine: Engine, task: Task, domain: Domain) -> tuple[str, ...]:
    """Parameters of a domain that an engine has nothing for, all of them named in `[physics] not_applied`.

    Raises ScoreError for one that is not named there.
    """
    said = {*domain.robot, *domain.episode}
    missing = sorted(name for name in said if task.parameters.general_name(name) in engine.not_represented)
    for name in missing:
        if name not in domain.physics.not_applied:
            raise ScoreError(
                f"domain '{domain.name}': engine '{domain.physics.engine}' cannot represent '{name}'; take it out, "
                "or list it under [physics] not_applied"
            )
    return tuple(missing)
