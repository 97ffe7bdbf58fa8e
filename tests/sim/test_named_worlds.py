"""Other people's environments by URI, and whatever such an environment can return."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from score_rl.core.errors import ScoreError
from score_rl.core.testing import ContractViolation, check_world
from score_rl.sim.adapters.gymnasium import GymnasiumWorld
from score_rl.sim.adapters.success import Step, as_flags, success_rule
from score_rl.sim.adapters.vecenv import VecEnvWorld
from score_rl.sim.open import is_domain, open_world, world_label


class Line(gymnasium.Env):
    """A point that moves by the action, from 0 or a place that the seed draws; solved beyond 0.5."""

    metadata: ClassVar = {"render_fps": 20, "render_modes": []}

    def __init__(self, low=-0.25, high=0.25, spoil="", key="solved", late=False, spread=0.0, width=1, seeded=True):
        self.action_space = spaces.Box(np.float32(low), np.float32(high), (width,), np.float32)
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.spoil, self.key, self.late, self.spread, self.seeded = spoil, key, late, spread, seeded
        self.shown = np.zeros(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed if self.seeded else None)
        self.shown[:] = self.np_random.uniform(-1, 1) * self.spread, 0.0
        return self.shown, {}

    def step(self, action):
        self.shown += [float(action[0]), 1.0]  # the same array in every step
        solved, spoiled = bool(self.shown[0] > 0.5), self.shown[1] == 2
        reward = float(self.shown[0])
        info = {} if self.late and not solved else {self.key: solved}
        if spoiled and self.spoil in ("nan", "inf"):
            reward = float(self.spoil)
        if spoiled and self.spoil == "flag":
            info[self.key] = float("nan")
        return self.shown, reward, solved, False, info


@pytest.fixture(autouse=True, scope="module")
def registered():
    gymnasium.register("ScoreTest/Line-v0", Line, max_episode_steps=6)
    gymnasium.register("ScoreTest/Endless-v0", Line)
    yield
    for name in ("ScoreTest/Line-v0", "ScoreTest/Endless-v0"):
        del gymnasium.registry[name]


def line(options: str = "success=solved", num_envs: int = 2):
    return open_world(f"gymnasium:ScoreTest/Line-v0?{options}", num_envs)


def world_of(*rows: dict, **arguments) -> GymnasiumWorld:
    envs = SyncVectorEnv([lambda row=row: Line(**row) for row in rows], autoreset_mode=AutoresetMode.DISABLED)
    return GymnasiumWorld(envs, 10.0, 4, **{"success": "solved", **arguments})


def push(*values: float) -> torch.Tensor:
    return torch.tensor(values)[:, None]


def test_a_registered_environment_is_a_world():
    check_world(lambda: line("success=solved&spread=0.1", 3))
    spec = line("success=solved").spec
    assert (spec.name, spec.time_limit, spec.interface.control_rate_hz) == ("ScoreTest/Line-v0", 6, 20.0)
    uri = "gymnasium:ScoreTest/Line-v0?success=solved"
    assert not is_domain(uri) and world_label(uri) == uri
    other = line("success=solved&time_limit=3&control_rate_hz=50&high=0.1").spec
    assert (other.time_limit, other.interface.control_rate_hz) == (3, 50.0)
    assert (other.action_low, other.action_high) == ((-0.25,), (pytest.approx(0.1),))


@pytest.mark.parametrize("rule", ["solved", "reward>0.5", "terminated", "test_named_worlds:beyond"])
def test_every_success_rule_by_hand(rule):
    world = line(f"success={rule}")
    world.reset([1, 2])
    steps = [world.step(push(0.25, 0.1)) for _ in range(3)]  # 0.25, 0.5, 0.75 and 0.1, 0.2, 0.3
    assert [step.success.tolist() for step in steps] == [[False, False], [False, False], [True, False]]
    assert [step.reward.tolist() for step in steps] == [[0, 0], [0, 0], [1, 0]]
    assert steps[-1].terminated.tolist() == [True, False]


def beyond(step: Step) -> np.ndarray:
    return step.observation[:, 0] > 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("success=solvd", r"had no 'solvd' in an episode; it had \['solved'\]: pass success=<key>"),
        ("success=reward>high", "compares the reward with 'high', expected a number"),
        ("success=toys:nothing", "success rule 'toys:nothing' cannot be loaded"),
        ("success=solved&key=done", r"had no 'solved' in an episode; it had \['done'\]"),
        ("success=solved&late=true", "late_success=true where the key comes only once the task is solved"),
        ("success=solved&colour=red", "unexpected keyword argument 'colour'"),
        ("success=solved&reward=dense", "unknown reward 'dense'"),
        ("success=solved&low=-9", "action 0 are wider than the environment's"),
        ("success=solved&width=0", "not empty"),
        ("success=solved&low=0.1&high=0.1", "leaves nothing to choose"),
        ("success=solved&time_limit=0", "time_limit"),
        ("success=solved&time_limit=abc", "time_limit of .* is 'abc', expected a whole number"),
        ("success=solved&terminate_on_success=False", "is 'False', expected true or false"),
        ("success=solved&deadline=no", "is 'no', expected true or false"),
        ("success=", "the success rule is empty"),
        ("success=3", r"had no '3' in an episode"),
    ],
)
def test_what_cannot_be_a_world_is_said_before_anything_is_trained(options, message):
    with pytest.raises(ScoreError, match=message):
        line(options)


def test_what_an_environment_does_not_say_must_be_given():
    with pytest.raises(ScoreError, match="does not say its time_limit: pass time_limit=NUMBER"):
        open_world("gymnasium:ScoreTest/Endless-v0?success=solved", 2)
    with pytest.raises(ScoreError, match="ScoreTest/Lin"):
        open_world("gymnasium:ScoreTest/Lin-v0?success=solved", 2)


def test_a_key_that_comes_with_success_only():
    world = line("success=solved&late=true&late_success=true")
    world.reset([1, 2])
    flags = [world.step(push(0.25, 0.0)).success.tolist() for _ in range(3)]
    assert flags == [[False, False], [False, False], [True, False]]


@pytest.mark.parametrize("spoil", ["nan", "inf", "flag"])
def test_a_number_that_is_none_ends_its_row_alone(spoil):
    world = world_of({"spoil": spoil}, {}, reward="environment")
    world.reset([1, 2])
    assert not world.step(push(0.1, 0.1)).info["nan"].any()
    result = world.step(push(0.1, 0.1))
    assert result.info["nan"].tolist() == result.terminated.tolist() == [True, False]
    assert result.reward.tolist() == [0.0, pytest.approx(0.2)]
    assert not result.success.any()
    assert result.observation.actor["state"][:, 1].tolist() == [0.0, 2.0]  # the first row began anew


def test_a_reward_that_nobody_uses_may_be_anything():
    world = world_of({"spoil": "nan"})
    world.reset([1])
    assert not any(world.step(push(0.1)).info["nan"].any() for _ in range(3))


def test_unbounded_actions_need_bounds_and_fixed_ones_are_refused():
    with pytest.raises(ScoreError, match=r"action 0 is unbounded \(-inf to inf\): say what may be sent"):
        world_of({"low": -np.inf, "high": np.inf})
    assert world_of({"low": -np.inf, "high": np.inf}, low=-1, high=[2.0]).spec.action_high == (2.0,)
    with pytest.raises(ScoreError, match=r"action 0 has bounds 0.5 to 0.5"):
        world_of({"low": 0.5, "high": 0.5})
    for bound in (float("inf"), float("nan"), -1.0):
        with pytest.raises(ScoreError, match="must be finite, the lower one less"):
            VecEnvWorld(SimpleNamespace(num_actions=1, max_episode_length=4), 10.0, [-1.0], [bound], "success")


def test_keys_never_hide_each_other():
    class Named(Line):
        def __init__(self, key):
            super().__init__()
            self.name = key
            self.observation_space = spaces.Dict({key: self.observation_space})

        def reset(self, **options):
            state, info = super().reset(**options)
            return {self.name: state}, info

    def named(key, **arguments):
        envs = SyncVectorEnv([lambda: Named(key)] * 2, autoreset_mode=AutoresetMode.DISABLED)
        return GymnasiumWorld(envs, 10.0, 4, success="solved", **arguments)

    with pytest.raises(ScoreError, match="'command' is observed twice"):
        named("command")
    with pytest.raises(ScoreError, match="'elapsed' is observed twice"):
        named("elapsed", deadline=True)
    assert "elapsed" in named("elapsed").spec.interface.observation
    with pytest.raises(ScoreError, match="'place' is observed twice"):
        named("place", privileged=lambda envs: {"place": np.zeros((2, 1))})


def test_a_world_whose_rows_cannot_be_seeded_says_so():
    assert line("success=solved&spread=0.1").spec.row_seeds
    assert not line("success=solved&spread=0.1&seeded=false").spec.row_seeds


def test_flags_by_hand():
    flags, known = as_flags([1.0, 0.0, np.nan, None], 4, "success")
    assert (flags.tolist(), known.tolist()) == ([True, False, False, False], [True, True, False, False])
    for bad in ([True], [["a", "b"]], ["a", "b"]):
        with pytest.raises(ScoreError, match="success"):
            as_flags(bad, 2, "success")
    spoiled = success_rule("reward>1", None)(Step(None, np.array([np.inf, np.nan, 2.0, 0.0]), None, {}))
    assert as_flags(spoiled, 4, "success")[0].tolist() == [False, False, True, False]
    assert as_flags(spoiled, 4, "success")[1].tolist() == [False, False, True, True]
    assert success_rule("reward<=-1", None)(Step(None, np.array([-1.0, 0.0]), None, {})).tolist() == [True, False]


def test_the_kit_refuses_a_critic_that_hides_the_actor():
    class Hiding(GymnasiumWorld):
        def _groups(self, observation):
            actor, critic = super()._groups(observation)
            return actor, critic | {"state": critic["state"] + 1.0}

    envs = SyncVectorEnv([Line] * 2, autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(ContractViolation, match="critic's 'state' is not the actor's, which it hides"):
        check_world(lambda: Hiding(envs, 10.0, 4, success="solved"))
