"""Worlds by URI."""

from __future__ import annotations

from pathlib import Path

import pytest

from score_rl.core.errors import ScoreError
from score_rl.sim.domain import load_domain, save_domain
from score_rl.sim.open import check_world, domain_file, is_domain, open_world, world_label


def test_a_domain_is_the_tasks_scene(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    save_domain(mine, load_domain("twin"))
    world = open_world(mine, 2, "push_ball")
    assert (world.spec.name, world.spec.num_envs) == ("push_ball/twin", 2)
    assert is_domain(mine) and world_label(mine) == world_label("twin") == "twin" and domain_file(mine) == mine


def test_a_factory_is_any_other_world() -> None:
    uri = "toys:ToyWorld?time_limit=7&name=mine"
    world = open_world(uri, 3)
    assert (world.spec.num_envs, world.spec.time_limit, world.spec.name) == (3, 7, "mine")
    assert not is_domain(uri) and world_label(uri) == uri and domain_file(uri) is None


@pytest.mark.parametrize(
    ("uri", "task", "message"),
    [
        ("prxy", "pinch_cube", "unknown world 'prxy'; did you mean 'proxy'?"),
        ("twin", "pinch", "unknown task 'pinch'; did you mean 'pinch_cube'?"),
        ("twin", "adroit_door", "which has no scene of its own"),
        ("no.toml", "pinch_cube", "domain file no.toml does not exist"),
        ("gymnsium:CartPole-v1", "pinch_cube", "'gymnsium'; did you mean 'gymnasium'?"),
        ("vecnv:module:factory", "pinch_cube", "'vecnv'; did you mean 'vecenv'?"),
        ("toys:ToyWorld?limit=7", "pinch_cube", "did you mean 'time_limit'?"),
        ("toys:ToyWorld?num_envs=7", "pinch_cube", "unknown option"),
        ("toys:ToyPolicy", "pinch_cube", "must take an argument num_envs"),
    ],
)
def test_what_is_no_world_is_said_before_it_is_built(uri: str, task: str, message: str) -> None:
    with pytest.raises(ScoreError) as error:
        check_world(uri, task)
    assert message in str(error.value)
