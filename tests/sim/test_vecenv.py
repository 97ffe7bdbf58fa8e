"""rsl_rl environments as worlds, on an environment that walks along a line."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from score_rl.core.errors import ScoreError
from score_rl.core.seeding import torch_generator
from score_rl.core.testing import check_world
from score_rl.sim.adapters.vecenv import VecEnvWorld


class Groups:
    """Like a TensorDict: it has keys and items, and refuses to say whether it contains a key."""

    def __init__(self, groups: dict[str, torch.Tensor]) -> None:
        self._groups = groups

    def keys(self):
        return self._groups.keys()

    def __getitem__(self, key: str) -> torch.Tensor:
        return self._groups[key]

    def __contains__(self, key: object) -> bool:
        raise NotImplementedError


class Walk:
    """Position moves by the action and is solved beyond 1; rows reset themselves, as rsl_rl's environments do."""

    def __init__(self, num_envs: int = 3, max_episode_length: int = 5, nan_at: float | None = None):
        self.num_envs, self.num_actions, self.max_episode_length = num_envs, 1, max_episode_length
        self.device, self.cfg, self.nan_at, self.closed = "cpu", {}, nan_at, 0
        self.seeds, self.episode = [0] * num_envs, [0] * num_envs
        self.position = torch.zeros(num_envs)
        self.episode_length_buf = torch.zeros(num_envs, dtype=torch.long)

    def start(self, row: int) -> None:
        generator = torch_generator("walk", self.seeds[row], self.episode[row])
        self.position[row] = 0.4 * torch.rand((), generator=generator) - 0.2
        self.episode_length_buf[row] = 0

    def get_observations(self) -> Groups:
        policy = torch.stack([self.position, self.episode_length_buf.float()], dim=1)
        return Groups({"policy": policy, "critic": policy[:, :1]})

    def step(self, actions: torch.Tensor) -> tuple[Groups, torch.Tensor, torch.Tensor, dict]:
        self.position += actions[:, 0]
        self.episode_length_buf += 1
        if self.nan_at is not None:
            self.position[self.position > self.nan_at] = torch.nan
        success = self.position > 1
        time_outs = self.episode_length_buf >= self.max_episode_length
        done = success | time_outs
        extras = {"time_outs": time_outs & ~success, "success": success, "final": self.get_observations()}
        for row in torch.nonzero(done).flatten().tolist():
            self.episode[row] += 1
            self.start(row)
        return self.get_observations(), success.float(), done, extras

    def close(self) -> None:
        self.closed += 1


def reset_rows(env: Walk, seeds: Sequence[int]) -> None:
    env.seeds, env.episode = list(seeds), [0] * env.num_envs
    for row in range(env.num_envs):
        env.start(row)


def world_of(env: Walk | None = None, **arguments) -> VecEnvWorld:
    options = {"reset": reset_rows, "final": lambda extras: extras["final"], **arguments}
    return VecEnvWorld(env or Walk(), 10.0, [-0.5], [0.5], success=lambda extras: extras["success"], **options)


def actions(*values: float) -> torch.Tensor:
    return torch.tensor(values)[:, None]


def test_it_conforms() -> None:
    check_world(world_of)


def test_spec() -> None:
    spec = world_of(name="walk").spec
    assert spec.actor == {"policy": 2, "command": 1} and spec.critic == {"critic": 1}
    assert (spec.num_envs, spec.time_limit, spec.name, spec.action_names) == (3, 5, "walk", ("action_0",))


def test_an_episode_by_hand() -> None:
    def place(env: Walk, seeds: Sequence[int]) -> None:
        env.position[:] = torch.tensor([0.3, 0.0, 0.0])

    world = world_of(reset=place)
    world.reset([0, 0, 0])
    first = world.step(actions(0.5, 9.0, -0.1))  # 9 is clipped to 0.5
    assert first.observation.actor["command"][:, 0].tolist() == pytest.approx([0.5, 0.5, -0.1])
    assert first.observation.critic["critic"][:, 0].tolist() == pytest.approx([0.8, 0.5, -0.1])
    assert not first.done.any() and first.reward.tolist() == [0, 0, 0]
    second = world.step(actions(0.5, 0.4, -0.1))
    assert second.final_observation.actor["policy"].tolist() == [
        pytest.approx(x) for x in ([1.3, 2], [0.9, 2], [-0.2, 2])
    ]
    assert second.success.tolist() == second.terminated.tolist() == [True, False, False]
    assert second.reward.tolist() == [1, 0, 0] and not second.truncated.any()
    # The first row is in its next episode already: another position, no step made, no command sent.
    assert abs(second.observation.actor["policy"][0, 0]) <= 0.2 and second.observation.actor["policy"][0, 1] == 0
    assert second.observation.actor["command"][:, 0].tolist() == pytest.approx([0, 0.4, -0.1])
    assert second.final_observation.actor["command"][0] == 0.5


def test_time_limit_is_truncation() -> None:
    world = world_of()
    world.reset([1, 2, 3])
    results = [world.step(actions(0, 0, 0)) for _ in range(5)]
    assert [result.truncated.any().item() for result in results] == [False] * 4 + [True]
    assert not any(result.terminated.any() for result in results)


def test_without_a_final_observation_the_one_before_stands_for_it() -> None:
    world = world_of(final=None)
    world.reset([1, 2, 3])
    results = [world.step(actions(0.01, 0.02, 0.03)) for _ in range(5)]
    before, last = results[-2].observation.actor, results[-1]
    assert torch.equal(last.final_observation.actor["policy"], before["policy"])
    assert not torch.equal(last.observation.actor["policy"], before["policy"])


def test_nan_ends_its_row_only() -> None:
    world = world_of(Walk(nan_at=0.4))
    world.reset([1, 2, 3])
    result = world.step(actions(0.0, 0.0, 0.0))
    assert not result.info["nan"].any()
    for _ in range(2):
        result = world.step(actions(0.0, 0.4, 0.0))
    assert result.info["nan"].tolist() == result.terminated.tolist() == [False, True, False]
    for seen in (result.observation, result.final_observation):
        assert all(value.isfinite().all() for value in (*seen.actor.values(), *seen.critic.values()))


def test_default_reset_seeds_the_environment() -> None:
    class Seeded(Walk):
        def seed(self, seed: int) -> None:
            self.seeds = [seed + row for row in range(self.num_envs)]

        def reset(self) -> None:
            reset_rows(self, self.seeds)

    def first(seeds: Sequence[int]) -> torch.Tensor:
        world = VecEnvWorld(Seeded(), 10.0, [-1], [1], success=lambda extras: extras["success"])
        return world.reset(seeds).actor["policy"]

    assert torch.equal(first([1, 2, 3]), first([1, 2, 3]))
    assert not torch.equal(first([1, 2, 3]), first([1, 2, 4]))
    with pytest.raises(ScoreError, match="Walk has no seed and no reset"):
        VecEnvWorld(Walk(), 10.0, [-1], [1], success=lambda extras: extras["success"]).reset([1, 2, 3])


def test_errors() -> None:
    world = world_of()
    with pytest.raises(ScoreError, match="3 environments, got 1 seeds"):
        world.reset([1])
    with pytest.raises(ScoreError, match="takes actions"):
        world.step(torch.zeros(3, 2))
    with pytest.raises(ScoreError, match="must be finite"):
        world.step(actions(0, float("nan"), 0))
    with pytest.raises(ScoreError, match=r"no observation group 'camera'; it has \['critic', 'policy'\]"):
        world_of(actor=("camera",))
    with pytest.raises(ScoreError, match="1 actions; got 2 lower"):
        VecEnvWorld(Walk(), 10.0, [-1, -1], [1], success=lambda extras: extras["success"])


def test_close_twice() -> None:
    world = world_of()
    world.close()
    world.close()
    assert world.env.closed == 1
