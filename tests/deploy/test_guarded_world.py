"""A world behind guards: nothing calm is changed, nothing wild arrives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from score_rl.deploy.bundle.spec import franka_leap_limits
from score_rl.deploy.guard.guarded_world import GuardedWorld
from score_rl.deploy.guard.limits import guard_limits
from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.world import SimulatedWorld, make_world


def guarded(num_envs: int, chunk_steps: int = 0) -> GuardedWorld:
    world = make_world("pinch_cube", "twin", num_envs, threads=1)
    return GuardedWorld(world, guard_limits(franka_leap_limits()), None, chunk_steps)


def test_what_is_no_command_is_held_or_refused() -> None:
    world = guarded(1)
    held = world.reset([1]).actor["command"]
    result = world.step(torch.full((1, 23), torch.nan))
    assert torch.equal(result.observation.actor["command"], held)
    assert dict(world.counts) == {("hold", "command_not_finite"): 1}
    with pytest.raises(ValueError, match=r"\(22,\)"):
        world.step(torch.zeros(1, 22))


def test_calm_commands_change_nothing_and_wild_ones_are_limited() -> None:
    bare, behind = make_world("pinch_cube", "twin", 2, threads=1), guarded(2)
    held = bare.reset([1, 2]).actor["command"]
    behind.reset([1, 2])
    for k in range(5):
        one, other = bare.step(held + 0.01 * k), behind.step(held + 0.01 * k)
        for key, values in one.observation.actor.items():
            assert torch.equal(values, other.observation.actor[key])
    assert dict(behind.counts) == {("pass", ""): 10}
    wild = behind.step(torch.full((2, 23), 9.0)).observation.actor["command"].numpy()
    step = np.array(FRANKA_LEAP.velocity_limit_rad_s) * 0.1
    assert (abs(wild - (held + 0.04).numpy()) <= step + 1e-6).all()
    assert behind.counts["clip", "velocity"] == 2
    assert isinstance(behind.world, SimulatedWorld) and behind.domain is behind.world.domain


def test_chunks_are_blended_at_their_first_step() -> None:
    world = guarded(1, chunk_steps=2)
    held = world.reset([1]).actor["command"]
    for _ in range(2):
        world.step(held + torch.eye(23)[22] * 1.5)
    assert world.counts["blend", "jump"] == 2
