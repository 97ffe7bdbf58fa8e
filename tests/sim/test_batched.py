"""Batched torch environments as worlds, on a stand-in with ManiSkill's interface."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import gymnasium
import pytest
import torch

from score_rl.core.errors import ScoreError
from score_rl.core.seeding import torch_generator
from score_rl.core.testing import check_world
from score_rl.sim.adapters.batched import BatchedWorld
from score_rl.sim.open import open_world


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


class Walks(Walk):
    """With what else is read of ManiSkill's environments."""

    control_freq = 20

    def __init__(self, num_envs: int, obs_mode: str, speed: float = 0.5) -> None:
        super().__init__(num_envs)
        assert obs_mode == "state"
        self.single_action_space = gymnasium.spaces.Box(-speed, speed, (1,))


def test_maniskills_environments_open_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for its registry: `make` gives the environment without its time limit."""
    registered = {
        "Walk-v1": SimpleNamespace(max_episode_steps=5, make=Walks),
        "Endless-v1": SimpleNamespace(max_episode_steps=None, make=Walks),
    }
    for name in ("mani_skill", "mani_skill.envs", "mani_skill.utils", "mani_skill.utils.registration"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["mani_skill.utils.registration"].REGISTERED_ENVS = registered
    sys.modules["mani_skill"].envs = sys.modules["mani_skill.envs"]
    world = open_world("maniskill:Walk-v1?speed=0.25", 3)
    check_world(lambda: open_world("maniskill:Walk-v1", 3))
    assert (world.spec.time_limit, world.spec.interface.control_rate_hz, world.spec.name) == (5, 20.0, "Walk-v1")
    assert (world.spec.action_low, world.spec.action_high) == ((-0.25,), (0.25,))
    assert open_world("maniskill:Endless-v1?time_limit=9", 2).spec.time_limit == 9
    for uri, reason in (("Walk-v2", "'Walk-v2'.*Walk-v1"), ("Endless-v1", "pass time_limit=NUMBER")):
        with pytest.raises(ScoreError, match=reason):
            open_world(f"maniskill:{uri}", 2)


def test_without_maniskill_it_is_missed_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mani_skill", None)
    with pytest.raises(ScoreError, match="maniskill:PickCube-v1 needs mani_skill"):
        open_world("maniskill:PickCube-v1", 2)
