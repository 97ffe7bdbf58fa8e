"""Whatever an environment returns for one of its rows, or for all: the row ends alone, or one error says what it was.

Three adapters, one environment each that counts its steps and returns what it is told at the second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv

from score_rl.contracts import World
from score_rl.core.errors import ScoreError
from score_rl.sim.adapters.batched import BatchedWorld
from score_rl.sim.adapters.gymnasium import GymnasiumWorld
from score_rl.sim.adapters.vecenv import VecEnvWorld

N, SPOILED = 3, 2
Spoil = Callable[[dict[str, Any]], Any]
"""What a step returns, by name -> what it returns instead; None: the same, changed in place."""


class Counting:
    """State (step, 1) of N rows; the parts of a step, spoiled at the second."""

    def __init__(self, spoil: Spoil) -> None:
        self.num_envs, self.spoil, self.steps = N, spoil, 0

    def parts(self) -> dict[str, Any]:
        state = torch.ones(N, 2)
        state[:, 0] = self.steps
        flags = torch.zeros(N)
        return {"state": state, "reward": torch.ones(N), "end": flags, "cut": flags.clone(), "solved": flags.clone()}

    def stepped(self, order: Callable[[dict[str, Any]], tuple]) -> Any:
        self.steps += 1
        parts = self.parts()
        instead = self.spoil(parts) if self.steps == SPOILED else None
        return order(parts) if instead is None else instead


class Vector(Counting, VectorEnv):
    """As Gymnasium's: numpy, five values."""

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012
    single_action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        return self.parts()["state"].numpy(), {}

    def step(self, action):
        return self.stepped(
            lambda p: (
                *(_numpy(p[name]) for name in ("state", "reward", "end", "cut")),
                {"solved": _numpy(p["solved"])},
            )
        )


class Walk(Counting):
    """As rsl_rl's: groups of tensors, four values."""

    num_actions, max_episode_length, device = 1, 9, "cpu"

    def get_observations(self):
        return {"policy": self.parts()["state"], "critic": self.parts()["state"][:, :1]}

    def step(self, actions):
        return self.stepped(
            lambda p: (
                {"policy": p["state"], "critic": p["state"][:, :1]},
                p["reward"],
                p["end"],
                {"solved": p["solved"], "time_outs": p["cut"]},
            )
        )


class Batch(Counting):
    """As ManiSkill's: tensors, five values."""

    device = torch.device("cpu")

    def reset(self, *, seed=None, options=None):
        return self.parts()["state"], {}

    def step(self, action):
        return self.stepped(lambda p: (p["state"], p["reward"], p["end"], p["cut"], {"solved": p["solved"]}))


def _numpy(value: Any) -> Any:
    return value.numpy() if isinstance(value, torch.Tensor) else value


def gymnasium_world(spoil: Spoil) -> World:
    return GymnasiumWorld(Vector(spoil), 10.0, 9, success="solved", reward="environment", name="it")


def vecenv_world(spoil: Spoil) -> World:
    reset = {"reset": lambda env, seeds: None}
    return VecEnvWorld(Walk(spoil), 10.0, [-1.0], [1.0], "solved", **reset, name="it")


def batched_world(spoil: Spoil) -> World:
    return BatchedWorld(Batch(spoil), 10.0, 9, [-1.0], [1.0], "solved", name="it")


WORLDS = (gymnasium_world, vecenv_world, batched_world)


def second_step(make: Callable[[Spoil], World], spoil: Spoil):
    world = make(spoil)
    world.reset(list(range(N)))
    first = world.step(torch.zeros(N, 1))
    assert not first.info["nan"].any() and not first.done.any()
    return world.step(torch.zeros(N, 1))


NONE = [(part, value) for part in ("state", "reward") for value in (float("nan"), float("inf"), float("-inf"))]
NONE += [(part, float("nan")) for part in ("solved", "end", "cut")]


@pytest.mark.parametrize("row", range(N))
@pytest.mark.parametrize(("part", "value"), NONE)
@pytest.mark.parametrize("make", WORLDS)
def test_a_number_that_is_none_ends_its_row_and_no_other(make, part: str, value: float, row: int) -> None:
    if part == "reward" and make is batched_world:
        return  # it does not use them

    def spoil(parts: dict[str, Any]) -> None:
        parts[part][row] = value

    result = second_step(make, spoil)
    only = [k == row for k in range(N)]
    assert result.info["nan"].tolist() == result.terminated.tolist() == only
    assert not result.truncated.any() and not result.success.any()
    assert result.reward[row] == 0 and result.reward.isfinite().all()
    for observation in (result.observation, result.final_observation):
        assert all(
            one.isfinite().all() for group in (observation.actor, observation.critic) for one in group.values()
        )


def wrong(part: str, value: Any) -> Spoil:
    def spoil(parts: dict[str, Any]) -> None:
        parts[part] = value

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (wrong("state", torch.ones(N + 1, 2)), "a row for each of 3 environments"),
        (wrong("state", torch.ones(N, 5)), "observed .* at first, and now"),
        (wrong("reward", torch.ones(N - 1)), "the reward of it|reward"),
        (wrong("end", torch.zeros(N, 2)), "has shape .*3, 2.*3 environments"),
        (wrong("cut", torch.zeros(1)), "has shape .*1,.*3 environments"),
        (wrong("solved", torch.zeros(N, 4)), "has shape .*3, 4.*3 environments"),
        (lambda parts: (1, 2, 3), "a step of it returned 3 values, expected"),
        (lambda parts: {"obs": 1}, "a step of it returned a dict, expected"),
        (lambda parts: (parts["state"], None, None, None)[:4], "a step of it returned 4 values|of it is None"),
    ],
)
@pytest.mark.parametrize("make", WORLDS)
def test_a_step_that_is_none_is_one_clear_error(make, spoil: Spoil, message: str) -> None:
    if make is batched_world and "reward" in message:
        return  # it does not use them
    with pytest.raises(ScoreError, match=message):
        second_step(make, spoil)


def test_rewards_that_are_no_numbers_are_named() -> None:
    with pytest.raises(ScoreError, match=r"the reward of it is .*expected numbers"):
        second_step(gymnasium_world, wrong("reward", np.array([None, 1.0, 2.0])))
    with pytest.raises(ScoreError, match=r"success.* holds no flags|success has shape"):
        second_step(gymnasium_world, wrong("solved", np.array(["a", "b", "c"])))
