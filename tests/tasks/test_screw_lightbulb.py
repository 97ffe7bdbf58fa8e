"""Screw Lightbulb: spawn range, what counts as turned, the lamp as it is when nobody touches it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from task_states import at_rest

from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.state import JointState, SceneState
from score_rl.sim.task import get_task
from score_rl.sim.world import SimulatedWorld, make_world

BULB = get_task("screw_lightbulb")
HOME = torch.tensor(FRANKA_LEAP.home)
TURN = 2 * np.pi


def turned(*turns: float, start_rad: float = 0.0) -> SceneState:
    """The bulb as it is after these many turns from where it began."""
    angles = start_rad + TURN * np.array(turns)
    begun, now = (
        {"bulb_turn": JointState(angle, np.zeros(len(turns)))} for angle in (np.full(len(turns), start_rad), angles)
    )
    bodies = {"bulb": at_rest(np.tile([0.545, 0.13, 0.13], (len(turns), 1)))}
    return SceneState(bodies, now, begun=SceneState(bodies, begun))


def wait(world: SimulatedWorld, steps: int) -> None:
    for _ in range(steps):
        world.step(HOME.expand(world.spec.num_envs, -1))


def test_spawn_covers_the_papers_range() -> None:
    generator = np.random.default_rng(0)
    starts = [BULB.spawn(generator, {}) for _ in range(2000)]
    bulb, lamp = (np.array([start[name] for start in starts]) for name in ("bulb", "lamp"))
    assert bulb[:, :2].min(0) == pytest.approx([0.525, 0.10], abs=2e-3)
    assert bulb[:, :2].max(0) == pytest.approx([0.565, 0.16], abs=2e-3)
    assert (bulb[:, 2] == 0.130).all() and (lamp[:, 2] == 0).all()
    assert (bulb[:, :2] == lamp[:, :2]).all() and {start["bulb_turn"] for start in starts} == {0.0}


def test_success_is_more_than_one_turn_from_where_it_began() -> None:
    for start in (0.0, -1.0, 3.0):
        state = turned(0.0, 0.999, 1.001, 1.4, -1.001, start_rad=start)
        assert BULB.success(state).tolist() == [False, False, True, True, False]


def test_rewards_grow_with_the_turn() -> None:
    state = turned(-0.6, 0.0, 0.249, 0.251, 0.499, 0.501, 0.749, 0.751, 1.2)
    amounts = {name: amount for name, (amount, _) in BULB.milestones.items()}
    assert amounts == {"quarter": 1.0, "half": 2.0, "three_quarters": 3.0} and BULB.success_reward == 10.0
    reached = np.array([condition(state) for _, condition in BULB.milestones.values()]).sum(0)
    assert reached.tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3]
    assert BULB.horizon == 256 and BULB.hold_steps == 5


def test_clockwise_from_above_counts_as_screwed_in() -> None:
    world = make_world("screw_lightbulb", "twin", num_envs=1)
    world.reset([0])
    world.engine.qpos[0, world._scene.addresses("bulb_turn")] = 0.5
    w, x, y, z = world.state.body("bulb").quaternion[0]
    assert 2 * np.arctan2(z, w) == pytest.approx(-0.5) and x == y == 0
    world.close()


def test_untouched_for_ten_seconds_everything_stays_where_it_was_put() -> None:
    world = make_world("screw_lightbulb", "proxy", num_envs=1, robot_seed=101)
    world.reset([0])
    before = [world.state.body(name).position.copy() for name in ("bulb", "lamp")]
    wait(world, 100)
    now = world.state
    for name, position in zip(("bulb", "lamp"), before):
        assert now.body(name).position == pytest.approx(position, abs=1e-6)
        assert position == pytest.approx(now.start.body(name).position)
    assert now.joint("bulb_turn").position == pytest.approx(0.0, abs=1e-6)
    world.close()


@pytest.mark.parametrize("domain", ["twin", "proxy_physx"])
def test_the_thread_stops_a_bulb_that_nobody_turns_and_keeps_it_there(domain: str) -> None:
    """At 2 rad/s, an inertia of 2e-3 and a little more, against 0.05 N m: 2^2 x 2.02e-3 / (2 x 0.05) = 0.08 rad."""
    if domain == "proxy_physx":
        pytest.importorskip("sapien")
    world = make_world("screw_lightbulb", domain, num_envs=1)
    world.reset([0])
    world.engine.qvel[0, world.model.joint("bulb_turn").dofadr[0]] = 2.0
    wait(world, 5)
    stopped = world.state.joint("bulb_turn").position[0]
    wait(world, 15)
    joint = world.state.joint("bulb_turn")
    assert joint.position[0] == pytest.approx(0.08, abs=0.02) and joint.velocity[0] == pytest.approx(0.0, abs=1e-3)
    assert joint.position[0] == pytest.approx(stopped, abs=1e-4)
    world.close()


def test_the_bulb_and_its_lamp_do_not_touch_but_a_hand_touches_both() -> None:
    model = SimulatedWorld(BULB, make_world("screw_lightbulb", "twin", 1).domain, 1).model
    kinds = {name: (int(model.geom(name).contype[0]), int(model.geom(name).conaffinity[0])) for name in
             ("bulb", "bulb_neck", "lamp_socket", "lamp_base", "tip_thumb")}  # fmt: skip

    def touch(one: str, other: str) -> bool:
        return bool(kinds[one][0] & kinds[other][1] or kinds[other][0] & kinds[one][1])

    assert not touch("bulb_neck", "lamp_socket")
    assert all(touch("tip_thumb", name) for name in kinds if name != "tip_thumb")
