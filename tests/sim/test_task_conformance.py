"""The kit for tasks: every task here passes, and each broken promise is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from parts import TASK, spawn

from score_rl.core.testing import ContractViolation
from score_rl.sim.state import SceneState
from score_rl.sim.task import Task, get_task, task_names
from score_rl.sim.testing import check_task


@pytest.mark.parametrize("name", task_names())
def test_every_task_keeps_its_promises(name: str) -> None:
    check_task(get_task(name))


def never(state: SceneState) -> np.ndarray:
    return np.zeros(len(state.body("cup").position), bool)


def spawning(change: Callable[[dict[str, Any], np.random.Generator], Any]) -> Task:
    """The task of `parts`, whose spawn is changed."""

    def changed(generator: np.random.Generator, parameters: dict[str, np.ndarray]) -> dict[str, Any]:
        start = spawn(generator, parameters)
        change(start, generator)
        return start

    return replace(TASK, spawn=changed)


def pushing(state: SceneState) -> np.ndarray:
    """A success condition that moves the cup."""
    state.body("cup").position[:] += 0.01
    return never(state)


DRAWN = iter(np.linspace(0.0, 0.01, 100))
BROKEN = {
    "no horizon": (replace(TASK, horizon=0), "horizon is 0"),
    "held longer than an episode": (replace(TASK, hold_steps=31), "hold_steps is 31, expected 1 to 30"),
    "a punishment": (replace(TASK, success_reward=-1.0), "success_reward pays -1.0, expected a positive reward"),
    "a milestone for nothing": (replace(TASK, milestones={"near": (0.0, never)}), "near pays 0.0"),
    "a body put nowhere": (spawning(lambda start, _: start.pop("block")), "spawn puts the free body 'block' nowhere"),
    "no quaternion": (spawning(lambda start, _: start.update(cup=np.zeros(7))), "spawn gives 'cup' .* a pose"),
    "beyond a limit": (
        spawning(lambda start, _: start.update(flap_hinge=1.5)),
        "'flap_hinge' at 1.5, its limits are",
    ),
    "a generator of its own": (
        spawning(lambda start, _: start.update(flap_hinge=next(DRAWN))),
        "spawn differs between two generators of the same state",
    ),
    "success of numbers": (replace(TASK, success=lambda state: never(state).astype(float)), "success is float64"),
    "success of one": (
        replace(TASK, success=lambda state: never(state)[:1]),
        r"success is bool \(1,\), expected bool",
    ),
    "solved from the start": (replace(TASK, success=lambda state: ~never(state)), "success holds when an episode"),
    "paid from the start": (replace(TASK, milestones={"here": (1.0, lambda s: ~never(s))}), "here holds when an"),
    "a condition that acts": (replace(TASK, success=pushing), "success changes the state that it reads"),
    "a block in the air": (
        spawning(lambda start, _: start["block"].__setitem__(2, 0.045)),
        "body block moves by 0.0[23][0-9]* in 1 s although nothing touches it",
    ),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_promise_is_named(broken: str) -> None:
    task, message = BROKEN[broken]
    with pytest.raises(ContractViolation, match=message):
        check_task(task, episodes=2, still_s=0.5)


def test_the_scene_of_the_worlds_tests_passes() -> None:
    hanging = spawning(lambda start, _: start.update(flap_hinge=0.0))  # held up by friction it would creep
    check_task(hanging, still_s=3.0)
