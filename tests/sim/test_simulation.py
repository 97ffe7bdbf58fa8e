"""The simulated world: episodes, rewards, forces, protective stop, and the contract."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from score_rl.core.errors import ScoreError
from score_rl.core.testing import check_world
from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.domain import Domain, Physics, parse_domain
from score_rl.sim.engines.mujoco import configured_spec
from score_rl.sim.scene import hand_bodies
from score_rl.sim.strain import low_pass
from score_rl.sim.task import get_task, task_names
from score_rl.sim.world import SimulatedWorld, make_world

HOME = torch.tensor(FRANKA_LEAP.home)
GOAL = [0.55, 0.0, 0.35]
PRESS = [0, 0.8, 0, 0, 0, 0, 0]
"""Added to the arm's home, it pushes the fingers into the table."""
FINE = ("pick_card", "place_dishrack", "screw_lightbulb")
"""Tasks whose contacts do not hold at the twin's step of 1/60 s."""


def constant(value: object, level: str = "robot") -> dict:
    return {level: {"distribution": "constant", "value": value}}


def hold(world: SimulatedWorld) -> torch.Tensor:
    return HOME.expand(world.spec.num_envs, -1)


def press(world: SimulatedWorld) -> torch.Tensor:
    return hold(world) + torch.tensor(PRESS + [0.0] * 16)


def put_object(world: SimulatedWorld, row: int, position: list[float]) -> None:
    address = int(world.model.joint("cube").qposadr[0])
    velocity = int(world.model.joint("cube").dofadr[0])
    world.engine.qpos[row, address : address + 3] = position
    world.engine.qvel[row, velocity : velocity + 6] = 0


# ---- contract ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("domain", ["twin", "proxy"])
@pytest.mark.parametrize("task", task_names())
def test_contract(task: str, domain: str) -> None:
    # The whole of an episode is checked once; the tasks differ in their functions of the state alone.
    whole = (task, domain) == ("pinch_cube", "twin")
    check_world(lambda: make_world(task, domain, num_envs=3, robot_seed=1), steps=None if whole else 24)


def test_results_do_not_depend_on_batch_size_or_threads() -> None:
    def play(num_envs: int, threads: int) -> list[torch.Tensor]:
        world = make_world("pinch_cube", "proxy", num_envs, robot_seed=2, threads=threads)
        seen = [world.reset(range(5, 5 + num_envs)).critic["privileged"][:2]]
        generator = torch.Generator().manual_seed(0)
        for _ in range(15):
            action = HOME + 0.3 * torch.randn(5, 23, generator=generator)
            result = world.step(action[:num_envs])
            seen += [result.observation.critic["privileged"][:2], result.info["peak_force_n"][:2]]
            seen += [value[:2] for value in result.final_observation.actor.values()]
        return seen

    for a, b in zip(play(2, 1), play(5, 3)):
        assert torch.equal(a, b)


def test_bad_input_is_refused_before_anything_moves() -> None:
    world = make_world("pinch_cube", "twin", num_envs=2)
    with pytest.raises(ValueError, match="before reset"):
        world.step(hold(world))
    with pytest.raises(ValueError, match="got 1, expected 2"):
        world.reset([1])
    world.reset([1, 2])
    before = world.qpos()
    with pytest.raises(ValueError, match="shape"):
        world.step(HOME)
    with pytest.raises(ValueError, match=r"environment\(s\) \[1\] is not finite"):
        world.step(torch.stack([HOME, HOME * float("nan")]))
    assert np.array_equal(world.qpos(), before)
    with pytest.raises(ScoreError, match="did you mean 'pinch_cube'"):
        make_world("pinch_cub", "twin", 1)
    with pytest.raises(ScoreError, match="at least one environment, got 0"):
        make_world("pinch_cube", "twin", 0)
    with pytest.raises(ScoreError, match="does not divide"):
        make_world("pinch_cube", Domain("odd", physics=Physics(timestep_s=0.03)), 1)


@pytest.mark.parametrize("task", task_names())
def test_what_is_thin_or_turns_in_a_thread_has_half_the_twins_step(task: str) -> None:
    world = make_world(task, "twin", num_envs=1, threads=1)
    world.reset([0])
    world.step(hold(world))
    assert get_task(task).timestep_s == (pytest.approx(1 / 120) if task in FINE else np.inf)
    assert world.engine.model.opt.timestep == pytest.approx(1 / 120 if task in FINE else 1 / 60)
    assert world.engine.batch.bind("time") == pytest.approx(0.1)  # a control step is as long as ever
    world.close()


# ---- robots and episodes -------------------------------------------------------------------------------------


def test_a_robot_keeps_its_errors_while_objects_change() -> None:
    world = make_world("pinch_cube", "proxy", num_envs=4, robot_seed=1)
    world.reset(range(4))
    for name in world.domain.robot:
        assert len({parameters[name].tobytes() for parameters in world.parameters}) == 1
    for name in ("cube.friction", "cube.mass_scale", "cube.size_scale"):
        assert len({parameters[name].tobytes() for parameters in world.parameters}) == 4
    other = make_world("pinch_cube", "proxy", num_envs=4, robot_seed=2)
    other.reset(range(4))
    assert not np.array_equal(world.parameters[0]["hand.joint_bias_rad"], other.parameters[0]["hand.joint_bias_rad"])
    # The objects belong to the seed, whatever the robot.
    assert np.array_equal(world.parameters[0]["cube.friction"], other.parameters[0]["cube.friction"])


def test_a_seed_puts_the_object_at_the_same_place_in_every_world() -> None:
    starts = []
    for domain in ("twin", "proxy"):
        world = make_world("pinch_cube", domain, num_envs=3)
        world.reset([7, 8, 9])
        starts.append(world.qpos()[:, :2])
    assert np.array_equal(*starts)


def test_measured_joints_are_true_joints_minus_their_bias() -> None:
    bias = [0.01 * k for k in range(7)]
    world = make_world("pinch_cube", parse_domain({"arm.joint_bias_rad": constant(bias)}), num_envs=1)
    seen = world.reset([0]).actor
    assert seen["state"][0, :7].tolist() == pytest.approx(np.array(FRANKA_LEAP.home[:7]) - bias, abs=1e-6)
    assert seen["state"][0, 7:].tolist() == pytest.approx(FRANKA_LEAP.home[7:], abs=1e-6)
    # What the robot computes from its joints is off as well; the truth is not.
    honest = make_world("pinch_cube", Domain("nominal"), num_envs=1).reset([0])
    assert (seen["palm_pose"] - honest.actor["palm_pose"]).abs().max() > 0.005


@pytest.mark.parametrize(("table_m", "size"), [(0.0, 1.0), (0.03, 1.0), (-0.02, 1.3)])
def test_the_cube_lies_still_on_the_table_it_was_put_on(table_m: float, size: float) -> None:
    domain = parse_domain({"table.height_m": constant(table_m), "object.size_scale": constant(size, "episode")})
    world = make_world("pinch_cube", domain, num_envs=2)
    world.reset([1, 2])
    start = world.qpos()
    for _ in range(5):
        world.step(hold(world))
    assert world.qpos()[:, 2] == pytest.approx(table_m + 0.0225 * size, abs=5e-4)
    assert world.qpos()[:, :2] == pytest.approx(start[:, :2], abs=1e-4)
    joints = world.qpos()[:, 7:]
    assert joints == pytest.approx(np.tile(FRANKA_LEAP.home, (2, 1)), abs=2e-3)  # gravity is compensated


def test_what_the_critic_sees_is_the_instant_even_when_it_is_read_late() -> None:
    early, late = (make_world("pinch_cube", "proxy", num_envs=2, robot_seed=1) for _ in range(2))
    frames = {"early": [early.reset([3, 4]).critic], "late": [late.reset([3, 4]).critic]}
    for name, world in (("early", early), ("late", late)):
        world._time[1] = 126  # its episode ends in between
        for _ in range(4):
            result = world.step(press(world))
            frames[name] += [result.observation.critic, result.final_observation.critic]
            if name == "early":
                assert all(len(dict(frame)) == 1 for frame in frames[name])
    for one, other in zip(frames["early"], frames["late"]):
        assert torch.equal(one["privileged"], other["privileged"])


# ---- rewards and ends ----------------------------------------------------------------------------------------


def test_a_held_cube_earns_every_reward_once_and_then_the_episode_ends() -> None:
    world = make_world("pinch_cube", "twin", num_envs=2)
    world.reset([0, 1])
    rewards, results = [], []
    for _ in range(5):
        put_object(world, 0, [GOAL[0], GOAL[1], GOAL[2] + 0.05])  # falls 5 cm within the step
        results.append(world.step(hold(world)))
        rewards.append(results[-1].reward.tolist())
    # Lifted (1) and raised (5) at once; success (10) when it was held for five steps; nothing for the other cube.
    assert rewards == [[6, 0], [0, 0], [0, 0], [0, 0], [10, 0]]
    assert [bool(result.success[0]) for result in results] == [True] * 5
    assert [result.terminated.tolist() for result in results] == [[False, False]] * 4 + [[True, False]]
    last = results[-1]
    assert not last.truncated.any()
    assert last.final_observation.actor["object_pose"][0, 2] > 0.3  # of the ended episode
    assert last.observation.actor["object_pose"][0, 2] < 0.05  # of the next one
    assert last.observation.actor["state"][0].tolist() == pytest.approx(FRANKA_LEAP.home, abs=0.01)
    assert torch.equal(last.observation.critic["privileged"][1], last.final_observation.critic["privileged"][1])
    # Milestones are paid again in the next episode.
    put_object(world, 0, [GOAL[0], GOAL[1], GOAL[2] + 0.05])
    assert world.step(hold(world)).reward.tolist() == [6, 0]


def test_success_must_hold_without_a_break() -> None:
    world = make_world("pinch_cube", "twin", num_envs=1)
    world.reset([0])
    done = []
    for k in range(9):
        put_object(world, 0, [GOAL[0], GOAL[1], 0.0225 if k == 3 else GOAL[2] + 0.05])
        done.append(bool(world.step(hold(world)).terminated))
    assert done == [False] * 8 + [True]  # three, a break, five


@pytest.mark.parametrize("task", task_names())
def test_a_robot_that_holds_its_last_command_fails_at_the_time_limit(task: str) -> None:
    world = make_world(task, "twin", num_envs=1, threads=1)
    observation, results = world.reset([0]), []
    for _ in range(world.task.horizon):
        results.append(world.step(observation.actor["command"]))
        observation = results[-1].final_observation
    assert [bool(result.truncated) for result in results] == [False] * (world.task.horizon - 1) + [True]
    assert not any(bool(result.terminated) or bool(result.success) or result.reward.any() for result in results)
    world.close()


# ---- forces and the protective stop --------------------------------------------------------------------------


def test_force_filter_by_hand() -> None:
    # 40 N from rest, steps of 2.5 ms, time constant 10 ms: 40 (1 - exp(-k / 4)) passes 30 N at the sixth step,
    # since 4 ln 4 = 5.5.
    decay = np.exp(-2.5 / 10)
    filtered = low_pass(np.full((1, 8, 1), 40.0), np.zeros((1, 1)), decay)[0, :, 0]
    assert filtered == pytest.approx([40 * (1 - np.exp(-k / 4)) for k in range(1, 9)])
    assert np.argmax(filtered > 30) + 1 == 6
    # It goes on where it was: from 30 N without contact, one time constant later 30 / e.
    assert low_pass(np.zeros((1, 4, 1)), np.full((1, 1), 30.0), decay)[0, -1, 0] == pytest.approx(30 / np.e)
    # A spike of one physics step, 100 N, is no fault.
    spike = np.zeros((1, 8, 1))
    spike[0, 2] = 100
    assert low_pass(spike, np.zeros((1, 1)), decay).max() == pytest.approx(100 * (1 - decay))


def test_the_protective_stop_ends_the_episode_as_a_failure() -> None:
    physics = {"timestep_s": 0.0025}
    stopped = parse_domain({"physics": physics, "protective_stop": {"force_n": 30.0}})
    worlds = [make_world("pinch_cube", domain, 1) for domain in (stopped, parse_domain({"physics": physics}))]
    for world in worlds:
        world.reset([0])
    for _ in range(20):
        put_object(worlds[0], 0, GOAL)  # success would hold, but for the stop
        results = [world.step(press(world)) for world in worlds]
        fault = bool(results[0].info["fault"])
        assert fault == bool(results[0].info["peak_force_n"] > 30)
        assert not results[1].info["fault"] and not results[1].terminated  # no stop: the same press goes on
        if fault:
            break
    assert fault and bool(results[0].terminated) and not results[0].success and results[0].reward == 0
    # The next episode starts without the memory of the old force.
    assert worlds[0].step(hold(worlds[0])).info["peak_force_n"] < 1


def test_recorded_forces_are_the_net_contact_forces_of_the_links() -> None:
    spec = configured_spec(get_task("pinch_cube"), Physics(timestep_s=0.0025))
    bodies = hand_bodies(spec)
    assert len(bodies) == 12 and "thumb_distal" in bodies and "hand" in bodies
    model = spec.compile()
    data = mujoco.MjData(model)
    data.qpos[:3] = [0.9, 0.5, 0.0225]
    for name, start, offset in zip(FRANKA_LEAP.joint_names, FRANKA_LEAP.home, PRESS + [0.0] * 16):
        data.joint(name).qpos[0], data.actuator(name).ctrl[0] = start, start + offset
    touched: set[str] = set()
    for _ in range(400):
        mujoco.mj_step(model, data)
        mujoco.mj_forward(model, data)
        net = {body: np.zeros(3) for body in bodies}
        for index, contact in enumerate(data.contact):
            wrench = np.zeros(6)
            mujoco.mj_contactForce(model, data, index, wrench)
            force = contact.frame.reshape(3, 3).T @ wrench[:3]  # from the first geom on the second
            for geom, sign in ((contact.geom1, -1), (contact.geom2, 1)):
                body = model.body(model.geom_bodyid[geom]).name
                if body in net:
                    net[body] += sign * force
        for body, force in net.items():
            sensed = data.sensor(f"force_{body}").data
            assert np.linalg.norm(sensed) == pytest.approx(np.linalg.norm(force), abs=1e-6)
            touched |= {body} if np.linalg.norm(force) > 1 else set()
    assert len(touched) >= 2
