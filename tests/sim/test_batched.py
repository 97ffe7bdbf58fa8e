"""Batched torch environments as worlds, on a stand-in with ManiSkill's interface."""

from __future__ import annotations

import pytest
import torch

from score_rl.core.errors import ScoreError
from score_rl.core.seeding import torch_generator
from score_rl.core.testing import check_world
from score_rl.sim.adapters.batched import BatchedWorld


class Walk:
    """Moves by the action from a place that the first of the seeds of those that begin draws; solved beyond 1."""

    def __init__(self, num_envs: int = 3, device: str = "cpu", nan_at: int = 0) -> None:
        self.num_envs, self.device, self.nan_at, self.closed = num_envs, torch.device(device), nan_at, 0
        self.state = torch.zeros(num_envs, 2, device=device)

    def reset(self, *, seed=None, options=None):
        rows = options.get("env_idx", torch.arange(self.num_envs, device=self.device))
        assert len(seed) == len(rows) and rows.device == self.device
        place = torch.rand(len(rows), generator=torch_generator("walk", seed[0]))
        self.state[rows, 0], self.state[rows, 1] = 0.4 * place.to(self.device) - 0.2, 0.0
        return self.state, {"reconfigure": False}

    def step(self, action: torch.Tensor):
        assert action.device == self.device
        self.state += torch.cat([action, torch.ones_like(action)], dim=1)  # in place: the same tensor at every step
        if self.nan_at:
            self.state[0, 0] = torch.where(self.state[0, 1] == self.nan_at, torch.nan, self.state[0, 0])
        success = self.state[:, 0] > 1
        none = torch.zeros_like(success)
        return self.state, self.state[:, 0], none, none, {"success": success, "elapsed_steps": self.state[:, 1]}

    def close(self) -> None:
        self.closed += 1


def world_of(env: Walk | None = None, **options) -> BatchedWorld:
    return BatchedWorld(env or Walk(), 20.0, 5, [-0.5], [0.5], **options)


def test_it_conforms() -> None:
    check_world(world_of)
    assert not world_of().spec.row_seeds


def test_an_episode_by_hand() -> None:
    world = world_of()
    first = world.reset([1, 2, 3]).actor["state"].clone()
    step = torch.tensor([[0.5], [9.0], [0.0]])  # 9 is clipped to 0.5
    results = [world.step(step) for _ in range(5)]
    moved = results[0].observation.actor["state"] - first
    assert moved.tolist() == [pytest.approx(x) for x in ([0.5, 1], [0.5, 1], [0, 1])]
    solved = next(result for result in results if result.success[0])
    assert solved.reward[0] == 1 and solved.terminated[0] and not solved.truncated[0]
    assert solved.final_observation.actor["state"][0, 0] > 1 and solved.observation.actor["state"][0, 1] == 0
    assert solved.observation.actor["command"][0] == 0 and solved.final_observation.actor["command"][0] == 0.5
    assert [result.truncated[2].item() for result in results] == [False] * 4 + [True]


def test_what_comes_in_is_moved_to_the_device_and_type_of_the_environment() -> None:
    world = world_of()
    result = world.step(torch.zeros(3, 1, dtype=torch.float64))
    returned = (*result.observation.actor.values(), result.reward, result.success, result.info["nan"])
    assert {str(value.device) for value in returned} == {world.spec.device} == {"cpu"}
    assert result.observation.actor["state"].dtype == torch.float32


def test_nan_ends_its_row_alone() -> None:
    world = world_of(Walk(nan_at=2))
    world.reset([1, 2, 3])
    world.step(torch.zeros(3, 1))
    result = world.step(torch.zeros(3, 1))
    assert result.info["nan"].tolist() == result.terminated.tolist() == [True, False, False]
    assert result.final_observation.actor["state"].isfinite().all() and not result.success.any()
    assert result.observation.actor["state"][0, 1] == 0


def test_what_cannot_be_a_world_is_refused() -> None:
    with pytest.raises(ScoreError, match="must be finite, the lower one less"):
        BatchedWorld(Walk(), 20.0, 5, [0.5], [0.5])
    with pytest.raises(ScoreError, match=r"info has no 'solved'; it has \['elapsed_steps', 'success'\]"):
        world_of(success="solved").step(torch.zeros(3, 1))
    with pytest.raises(ScoreError, match="time_limit must be at least 1"):
        BatchedWorld(Walk(), 20.0, 0, [-0.5], [0.5])
    world = world_of(success="reward>1")
    world.close()
    world.close()
    assert world.env.closed == 1
