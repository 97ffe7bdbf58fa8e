"""Gymnasium environments as worlds, on an environment that counts and on the Adroit door."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from toys import vectors

from score_rl.contracts import ArraySpec
from score_rl.core.errors import ScoreError
from score_rl.core.interfaces import action_spec
from score_rl.core.testing import check_world
from score_rl.sim.adapters.gymnasium import GymnasiumWorld, adroit_door_world


class Walk(gymnasium.Env):
    """Position starts random, moves by the action; solved beyond 1. Reward of the environment: the position."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Box(-0.5, 0.5, (1,), np.float32)

    def __init__(self, nan_at=None, as_dict=False, flag="success"):
        self.nan_at, self.as_dict, self.flag = nan_at, as_dict, flag
        if as_dict:
            inner = {"position": self.observation_space, "grid": spaces.Box(0, 1, (2, 2), np.float32)}
            self.observation_space = spaces.Dict(inner)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position, self.steps = self.np_random.uniform(-0.2, 0.2), 0
        return self._observe(), {}

    def step(self, action):
        self.position += float(action[0])
        self.steps += 1
        if self.steps == self.nan_at:
            self.position = np.nan
        return self._observe(), self.position, False, False, {self.flag: self.position > 1.0}

    def velocity(self):
        return np.array([self.steps], np.float64)

    def _observe(self):
        position = np.array([self.position, self.steps])
        return {"position": position, "grid": np.zeros((2, 2), np.float32)} if self.as_dict else position


def envs_of(n=3, mode=AutoresetMode.DISABLED, make=SyncVectorEnv, **options):
    return make([lambda: Walk(**options)] * n, autoreset_mode=mode)


def world_of(n=3, time_limit=6, make=SyncVectorEnv, options=None, **arguments):
    return GymnasiumWorld(envs_of(n, make=make, **(options or {})), 10.0, time_limit, **arguments)


def test_it_conforms():
    check_world(world_of)


def test_it_conforms_in_processes():
    check_world(lambda: world_of(make=AsyncVectorEnv))


def test_spec_and_groups():
    world = world_of(privileged=lambda envs: {"velocity": np.stack(envs.call("velocity"))})
    assert dict(world.spec.interface.observation) == vectors(state=2) | {"command": world.spec.interface.action}
    assert dict(world.spec.critic) == vectors(state=2, command=1, velocity=1)
    assert (world.spec.action_low, world.spec.action_high) == ((-0.5,), (0.5,))
    first = world.reset([1, 2, 3])
    assert first.actor["command"].tolist() == [[0.0]] * 3
    result = world.step(torch.tensor([[0.1], [9.0], [-9.0]]))
    moved = result.final_observation.actor["state"][:, 0] - first.actor["state"][:, 0]
    assert moved.tolist() == pytest.approx([0.1, 0.5, -0.5], abs=1e-6)
    assert result.observation.actor["command"].flatten().tolist() == pytest.approx([0.1, 0.5, -0.5])
    assert result.observation.critic["velocity"].tolist() == [[1.0]] * 3


def test_dict_observations_keep_their_keys_and_shapes():
    world = world_of(options={"as_dict": True})
    assert world.spec.interface.observation == {
        **vectors(position=2),
        "grid": ArraySpec((2, 2)),
        "command": action_spec(("action_0",)),
    }


def test_success_gives_the_reward_and_ends_the_episode():
    world = world_of(n=2)
    world.reset([1, 2])
    first = world.step(torch.tensor([[0.5], [0.0]]))
    assert not first.success.any()
    result = world.step(torch.tensor([[0.5], [0.0]]))
    if not result.success[0]:  # 1 is passed with two or three steps of 0.5 from +-0.2
        result = world.step(torch.tensor([[0.5], [0.0]]))
    assert result.reward.tolist() == [1.0, 0.0]
    assert result.terminated.tolist() == [True, False]
    assert result.final_observation.actor["state"][0, 0] > 1.0
    assert result.observation.actor["state"][0, 1] == 0.0  # a fresh episode: no steps yet
    assert result.observation.actor["command"][0, 0] == 0.0


def test_environment_reward_and_success_that_does_not_end_the_episode():
    world = world_of(n=1, time_limit=5, reward="environment", terminate_on_success=False)
    world.reset([1])
    for _ in range(4):
        result = world.step(torch.tensor([[0.5]]))
    assert result.success.item()
    assert not result.done.item()
    assert result.reward.item() == pytest.approx(result.observation.actor["state"][0, 0].item())
    result = world.step(torch.tensor([[0.5]]))
    assert (result.terminated.item(), result.truncated.item()) == (False, True)


def test_a_deadline_is_a_failure_that_the_critic_sees_coming():
    world = world_of(n=1, time_limit=4, deadline=True)
    assert world.reset([1]).critic["elapsed"].tolist() == [[0.0]]
    assert "elapsed" not in world.spec.interface.observation
    seen = [world.step(torch.zeros(1, 1)) for _ in range(4)]
    assert [result.final_observation.critic["elapsed"].item() for result in seen] == [0.25, 0.5, 0.75, 1.0]
    assert [result.terminated.item() for result in seen] == [False, False, False, True]
    assert not any(result.truncated.item() for result in seen)
    assert seen[-1].observation.critic["elapsed"].item() == 0.0


def test_episodes_depend_on_seed_and_number_alone():
    world = world_of(n=2, time_limit=2)

    def starts(seeds, actions):
        found = [world.reset(seeds).actor["state"][:, 0]]
        for action in actions:
            result = world.step(torch.full((2, 1), action))
            found += [result.observation.actor["state"][:, 0]] if result.done.any() else []
        return torch.stack(found, dim=1)

    one, other = starts([5, 6], [0.1] * 4), starts([6, 5], [-0.3] * 4)
    assert torch.equal(one, other.flip(0))
    assert len(one.unique()) == 6  # three episodes of two seeds, all different


def test_nan_ends_its_own_episode_and_spreads_nowhere():
    world = GymnasiumWorld(
        SyncVectorEnv([lambda: Walk(nan_at=2), Walk], autoreset_mode=AutoresetMode.DISABLED), 10.0, 9
    )
    world.reset([1, 2])
    world.step(torch.zeros(2, 1))
    result = world.step(torch.zeros(2, 1))
    assert result.info["nan"].tolist() == [True, False]
    assert result.terminated.tolist() == [True, False]
    assert not result.success.any()
    assert result.final_observation.actor["state"].isfinite().all()
    assert result.observation.actor["state"][0, 1] == 0.0


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_other_autoreset_modes_are_refused_with_the_way_out(mode):
    with pytest.raises(ScoreError, match=r"AutoresetMode\.DISABLED"):
        GymnasiumWorld(envs_of(mode=mode), 10.0, 5)


def test_unknown_success_key_is_named():
    world = world_of(options={"flag": "is_success"})
    world.reset([1, 2, 3])
    with pytest.raises(ScoreError, match="no 'success'; it has \\['is_success'\\]"):
        world.step(torch.zeros(3, 1))
    assert not world_of(options={"flag": "is_success"}, success="is_success").step(torch.zeros(3, 1)).success.any()


def test_discrete_actions_are_refused():
    disabled = {"autoreset_mode": AutoresetMode.DISABLED}
    envs = gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync", vector_kwargs=disabled)
    with pytest.raises(ScoreError, match="actions must be a Box"):
        GymnasiumWorld(envs, 50.0, 100)


class Odd(SyncVectorEnv):
    """What its step returns besides observation and info may have any shape and size."""

    def __init__(self, change):
        super().__init__([Walk] * 3, autoreset_mode=AutoresetMode.DISABLED)
        self.change = change

    def step(self, actions):
        observation, *ends, info = super().step(actions)
        return observation, *self.change(*ends), info


def test_columns_are_rows_and_other_shapes_are_named():
    def odd(change):
        world = GymnasiumWorld(Odd(change), 10.0, 6, reward="environment")
        world.reset([1, 2, 3])
        return world.step(torch.zeros(3, 1))

    plain, column = odd(lambda *ends: ends), odd(lambda *ends: [values[:, None] for values in ends])
    assert torch.equal(plain.reward, column.reward) and plain.done.shape == column.done.shape == (3,)
    with pytest.raises(ScoreError, match=r"the reward of gymnasium has shape \(2,\), expected one for each of 3"):
        odd(lambda reward, *ends: (reward[:2], *ends))
    with pytest.raises(ScoreError, match=r"truncated of gymnasium has shape \(\)"):
        odd(lambda reward, terminated, truncated: (reward, terminated, False))
    huge = odd(lambda reward, *ends: (reward * 0 + [1.0, 1e300, -np.inf], *ends))
    assert huge.info["nan"].tolist() == [False, True, True] and huge.reward.tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "space",
    [
        spaces.Text(5),
        spaces.Tuple((spaces.Box(0, 1, (2,)), spaces.Box(0, 1, (3,)))),
        spaces.Dict({"a": spaces.Text(3)}),
    ],
    ids=["text", "tuple", "text in a dict"],
)
def test_observations_that_are_no_arrays_are_refused(space):
    class Speaks(Walk):
        observation_space = space

        def _observe(self):
            return space.sample()

    with pytest.raises(ScoreError, match="observations must be Box spaces or a Dict of them"):
        GymnasiumWorld(SyncVectorEnv([Speaks] * 2, autoreset_mode=AutoresetMode.DISABLED), 10.0, 5)


class TestAdroitDoor:
    @pytest.fixture(autouse=True)
    def _needs_gymnasium_robotics(self):
        pytest.importorskip("gymnasium_robotics")

    def test_it_conforms(self):
        check_world(lambda: adroit_door_world(2, time_limit=6))

    def test_spec(self):
        world = adroit_door_world(1)
        assert dict(world.spec.interface.observation) == vectors(state=39) | {"command": world.spec.interface.action}
        privileged = {"qpos": 30, "qvel": 30, "door_body_pos": 3, "elapsed": 1}
        assert dict(world.spec.critic) == vectors(state=39, command=28, **privileged)
        assert (world.spec.interface.control_rate_hz, world.spec.time_limit) == (100.0, 300)

    def test_an_open_door_is_success_and_ends_the_episode(self):
        world = adroit_door_world(1)
        world.reset([3])
        env = world.envs.envs[0].unwrapped
        state = env.get_env_state()
        state["qpos"][env.door_hinge_addrs] = 1.5
        env.set_env_state(state)
        result = world.step(torch.zeros(1, 28))
        assert (result.success.item(), result.terminated.item(), result.reward.item()) == (True, True, 1.0)
        assert result.final_observation.actor["state"][0, 28] > 1.35
        assert result.observation.actor["state"][0, 28] < 0.1
