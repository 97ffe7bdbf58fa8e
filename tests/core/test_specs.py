"""Specifications of somebody else's policies and worlds: what contradicts itself is refused before it is used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from toys import INTERFACE, ToyPolicy, ToyWorld

from score_rl.contracts import ArraySpec
from score_rl.core.errors import ScoreError
from score_rl.core.interfaces import check_policy_spec, check_world_spec
from score_rl.policies.open import open_policy
from score_rl.sim.open import open_world

POLICY, WORLD = ToyPolicy().spec, ToyWorld(2).spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"history": 0}, "are (0, 4, 4, 1), expected sizes >= 1"),
        ({"horizon": 2.5}, "expected sizes >= 1"),
        ({"horizon": True}, "expected sizes >= 1"),
        ({"horizon": "4"}, "expected sizes >= 1"),
        ({"horizon": 10**12}, "a chunk has 1000000000000 entries"),
        ({"latent_shape": (4,)}, "latent_shape is latent steps and latent width, not (4,)"),
        ({"latent_shape": None}, "latent_shape is latent steps and latent width, not None"),
        ({"latent_shape": (4, -1)}, "expected sizes >= 1"),
        ({"interface": None}, "its interface is a NoneType, expected an Interface"),
        ({"interface": replace(INTERFACE, observation={})}, "observes nothing"),
        ({"interface": replace(INTERFACE, control_rate_hz=float("nan"))}, "control_rate_hz must be positive"),
        ({"interface": replace(INTERFACE, control_rate_hz="10")}, "control_rate_hz must be positive"),
    ],
)
def test_a_policys_specification(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ScoreError) as error:
        check_policy_spec(replace(POLICY, **change), "it")
    assert str(error.value).startswith("it") and message in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_envs": 0}, "num_envs is 0, expected 1 to"),
        ({"time_limit": 10**25}, "time_limit is 10000000000000000000000000, expected 1 to"),
        ({"time_limit": "9"}, "time_limit is '9', expected 1 to"),
        ({"time_limit": float("inf")}, "time_limit is inf, expected 1 to"),
        ({"action_low": ()}, "differ in length: (1, 0, 1)"),
        ({"action_low": (1.0,)}, "bounds of action 0 must be finite, the first less, not 1.0 to 1.0"),
        ({"action_high": (float("inf"),)}, "bounds of action 0 must be finite"),
        ({"action_high": ("1",)}, "bounds of action 0 must be finite"),
        ({"critic": {}}, "the critic group must not be empty"),
        ({"critic": {"truth": ArraySpec((2,), "uint8")}}, "type of it: 'truth' of the critic"),
        ({"critic": {"truth": ArraySpec((0,))}}, "'truth' of the critic has shape (0,)"),
        ({"interface": INTERFACE.observation}, "its interface is a dict, expected an Interface"),
    ],
)
def test_a_worlds_specification(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ScoreError) as error:
        check_world_spec(replace(WORLD, **change), "it")
    assert message in str(error.value)


def test_numbers_of_numpy_are_numbers() -> None:
    check_policy_spec(replace(POLICY, history=np.int64(2)), "it")
    check_world_spec(replace(WORLD, time_limit=np.int32(9), action_high=(np.float32(1.0),)), "it")


def test_plugins_are_asked_at_the_door() -> None:
    for open_it, uri, message in (
        (lambda uri: open_world(uri, 2), "toys:ToyWorld?time_limit=99999999999999", "time_limit is 99999999999999"),
        (
            lambda uri: open_world(uri, 2),
            f"toys:ToyWorld?time_limit={'9' * 30}",
            "expected a whole number of 64 bits",
        ),
        (lambda uri: open_world(uri, 2), f"toys:ToyWorld?time_limit={'9' * 5000}", "expected a whole number"),
        (lambda uri: open_world(uri, 2), "toys:ToyWorld?time_limit=abc", "is 'abc', expected a whole number"),
        (lambda uri: open_world(uri, 2), "test_specs:one_row", "has 1 environments, 2 were asked for"),
        (open_policy, "toys:ToyPolicy?history=0", "expected sizes >= 1"),
        (open_policy, "test_specs:no_spec", "its spec is a dict, expected a PolicySpec"),
    ):
        with pytest.raises(ScoreError) as error:
            open_it(uri)
        assert message in str(error.value)


def one_row(num_envs: int) -> ToyWorld:
    """A world that does not listen."""
    return ToyWorld(1)


def no_spec() -> ToyPolicy:
    """A policy that describes itself in words of its own."""
    policy = ToyPolicy()
    policy.spec = {"horizon": 4}
    return policy
