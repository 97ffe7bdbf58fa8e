"""PhysX: what MuJoCo has and it has not is emulated or refused; distances agree with theory."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch
from engine_conformance import GRAVITY, HOME, STEPS, Bench
from parts import BLOCK_M, CUP_KG, SOLID, TASK

from score_rl.core.errors import ScoreError
from score_rl.core.testing import check_world
from score_rl.sim.domain import Physics, load_domain
from score_rl.sim.engines.engine import open_engine
from score_rl.sim.engines.settings import PhysxSettings
from score_rl.sim.plant import PlantBuilder
from score_rl.sim.scene import joint_addresses
from score_rl.sim.task import Task, get_task, task_names
from score_rl.sim.testing import check_task
from score_rl.sim.world import SimulatedWorld, make_world

pytest.importorskip("sapien")
PHYSICS = Physics("physx", 1 / 120, settings=PhysxSettings())
FINE = replace(PHYSICS, timestep_s=1 / 400)


@pytest.mark.slow
@pytest.mark.parametrize("task", task_names())
def test_every_task_is_a_world(task: str) -> None:
    check_world(lambda: make_world(task, "proxy_physx", num_envs=2, robot_seed=101), steps=8)


@pytest.mark.slow
@pytest.mark.parametrize("task", task_names())
def test_every_task_keeps_its_promises_to_the_twins_robot(task: str) -> None:
    # 3 s untouched, of which the first is for contacts to give way.
    twin = replace(load_domain("twin"), physics=load_domain("proxy_physx").physics)
    check_task(get_task(task), twin, episodes=2, still_s=2.0)


@pytest.mark.slow
def test_several_objects_are_a_world() -> None:
    check_world(lambda: SimulatedWorld(TASK, load_domain("proxy_physx"), 2, robot_seed=101), steps=4)


def test_an_impact_is_felt_through_the_pad() -> None:
    # From rest to rest the table gives m g t, however the cup lands; the pad only spreads it in time.
    def landing(time_constant_s: float) -> np.ndarray:
        bench = Bench(FINE, 1)
        bench.begin(contact__time_constant_s=time_constant_s)
        cup, block = bench.address("cup"), bench.address("block")
        bench.engine.qpos[0, cup + 2] = 0.05
        bench.engine.qpos[0, block : block + 3] = [0.9, 0.4, BLOCK_M / 2]
        targets = np.tile(HOME, (1, 40, 1))
        return np.concatenate([bench.engine.advance(targets).contacts[0, :, 1] for _ in range(5)])

    hard, soft = landing(0.002), landing(0.020)
    for felt in (hard, soft):
        assert felt.sum() / 400 == pytest.approx(CUP_KG * GRAVITY * 0.5, rel=0.1)
    # An impulse J behind a critically damped pad peaks at J / (e tau), with the cup's weight on top.
    impulse, weight = CUP_KG * np.sqrt(2 * GRAVITY * 0.05), CUP_KG * GRAVITY
    assert soft.max() == pytest.approx(impulse / (np.e * 0.020) + weight * 0.3, rel=0.25)
    assert hard.max() > 3 * soft.max()


def test_results_do_not_depend_on_batch_size_or_processes() -> None:
    def play(num_envs: int, threads: int) -> list[torch.Tensor]:
        world = make_world("pinch_cube", "proxy_physx", num_envs, robot_seed=102, threads=threads)
        seen = [world.reset(range(5, 5 + num_envs)).critic["privileged"][:1]]
        generator = torch.Generator().manual_seed(0)
        for _ in range(6):
            action = torch.tensor(HOME) + 0.3 * torch.randn(3, 23, generator=generator)
            result = world.step(action[:num_envs])
            seen += [result.observation.critic["privileged"][:1], result.info["peak_force_n"][:1]]
        return seen

    for one, other in zip(play(1, 1), play(3, 2)):
        assert torch.equal(one, other)


@pytest.mark.parametrize("friction", [0.3, 0.6])
def test_a_block_slides_as_its_own_friction_says(friction: float) -> None:
    # v^2 / (2 mu g) at 1 m/s, but for half of the first step's way; the other objects' friction has no part in it.
    bench = Bench(PHYSICS, 1)
    bench.begin(block__friction=friction, cup__friction=0.9)
    block = bench.address("block")
    bench.engine.qpos[0, block : block + 3] = [0.9, 0.4, BLOCK_M / 2]
    bench.hold(HOME, 2)
    start = bench.engine.qpos[0, block]
    bench.engine.qvel[0, bench.model.body("block").dofadr[0]] = 1.0
    bench.hold(HOME, 10)
    assert bench.engine.qpos[0, block] - start == pytest.approx(1 / (2 * friction * GRAVITY), abs=0.5 / 120 + 1e-3)


@pytest.mark.parametrize("friction", [0.5, 0.9])
def test_a_card_slides_on_its_block_as_the_smooth_block_says(friction: float) -> None:
    # v^2 / (2 mu g) with the block's 0.35 at 0.6 m/s, 52 mm, whatever the card's own friction is.
    task, speed = get_task("pick_card"), 0.6
    engine = open_engine(task, FINE, 1, 1)
    values = {name: value[None] for name, value in task.parameters.nominal().items()}
    plant = PlantBuilder(engine.model, task, FINE)(values | {"card.friction": np.array([[friction]])})
    qpos = engine.model.qpos0[None].copy()
    qpos[:, joint_addresses(engine.model, task.robot)[0]] = HOME
    engine.begin(np.array([0]), plant, qpos)
    targets, card = np.tile(HOME, (1, 40, 1)), engine.model.joint("card")
    engine.advance(targets)
    start = engine.qpos[0, card.qposadr[0] + 1]
    engine.qvel[0, card.dofadr[0] + 1] = speed
    for _ in range(4):
        engine.advance(targets)
    assert engine.qpos[0, card.qposadr[0] + 1] - start == pytest.approx(speed**2 / (2 * 0.35 * GRAVITY), abs=1.5e-3)


def test_contacts_of_another_friction_than_mujocos_are_named() -> None:
    assert open_engine(get_task("pick_card"), PHYSICS, 1, 1).represented_in_part == ()
    named = make_world("pour_ball", "proxy_physx", 1, threads=1).not_applied
    assert set(named) == {f"{one}.friction on {other}" for one, other in (
        ("small_cup", "large_cup"), ("small_cup", "ball"), ("large_cup", "ball"))}  # fmt: skip


def test_a_ball_rolls_out() -> None:
    # Deceleration 5/7 g d / r, with the coefficient d of rolling friction.
    radius, rolling, speed = 0.03, 0.003, 0.4

    def add_ball(spec: mujoco.MjSpec) -> None:
        body = spec.worldbody.add_body(name="ball", pos=[0.9, 0.4, radius])
        body.add_freejoint(name="ball")
        kind = mujoco.mjtGeom.mjGEOM_SPHERE
        body.add_geom(type=kind, size=[radius, 0, 0], mass=0.05, condim=6, friction=[0.8, 0.005, rolling], **SOLID)

    bench = Bench(FINE, 1)
    task = _with(add_ball)
    bench.engine = open_engine(task, FINE, 1, 1)
    bench.model = bench.engine.model
    plant = PlantBuilder(bench.model, task, FINE)(
        {name: value[None] for name, value in task.parameters.nominal().items()}
    )
    qpos = bench.model.qpos0[None].copy()
    qpos[:, joint_addresses(bench.model, task.robot)[0]] = HOME
    bench.engine.begin(np.array([0]), plant, qpos)
    ball, velocity = bench.address("ball"), int(bench.model.body("ball").dofadr[0])
    bench.engine.qvel[0, velocity : velocity + 6] = [speed, 0, 0, 0, speed / radius, 0]
    targets = np.tile(HOME, (1, 40, 1))
    for _ in range(15):
        bench.engine.advance(targets)
    theory = speed**2 / (2 * 5 / 7 * GRAVITY * rolling / radius)
    assert bench.engine.qpos[0, ball] - 0.9 == pytest.approx(theory, rel=0.02)
    assert np.abs(bench.engine.qvel[0, velocity : velocity + 6]).max() < 1e-3


def test_joints_with_dry_friction_hold_and_let_go() -> None:
    # The flap's weight turns it with 0.08 kg * g * 5 cm = 39 mN m at most, its friction bears 200.
    bench = Bench(PHYSICS, 1)
    bench.begin()
    hinge = int(bench.model.joint("flap_hinge").qposadr[0])
    bench.engine.qpos[0, hinge] = 0.5
    bench.hold(HOME, 10)
    assert bench.engine.qpos[0, hinge] == pytest.approx(0.5, abs=0.006)
    bench.engine.qvel[0, int(bench.model.joint("flap_hinge").dofadr[0])] = -4.0
    bench.hold(HOME, 1)
    assert bench.engine.qpos[0, hinge] < 0.45


def test_servos_push_no_harder_than_their_limits() -> None:
    bench = Bench(PHYSICS, 1)
    bench.begin(hand__torque_limit_nm=0.1)
    motion = bench.hold(np.clip(HOME + 1.0, TASK.robot.target_lower, TASK.robot.target_upper))
    assert motion.torques.shape == (1, STEPS, 23)
    assert np.abs(motion.torques[0, 0, 7:]).max() == pytest.approx(0.1)


def test_what_a_scene_has_and_physx_has_not_is_named() -> None:
    def add_egg(spec: mujoco.MjSpec) -> None:
        body = spec.worldbody.add_body(name="egg", pos=[0.9, 0.4, 0.1])
        body.add_freejoint(name="egg")
        kind = mujoco.mjtGeom.mjGEOM_ELLIPSOID
        body.add_geom(name="shell", type=kind, size=[0.02, 0.02, 0.03], mass=0.05, **SOLID)

    def add_wrist(spec: mujoco.MjSpec) -> None:
        body = spec.worldbody.add_body(name="wrist", pos=[0.9, 0.4, 0.1])
        for axis in ([1, 0, 0], [0, 1, 0]):
            body.add_joint(axis=axis)
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[0.02, 0, 0], mass=0.05)

    for add, message in (
        (add_egg, "geom 'shell' is of the kind ellipsoid"),
        (add_wrist, "body 'wrist' .* several joints"),
    ):
        with pytest.raises(ScoreError, match=message):
            open_engine(_with(add), PHYSICS, 1, 1)


def _with(add: object) -> Task:
    """The scene with something more in it."""

    def add_objects(spec: mujoco.MjSpec) -> None:
        TASK.add_objects(spec)
        add(spec)

    return replace(TASK, add_objects=add_objects)
