"""Effects that no calibration models: each by hand, and the domains that have them all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from score_rl.core.clouds import CLOUD, CLOUD_SEEN, CloudConfig, views_of
from score_rl.core.testing import check_world
from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.domain import Distribution, Domain, Physics, load_domain
from score_rl.sim.draws import Draws
from score_rl.sim.engines.mujoco import MujocoEngine, configured_spec
from score_rl.sim.engines.settings import PhysxSettings
from score_rl.sim.plant import PlantBuilder
from score_rl.sim.scene import off_centre
from score_rl.sim.sensors import encoder_error
from score_rl.sim.task import get_task, task_names
from score_rl.sim.world import SimulatedWorld, make_world

TASK = get_task("pinch_cube")
NOMINAL = Physics()
HOME = torch.tensor(FRANKA_LEAP.home)


def world(num_envs: int = 1, physics: Physics = NOMINAL, **constants: float | list[float]) -> SimulatedWorld:
    """Of a robot that is nominal but for these parameters; `__` stands for the dot."""
    said = {
        name.replace("__", "."): Distribution("constant", (tuple(np.atleast_1d(value).tolist()),))
        for name, value in constants.items()
    }
    made = make_world("pinch_cube", Domain("hand_made", robot=said, physics=physics), num_envs, threads=1)
    made.reset(range(num_envs))
    return made


def test_an_encoder_off_its_axis_errs_once_a_turn() -> None:
    quarter = np.pi / 2
    angles = np.array([[0.0, quarter, 2 * quarter, 3 * quarter]])
    assert encoder_error(angles, 0.01, 0.0)[0] == pytest.approx([0, 0.01, 0, -0.01], abs=1e-15)
    assert encoder_error(angles, 0.01, quarter)[0] == pytest.approx([0.01, 0, -0.01, 0], abs=1e-15)


def test_measured_joints_have_the_encoders_error_on_top_of_their_offset() -> None:
    made = world(hand__encoder_error_rad=0.01, hand__encoder_phase_rad=0.5, hand__joint_bias_rad=0.02)
    read = made.reset([0]).actor["state"][0].numpy() - np.array(FRANKA_LEAP.home)
    assert read[:7] == pytest.approx(np.zeros(7), abs=1e-6)
    assert read[7:] == pytest.approx(0.01 * np.sin(np.array(FRANKA_LEAP.home[7:]) + 0.5) - 0.02, abs=1e-6)


def test_commands_come_late_by_another_time_each() -> None:
    made, again = (world(2, robot__delay_jitter_s=0.04) for _ in range(2))
    late = made._late_s
    assert (late >= 0).all() and late.max() < 0.04 and late.mean() == pytest.approx(0.02, rel=0.2)
    assert len(np.unique(late)) == late.size and np.array_equal(late, again._late_s)
    assert not world(robot__delay_s=0.03)._late_s.any()


def test_hand_joints_yield_to_the_torque_that_their_servos_had() -> None:
    stiff, soft = world(), world(hand__compliance_rad_nm=0.1, hand__hysteresis_nm=0.01)
    command = HOME.double().numpy()[None] + 0.1
    for made in (stiff, soft):
        made.step(torch.from_numpy(command))  # nothing was carried yet
    torque = soft._torque.copy()
    assert np.array_equal(stiff._torque, torque) and np.abs(torque[0, 7:]).max() > 0.02
    targets = [each._actuation.targets(command, 0.0, torque)[0, -1] for each in (stiff, soft)]
    carried = np.sign(torque) * np.maximum(np.abs(torque) - 0.01, 0)
    assert targets[1] - targets[0] == pytest.approx(-0.1 * np.r_[np.zeros(7), carried[0, 7:]], abs=1e-12)


def test_an_objects_centre_of_mass_is_where_the_domain_puts_it() -> None:
    task, offset = off_centre(TASK), np.array([0.004, -0.003, 0.002])
    engine = MujocoEngine(task, Physics(), 2, 1)
    values = {name: np.stack([value, value]) for name, value in TASK.parameters.nominal().items()}
    values["cube.com_offset_m"][0] = offset
    engine.fields.apply(np.arange(2), PlantBuilder(engine.model, task, Physics())(values))
    spec = configured_spec(task, Physics())
    cube, nominal = spec.body("cube"), engine.model.body("cube")
    cube.explicitinertial, cube.mass, cube.inertia = True, nominal.mass[0], nominal.inertia
    cube.ipos = offset
    compiled, moved, same = spec.compile(), engine.batch.get_model(0), engine.batch.get_model(1)
    for name in ("body_ipos", "body_mass", "body_inertia", "body_subtreemass", "body_invweight0", "dof_invweight0"):
        np.testing.assert_allclose(getattr(moved, name), getattr(compiled, name), atol=1e-12, err_msg=name)
        np.testing.assert_allclose(getattr(same, name), getattr(engine.model, name), atol=1e-12, err_msg=name)


@pytest.mark.parametrize(
    "physics",
    [Physics(timestep_s=0.0025), Physics("physx", 1 / 120, settings=PhysxSettings())],
    ids=lambda physics: physics.engine,
)
def test_a_cube_that_is_heavy_on_one_side_tips_over_its_edge(physics: Physics) -> None:
    if physics.engine == "physx":
        pytest.importorskip("sapien")
    # Its centre of mass lies 30 mm to one side: beyond the cube's half width of 22.5 mm.
    made = world(2, physics, object__com_offset_m=[0.03, 0.0, 0.0])
    upright = world(2, physics)
    for each in (made, upright):
        for _ in range(15):
            each.step(HOME.repeat(2, 1))
    tipped, stood = (turned_up(each.state.body("cube").quaternion) for each in (made, upright))
    assert (stood > 0.99).all() and (tipped < 0.9).all()


def turned_up(quaternion: np.ndarray) -> np.ndarray:
    """(n,) how much of a body's z points up."""
    return 1 - 2 * (quaternion[:, 1] ** 2 + quaternion[:, 2] ** 2)


def test_rough_robots_are_the_proxys_and_more() -> None:
    proxy, rough, hardware = (load_domain(name) for name in ("proxy", "proxy_rough", "hardware"))
    assert rough.robot.items() >= proxy.robot.items() and rough.episode.items() >= proxy.episode.items()
    assert (hardware.robot, hardware.episode, hardware.camera) == (rough.robot, rough.episode, rough.camera)
    assert (rough.physics, hardware.physics) == (proxy.physics, load_domain("proxy_physx").physics)
    assert rough.protective_stop == hardware.protective_stop == proxy.protective_stop
    assert {"camera.depth_noise_m", "camera.flying_share"} <= set(hardware.episode)
    mine, theirs = (Draws(domain, TASK.parameters).robot(101) for domain in (rough, proxy))
    assert all(np.array_equal(mine[name], theirs[name]) for name in theirs)
    untold = {name for name, parameter in TASK.parameters.general.items() if not parameter.told}
    assert untold <= {*rough.robot, *rough.episode}  # all on


def test_every_task_has_rough_robots() -> None:
    for name in task_names():
        parameters = get_task(name).parameters
        drawn = Draws(load_domain("proxy_rough"), parameters)
        offset = drawn.episodes(drawn.robot(101), [0, 1])[f"{get_task(name).objects[0].name}.com_offset_m"]
        assert offset.shape == (2, 3) and (offset != 0).all()


def test_a_rough_robot_plays_an_episode() -> None:
    check_world(lambda: make_world("pinch_cube", "proxy_rough", 2, robot_seed=101, threads=1), steps=4)


def test_fingertips_of_physx_grow_in_their_radius_alone() -> None:
    pytest.importorskip("sapien")
    from sapien import physx

    from score_rl.sim.engines.physx_scene import _shape

    model = configured_spec(TASK, Physics()).compile()
    tip, material = model.geom("tip_index"), physx.PhysxMaterial(1.0, 1.0, 0.0)
    shape, _ = _shape(model, tip.id, np.array([1.1, 1.0, 1.0]), material)
    assert [shape.radius, shape.half_length] == pytest.approx([1.1 * tip.size[0], tip.size[1]])


def test_the_hardware_plays_an_episode() -> None:
    pytest.importorskip("sapien")
    check_world(lambda: make_world("pinch_cube", "hardware", 2, robot_seed=101), steps=4)


@pytest.mark.slow
@pytest.mark.parametrize("name", task_names())
def test_every_task_is_seen_on_the_hardware(name: str) -> None:
    pytest.importorskip("sapien")
    observed = len(get_task(name).observed)
    views = views_of("cloud", CloudConfig(), observed)
    made = make_world(name, "hardware", 1, robot_seed=101, threads=1, views=views)
    made.reset([0])
    result = made.step(HOME[None])
    seen = made.look(tuple(made.spec.interface.views))
    left = {"small_cup.friction on large_cup", "small_cup.friction on ball", "large_cup.friction on ball"}
    assert set(made.not_applied) == (left if name == "pour_ball" else set())
    assert not result.info["nan"].any() and not result.done.any()
    assert seen[CLOUD].isfinite().all() and seen[CLOUD].std(1).min() > 0.005
    # From over the table: all but the ball in the cup, of which the walls leave nothing.
    assert seen[CLOUD_SEEN].tolist() == [[1.0] * 2 + [0.0] if name == "pour_ball" else [1.0] * observed]


def test_nobody_is_told_of_what_no_domain_says() -> None:
    # 7 + 16 offsets, 7 + 16 of play, 2 gains, delay, lag, torque limit, friction of the hand; softness, table, 3 + 1
    # of the camera; mass, friction, size of the cube; 3 jitters.
    assert TASK.parameters.told == 46 + 2 + 2 + 2 + 2 + 4 + 3 + 3
