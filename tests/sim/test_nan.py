"""Diverged physics: it ends one episode, never spreads, is counted, dumped, and can be replayed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from score_rl.contracts import Observation
from score_rl.core.errors import ScoreError
from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.domain import parse_domain
from score_rl.sim.nan_replay import replay_nan_dump
from score_rl.sim.world import SimulatedWorld, make_world

HOME = torch.tensor(FRANKA_LEAP.home)
EXPLOSIVE = parse_domain({"name": "explosive", "physics": {"timestep_s": 0.1}})
"""Physics steps six times as long as the twin's: random motion diverges within seconds."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo writes its warnings into a log in the current folder."""
    monkeypatch.chdir(tmp_path)


def tensors(observation: Observation) -> Mapping[str, torch.Tensor]:
    return {**observation.actor, **observation.critic}


def world_of(n: int) -> SimulatedWorld:
    world = make_world("pinch_cube", "proxy", n, robot_seed=1)
    world.reset(range(n))
    return world


@pytest.mark.parametrize("poison", [np.nan, np.inf, 1e12])
def test_one_episode_ends_and_the_others_do_not_notice(poison: float) -> None:
    world, healthy = world_of(3), world_of(3)
    for step in range(4):
        if step in (1, 2):  # twice in a row: the second must be seen as well
            world.engine.qvel[1, 8] = poison
        result, expected = (w.step(HOME.expand(3, -1)) for w in (world, healthy))
        hit = step in (1, 2)
        assert result.info["nan"].tolist() == [False, hit, False]
        assert result.terminated.tolist() == [False, hit, False]
        assert not result.success[1] and (not hit or result.reward[1] == 0)
        for seen in (result.observation, result.final_observation):
            assert all(value.isfinite().all() for value in tensors(seen).values())
        assert result.info["peak_force_n"].isfinite().all()
        for name, value in tensors(result.observation).items():
            assert torch.equal(value[[0, 2]], tensors(expected.observation)[name][[0, 2]])
    assert world.nan_count == 2


def test_after_a_divergence_the_next_episode_is_the_seeds_next() -> None:
    world, other = world_of(2), world_of(2)
    world.engine.qvel[0, 8] = np.nan
    after = world.step(HOME.expand(2, -1)).observation
    other.reset([0, 1], episodes=[1, 0])
    first_frame = {name: value[0] for name, value in tensors(after).items()}
    other._start_episodes(np.array([0]))
    again = tensors(other._observe())
    assert all(torch.equal(value, again[name][0]) for name, value in first_frame.items())


def test_dumps_reproduce_the_divergence(tmp_path: Path) -> None:
    world = make_world("pinch_cube", EXPLOSIVE, num_envs=4, robot_seed=3, nan_dump_dir=tmp_path / "dumps")
    world.reset([1, 2, 3, 4])
    low, high = (np.array(bound) for bound in (world.spec.action_low, world.spec.action_high))
    generator = np.random.default_rng(0)
    for _ in range(40):
        world.step(torch.tensor(generator.uniform(low, high, (4, 23)), dtype=torch.float32))
    dumps = sorted((tmp_path / "dumps").glob("*.json"))
    assert len(dumps) == world.nan_count >= 3
    assert any("episode0" not in dump.name for dump in dumps), "a later episode should be among them"
    for dump in dumps:
        replay = replay_nan_dump(dump)
        assert replay.diverged
        assert np.isfinite(replay.qpos).all()


def test_a_replay_that_stays_finite_says_so(tmp_path: Path) -> None:
    world = make_world("pinch_cube", "twin", num_envs=1, nan_dump_dir=tmp_path)
    world.reset([0])
    world.step(HOME.expand(1, -1))
    world.engine.qvel[0, 8] = np.nan  # nothing that a replay would meet
    world.step(HOME.expand(1, -1))
    [dump] = tmp_path.glob("*.json")
    replay = replay_nan_dump(dump)
    assert not replay.diverged and len(replay.qpos) == 2


def test_a_file_that_is_no_dump(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"task": "pinch_cube"}')
    with pytest.raises(ScoreError, match="no dump of a diverged episode"):
        replay_nan_dump(tmp_path / "other.json")
