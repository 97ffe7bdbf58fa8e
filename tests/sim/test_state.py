"""State by name: kinematics against MuJoCo's own, and a world of several objects from spawn to critic."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch
from parts import BLOCK_KG, BLOCK_M, CUP_KG, FLOOR_M, TASK

from score_rl.core.errors import ScoreError
from score_rl.core.testing import check_world
from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim import rotations_numpy as rotations
from score_rl.sim.domain import Domain, load_domain, parse_domain
from score_rl.sim.draws import Draws
from score_rl.sim.engines.mujoco import MujocoEngine
from score_rl.sim.state import Configuration, SceneState
from score_rl.sim.task import Task, TaskObject, get_task
from score_rl.sim.world import SimulatedWorld

HOME = torch.tensor(FRANKA_LEAP.home)
GRAVITY = 9.81


def constant(value: float, level: str = "episode") -> dict:
    return {level: {"distribution": "constant", "value": value}}


def world_of(domain: Domain | dict, n: int = 2, **options: int) -> SimulatedWorld:
    domain = domain if isinstance(domain, Domain) else parse_domain(domain)
    world = SimulatedWorld(TASK, domain, n, threads=1, **options)
    world.reset(range(n))
    return world


def wait(world: SimulatedWorld, steps: int) -> None:
    for _ in range(steps):
        world.step(HOME.expand(world.spec.num_envs, -1))


# ---- kinematics ----------------------------------------------------------------------------------------------

CHAIN = """
<mujoco><option gravity="0 0 0"/><worldbody>
  <body name="box" pos="0 0 1"><freejoint/><geom size=".1"/>
    <body name="lid" pos=".1 .2 .3" quat=".8 .6 0 0">
      <joint name="hinge" axis="0 .6 .8" pos=".05 0 -.02"/><joint name="slide" type="slide" axis="1 0 0"/>
      <geom size=".1"/>
      <body name="knob" pos="0 0 .1"><joint name="turn" axis="0 0 1" ref=".2" pos="0 .03 0"/><geom size=".1"/></body>
    </body>
  </body>
  <body name="post" pos="1 2 3" quat="0 1 0 0"><geom size=".1"/>
    <body name="door" pos="0 .1 0"><joint name="door" axis="0 0 -1"/><geom size=".1"/></body>
  </body>
</worldbody></mujoco>
"""


def test_bodies_and_joints_agree_with_mujoco() -> None:
    model = mujoco.MjModel.from_xml_string(CHAIN)
    generator, n = np.random.default_rng(0), 3
    qpos, qvel = generator.normal(size=(n, model.nq)), generator.normal(size=(n, model.nv))
    qpos[:, 3:7] /= np.linalg.norm(qpos[:, 3:7], axis=1, keepdims=True)
    scene, data = Configuration(model, qpos, qvel), mujoco.MjData(model)
    names = ("box", "lid", "knob", "post", "door")
    states = {name: scene.bodies[name] for name in names}
    assert set(scene.joints) == {"hinge", "slide", "turn", "door"}
    for row in range(n):
        data.qpos[:], data.qvel[:] = qpos[row], qvel[row]
        mujoco.mj_forward(model, data)
        for joint in scene.joints:
            assert scene.joints[joint].position[row] == data.joint(joint).qpos[0]
            assert scene.joints[joint].velocity[row] == data.joint(joint).qvel[0]
        for name, state in states.items():
            twist, body = np.zeros(6), model.body(name).id
            mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, body, twist, 0)
            assert state.position[row] == pytest.approx(data.xpos[body])
            frame = rotations.matrix(state.quaternion[row : row + 1])[0]
            assert frame == pytest.approx(data.xmat[body].reshape(3, 3), abs=1e-12)
            assert state.linear_velocity[row] == pytest.approx(twist[3:])
            assert frame @ state.angular_velocity[row] == pytest.approx(twist[:3])


def test_offsets_of_an_environment_move_its_bodies() -> None:
    model = mujoco.MjModel.from_xml_string(CHAIN)
    scene = Configuration(model, np.tile(model.qpos0, (2, 1)), np.zeros((2, model.nv)))
    door = model.body("door").id
    scene.offset[1, door] *= 3
    # The post is turned by half a turn about x: 0.1 along its y is -0.1 in the world.
    assert scene.bodies["door"].position == pytest.approx(np.array([[1, 1.9, 3], [1, 1.7, 3]]))


def test_names_that_are_not_there_are_errors_with_the_choices() -> None:
    state = world_of({}).state
    with pytest.raises(ScoreError, match="unknown body 'blok'; did you mean 'block'"):
        state.body("blok")
    with pytest.raises(ScoreError, match="unknown joint 'flap'; did you mean 'flap_hinge'"):
        state.joint("flap")
    with pytest.raises(ScoreError, match=r"unknown contact \(see Task.contacts\) .*flap"):
        state.contact_force("flap", "cup")
    assert isinstance(state.start, SceneState)


# ---- a world of several objects ------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", ["twin", "proxy"])
def test_contract(domain: str) -> None:
    check_world(lambda: SimulatedWorld(TASK, load_domain(domain), 3, robot_seed=1), steps=12)


def test_everything_begins_where_the_task_puts_it_and_stays() -> None:
    world = world_of({"table": {"height_m": constant(0.02, "robot")}, "cup.size_scale": constant(1.1)})
    state = world.state
    start = {name: state.body(name).position.copy() for name in ("cup", "block", "flap")}
    assert start["cup"][:, 2] == pytest.approx(0.02)
    assert start["block"][:, 2] == pytest.approx(0.02 + 1.1 * FLOOR_M + BLOCK_M / 2)
    assert start["flap"] == pytest.approx(np.tile([0.5, -0.3, 0.22], (2, 1)))  # fixed things stand on the table
    assert start["cup"][:, :2] == pytest.approx(start["block"][:, :2]) and start["cup"][0, 0] != start["cup"][1, 0]
    assert state.joint("flap_hinge").position.tolist() == [0.3, 0.3]
    wait(world, 8)
    assert world.qpos()[:, world._scene.addresses("flap_hinge")] == pytest.approx(0.3, abs=0.01)  # dry friction
    now = world.state
    for name, position in start.items():
        assert now.body(name).position == pytest.approx(position, abs=1e-3)
        assert now.start.body(name).position == pytest.approx(position, abs=1e-12)
    assert now.start.body("block").linear_velocity.tolist() == np.zeros((2, 3)).tolist()


def test_a_task_places_what_is_jointed_to_the_world_anew_in_every_episode() -> None:
    def placed(name: str) -> Task:
        def spawn(generator: np.random.Generator, parameters: dict) -> dict:
            return TASK.spawn(generator, parameters) | {name: np.array([0.4, generator.uniform(-0.4, -0.2), 0.2])}

        return replace(TASK, spawn=spawn)

    domain = parse_domain({"table": {"height_m": constant(0.02, "robot")}})
    world = SimulatedWorld(placed("flap"), domain, 2, threads=1)
    engine, flaps = world.engine, []
    assert isinstance(engine, MujocoEngine)
    place = engine.batch.bind("xpos")
    for seeds in ([0, 1], [2, 3]):
        world.reset(seeds)
        flap = world.state.body("flap").position
        assert flap[:, [0, 2]] == pytest.approx(np.array([[0.4, 0.22]] * 2)) and flap[0, 1] != flap[1, 1]
        engine.batch.forward(np.arange(2), stage=mujoco.mjtStage.mjSTAGE_POS)
        assert place[:, engine.model.body("flap").id] == pytest.approx(flap)
        flaps.append(flap)
    assert not np.allclose(*flaps)
    with pytest.raises(ScoreError, match="unknown object of task 'parts' that is placed 'cup'"):
        SimulatedWorld(placed("cup"), domain, 1).reset([0])


def test_forces_between_named_things_are_their_weights() -> None:
    world = world_of({"block.mass_scale": constant(2.0)})
    assert not world.state.contact_force("block", "cup").any()  # at the start of an episode
    wait(world, 12)
    state = world.state
    assert state.contact_force("block", "cup") == pytest.approx(2 * BLOCK_KG * GRAVITY, rel=0.01)
    assert state.contact_force("cup", "block") is state.contact_force("block", "cup")
    assert state.contact_force("table", "cup") == pytest.approx((2 * BLOCK_KG + CUP_KG) * GRAVITY, rel=0.01)
    assert not state.contact_force("fingers", "block").any() and not state.contact_force("palm", "table").any()


def test_the_fingers_feel_what_they_push() -> None:
    world = world_of({}, n=1)
    tip = world.state.fingertips[0, 1]
    address = world._scene.addresses("block")
    world.engine.qpos[0, address.start : address.start + 3] = tip - [0, 0, 0.02]  # a block inside the fingertip
    world.step(HOME[None])
    assert world.state.contact_force("fingers", "block")[0] > 0.01


def test_what_is_seen_of_several_objects() -> None:
    world = world_of(load_domain("twin"), n=3)
    actor = world.spec.interface.observation
    assert list(actor) == ["state", "command", "object_pose", "cup_pose", "palm_pose", "fingertip_pos"]
    seen = world.reset([0, 1, 2]).actor
    places = (("object_pose", "block"), ("cup_pose", "cup"))
    jitters = [seen[key][:, :3].numpy() - world.state.body(name).position for key, name in places]
    assert all(0 < np.abs(jitter).max() < 0.012 for jitter in jitters)  # 2 mm
    assert not np.allclose(*jitters)


def test_rewards_read_names() -> None:
    world = world_of({}, n=1)
    world.engine.qpos[0, world._scene.addresses("flap_hinge")] = 0.6
    address = world._scene.addresses("block")
    world.engine.qpos[0, address.start + 2] = 0.5
    result = world.step(HOME[None])
    assert result.reward.tolist() == [1.0] and result.success.tolist() == [True]


# ---- parameters of objects -----------------------------------------------------------------------------------


def test_a_domain_speaks_of_all_objects_or_of_one() -> None:
    domain = parse_domain(
        {
            "object.friction": {"episode": {"distribution": "uniform", "low": 0.4, "high": 0.9}},
            "cup.friction": constant(0.6, "robot"),
            "block": {"mass_scale": constant(3.0)},
        }
    )
    draws = Draws(domain, TASK.parameters)
    values = draws.episodes(draws.robot(0), range(50))
    assert set(values["cup.friction"][:, 0]) == {0.6}
    friction = values["block.friction"][:, 0], values["flap.friction"][:, 0]
    assert all(0.4 <= each.min() < each.max() <= 0.9 for each in friction) and not np.allclose(*friction)
    assert set(values["block.mass_scale"][:, 0]) == {3.0} and set(values["cup.mass_scale"][:, 0]) == {1.0}
    assert "flap.mass_scale" not in values


def test_an_object_that_is_added_changes_no_draw_of_the_others() -> None:
    twin = load_domain("twin")
    alone = get_task("pinch_cube")
    few = Draws(twin, alone.parameters).episodes({}, [3, 4])
    many = Draws(twin, TASK.parameters).episodes({}, [3, 4])
    assert np.array_equal(few["cube.friction"], many["block.friction"])
    for name in few.keys() & many.keys():
        assert np.array_equal(few[name], many[name])


def test_sizes_scale_parts_and_where_they_are() -> None:
    world = world_of({"cup.size_scale": constant(1.2), "flap.size_scale": constant(0.8)}, n=1)
    engine = world.engine
    assert isinstance(engine, MujocoEngine)
    nominal, changed = engine.model, engine.batch.get_model(0)
    for name, scale in (("cup_wall3", 1.2), ("cup_floor", 1.2), ("flap", 0.8), ("block", 1.0)):
        for field in ("size", "pos"):
            assert getattr(changed.geom(name), field) == pytest.approx(scale * getattr(nominal.geom(name), field))
    assert changed.body("cup").inertia == pytest.approx(1.44 * nominal.body("cup").inertia)


def test_what_a_task_does_not_have_is_refused() -> None:
    with pytest.raises(
        ScoreError, match=r"domain 'x': unknown parameter 'cap\.friction'; did you mean 'cup\.friction'"
    ):
        world_of({"name": "x", "cap.friction": constant(0.5)})
    with pytest.raises(ScoreError, match=r"flap\.mass_scale"):
        world_of({"flap.mass_scale": constant(2.0)})
    with pytest.raises(ScoreError, match="an object cannot be called 'arm'"):
        SimulatedWorld(replace(TASK, objects=(TaskObject("arm"),)), Domain("x"), 1)
    with pytest.raises(ScoreError, match="the scene has no body 'plate'; it has cup, block, flap"):
        SimulatedWorld(replace(TASK, objects=(TaskObject("plate"),)), Domain("x"), 1)
    with pytest.raises(
        ScoreError, match="unknown thing in the contacts of task 'parts' 'finger'; did you mean 'fingers'"
    ):
        SimulatedWorld(replace(TASK, contacts=(("finger", "cup"),)), Domain("x"), 1)


def test_a_task_may_need_finer_steps_than_a_domain_has() -> None:
    coarse, fine = world_of({}), world_of({"physics": {"timestep_s": 0.0025}})
    assert coarse.engine.model.opt.timestep == pytest.approx(1 / 120)
    assert fine.engine.model.opt.timestep == pytest.approx(0.0025)
