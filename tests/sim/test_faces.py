"""Friction that differs by face: each face has its own, and nothing else of a box changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch
from engine_conformance import GRAVITY, HOME
from parts import BLOCK_KG, BLOCK_M, FLOOR_M, TASK

from score_rl.core.clouds import CloudConfig, views_of
from score_rl.core.errors import ScoreError
from score_rl.sim import rotations_numpy as rotations
from score_rl.sim.domain import Distribution, Domain, Physics, load_domain
from score_rl.sim.draws import Draws
from score_rl.sim.engines.engine import open_engine
from score_rl.sim.engines.mujoco import MujocoEngine, configured_spec
from score_rl.sim.engines.settings import PhysxSettings
from score_rl.sim.parameters import FACES
from score_rl.sim.plant import ObjectParts, PlantBuilder
from score_rl.sim.robot import HAND, OBJECT
from score_rl.sim.scene import PLATE_M, RIM_M, joint_addresses, with_faces
from score_rl.sim.task import Task, get_task
from score_rl.sim.testing import check_task
from score_rl.sim.world import SimulatedWorld, make_world
from score_rl.tasks.people.collect import get_routine
from score_rl.tasks.people.demonstrator import Demonstrator
from score_rl.tasks.people.habits import careful

CUBE = get_task("pinch_cube")
SLOPE_RAD, SLOPE_AT = np.radians(20), np.array([1.5, 0.6, 0.5])
UNEVEN = (0.5, 0.7, 0.9, 1.1, 1.3, 1.5)
ENGINES = [Physics(timestep_s=0.0025), Physics("physx", 0.005, settings=PhysxSettings())]
"""In the steps of the domains that have faces."""
each_engine = pytest.mark.parametrize("physics", ENGINES, ids=lambda physics: physics.engine)
half = np.sqrt(0.5)
DOWN = ((half, 0, -half, 0), (half, 0, half, 0), (half, half, 0, 0), (half, -half, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0))
"""Quaternion that turns each face down."""


def needs(physics: Physics) -> None:
    if physics.engine == "physx":
        pytest.importorskip("sapien")


def uneven(domain: Domain, scale: Sequence[float] = UNEVEN, name: str = "object") -> Domain:
    """The domain with these factors on the friction of the faces."""
    return replace(
        domain, robot={**domain.robot, f"{name}.face_friction_scale": Distribution("constant", (tuple(scale),))}
    )


def saved(model: mujoco.MjModel) -> bytes:
    """All of a compiled model."""
    buffer = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return buffer.tobytes()


class Yard:
    """The scene of `parts` with a slope, whose block has faces."""

    def __init__(self, physics: Physics, starts: np.ndarray, **values: np.ndarray) -> None:
        """starts: (n, 7) of the block; values: (n, size) that are not nominal, `block__friction=...`."""

        def add_slope(spec: mujoco.MjSpec) -> None:
            TASK.add_objects(spec)
            turned = [np.cos(SLOPE_RAD / 2), 0, np.sin(SLOPE_RAD / 2), 0]
            spec.worldbody.add_geom(
                type=mujoco.mjtGeom.mjGEOM_BOX, pos=SLOPE_AT, quat=turned, size=[0.8, 0.2, 0.01],
                contype=0, conaffinity=HAND | OBJECT,
            )  # fmt: skip

        n, task = len(starts), with_faces(replace(TASK, add_objects=add_slope), {"block": True})
        self.engine = open_engine(task, physics, n, 1)
        self.model = model = self.engine.model
        nominal = {name: np.tile(value, (n, 1)) for name, value in task.parameters.nominal().items()}
        plant = PlantBuilder(model, task, physics)(nominal | {k.replace("__", "."): v for k, v in values.items()})
        self.block = int(model.jnt_qposadr[model.body("block").jntadr[0]])
        qpos = np.tile(model.qpos0, (n, 1))
        qpos[:, joint_addresses(model, task.robot)[0]] = HOME
        qpos[:, self.block : self.block + 7] = starts
        self.engine.begin(np.arange(n), plant, qpos)
        self._targets = np.tile(HOME, (n, physics.substeps(10.0), 1))

    def rest(self, periods: int) -> np.ndarray:
        """(n, contacts) mean contact forces of the last of some control periods of 0.1 s."""
        for _ in range(periods):
            motion = self.engine.advance(self._targets)
        return motion.contacts.mean(1)


@each_engine
def test_a_block_slides_on_its_smooth_face_and_sticks_on_the_others(physics: Physics) -> None:
    # Friction 0.8 bears a slope of 20 degrees (tan 0.364); 0.8 x 0.25 does not, and lets go
    # g (sin 20 - 0.2 cos 20) t^2 / 2 = 0.189 m in half a second. Face k of block k is smooth, and down; then up.
    needs(physics)
    along, up = np.array([[np.cos(SLOPE_RAD), 0, -np.sin(SLOPE_RAD)], [np.sin(SLOPE_RAD), 0, np.cos(SLOPE_RAD)]])
    top = SLOPE_AT - 0.5 * along + (0.01 + BLOCK_M / 2) * up
    slope = np.array([[np.cos(SLOPE_RAD / 2), 0, np.sin(SLOPE_RAD / 2), 0]])
    turned = rotations.multiply(
        slope, np.array([*DOWN, *np.roll(np.reshape(DOWN, (3, 2, 4)), 1, axis=1).reshape(6, 4)])
    )
    smooth = np.tile(np.where(np.eye(6) > 0, 0.25, 1.0), (2, 1))
    starts = np.concatenate([np.tile(top, (12, 1)), turned], axis=1)
    yard = Yard(physics, starts, block__face_friction_scale=smooth)
    yard.rest(5)
    gone = (yard.engine.qpos[:, yard.block : yard.block + 3] - top) @ along
    theory = GRAVITY * (np.sin(SLOPE_RAD) - 0.2 * np.cos(SLOPE_RAD)) * 0.5**2 / 2
    assert theory == pytest.approx(0.189, abs=1e-3)
    assert gone[:6] == pytest.approx(np.full(6, theory), rel=0.03)
    assert np.abs(gone[6:]).max() < 5e-4


@each_engine
def test_a_block_that_rests_on_plates_weighs_what_it_did(physics: Physics) -> None:
    needs(physics)
    starts = np.array([[0.6, 0, FLOOR_M + BLOCK_M / 2, *down] for down in DOWN])
    carried = Yard(physics, starts, block__face_friction_scale=np.tile(UNEVEN, (6, 1))).rest(10)
    assert carried[:, 0] == pytest.approx(np.full(6, BLOCK_KG * GRAVITY), abs=0.01)


@each_engine
def test_a_cube_with_faces_lies_still(physics: Physics) -> None:
    needs(physics)
    check_task(CUBE, uneven(replace(load_domain("twin"), physics=physics)), episodes=2, still_s=10.0)


@pytest.mark.slow
def test_fingers_that_hold_a_cube_bear_its_weight() -> None:
    # All contacts of the fingers with all plates together.
    task, n = replace(CUBE, contacts=(("fingers", "cube"),), hold_steps=1000, horizon=1000), 2
    world = SimulatedWorld(task, uneven(Domain("fine", physics=Physics(timestep_s=0.0025))), n, threads=1)
    person = Demonstrator(n, get_routine("pinch_cube"), careful(), time_limit=1000)
    seen = {key: value.numpy() for key, value in world.reset(range(n)).actor.items()}
    person.reset(range(n), range(n), seen)
    held, forces, sent = 0, [], np.zeros((n, 23))
    while len(forces) < 10:
        sent = sent if held > 20 else person.act(seen)[1]
        result = world.step(torch.from_numpy(sent))
        seen = {key: value.numpy() for key, value in result.observation.actor.items()}
        held = held + 1 if result.success.all() else 0
        forces += [world.state.contact_force("fingers", "cube")] if held > 40 else []
        assert world._time.max() < 300
    assert np.mean(forces, axis=0) == pytest.approx(np.full(n, 0.06 * GRAVITY), rel=0.05)


def test_mass_inertia_and_size_are_those_of_the_box() -> None:
    plain, faced = (configured_spec(task, Physics()).compile() for task in (CUBE, with_faces(CUBE, {"cube": True})))
    for name in (
        "body_mass",
        "body_inertia",
        "body_ipos",
        "body_iquat",
        "body_invweight0",
        "dof_invweight0",
        "qpos0",
    ):
        np.testing.assert_array_equal(getattr(faced, name), getattr(plain, name), err_msg=name)
    cube = faced.body("cube")
    assert faced.ngeom == plain.ngeom + 6 and faced.nsensor == plain.nsensor
    touching = [g for g in range(faced.ngeom) if faced.geom_bodyid[g] == cube.id and faced.geom_contype[g]]
    reach = faced.geom_size[touching]
    low, high = faced.geom_pos[touching] - reach, faced.geom_pos[touching] + reach
    assert (low.min(0), high.max(0)) == (pytest.approx([-0.0225] * 3), pytest.approx([0.0225] * 3))
    for name in ("geom_condim", "geom_priority", "geom_conaffinity", "geom_solimp", "geom_margin"):
        assert (getattr(faced, name)[touching] == getattr(plain, name)[plain.geom("cube").id]).all(), name


def test_a_face_is_where_its_box_has_it() -> None:
    spec = mujoco.MjSpec()
    box = spec.worldbody.add_body(name="box")
    box.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.02, 0.03, 0.04], pos=[0, 0, 0.1], quat=[half, 0, 0, half], mass=1
    )  # fmt: skip
    with_faces(replace(TASK, add_objects=lambda spec: None), {"box": True}).add_objects(spec)
    model = spec.compile()
    for face, centre in {"+x": [0, 0.0175, 0.1], "-y": [0.0275, 0, 0.1], "+z": [0, 0, 0.1375]}.items():
        plate = model.geom(f"box {face}")
        assert plate.pos == pytest.approx(centre) and plate.quat == pytest.approx([half, 0, 0, half])
    assert model.geom("box -y").size == pytest.approx([0.02 - RIM_M, PLATE_M / 2, 0.04 - RIM_M])


def test_every_environment_has_faces_of_its_own() -> None:
    task = with_faces(CUBE, {"cube": True})
    engine = MujocoEngine(task, Physics(), 2, 1)
    values = {name: np.tile(value, (2, 1)) for name, value in CUBE.parameters.nominal().items()}
    values |= {"cube.friction": np.array([[0.5], [0.8]]), "cube.size_scale": np.array([[1.2], [1.0]])}
    values["cube.face_friction_scale"] = np.array([UNEVEN, np.ones(6)])
    engine.fields.apply(np.arange(2), PlantBuilder(engine.model, task, Physics())(values))
    plates = [engine.model.geom(f"cube {face}").id for face in FACES]
    large, nominal = engine.batch.get_model(0), engine.batch.get_model(1)
    assert large.geom_friction[plates, 0] == pytest.approx([0.25, 0.35, 0.45, 0.55, 0.65, 0.75])
    assert nominal.geom_friction[plates, 0] == pytest.approx([0.8] * 6)
    for name in ("geom_pos", "geom_size", "geom_rbound"):
        assert getattr(large, name)[plates] == pytest.approx(1.2 * getattr(nominal, name)[plates]), name


@pytest.mark.parametrize("scale", [None, (1.0,) * 6])
def test_equal_faces_are_the_plain_box(scale: tuple[float, ...] | None) -> None:
    domain = load_domain("proxy")
    world = SimulatedWorld(CUBE, uneven(domain, scale) if scale else domain, 1, threads=1)
    assert saved(world.model) == saved(configured_spec(CUBE, domain.physics).compile())
    assert saved(SimulatedWorld(CUBE, uneven(domain), 1, threads=1).model) != saved(world.model)


@pytest.mark.parametrize("name", ["push_ball", "pick_card", "pour_ball", "place_dishrack"])
def test_what_is_no_thick_box_has_no_faces(name: str) -> None:
    task, domain = get_task(name), load_domain("proxy")
    plain, other = (SimulatedWorld(task, each, 1, threads=1).model for each in (domain, uneven(domain)))
    assert saved(plain) == saved(other)
    first = task.objects[0].name
    with pytest.raises(ScoreError, match=f"'{first}' is no single box at least 20 mm thick"):
        SimulatedWorld(task, uneven(domain, name=first), 1, threads=1)


def test_a_camera_sees_the_same_surface() -> None:
    views, domain = views_of("cloud", CloudConfig(), 1), load_domain("proxy")
    plain, other = (make_world("pinch_cube", each, 2, 101, 1, views=views) for each in (domain, uneven(domain)))
    for world in (plain, other):
        world.reset([3, 4])
    seen, same = (world.look(tuple(views)) for world in (plain, other))
    assert seen.keys() == same.keys() and all(torch.equal(seen[key], same[key]) for key in seen)


def test_a_face_draws_last_so_that_no_other_draw_moves() -> None:
    names = list(TASK.parameters)
    assert names[-2:] == ["block.face_friction_scale", "cup.face_friction_scale"]
    assert names[-4:-2] == ["block.com_offset_m", "cup.com_offset_m"]


def test_rough_robots_have_faces_that_differ() -> None:
    drawn = [scales(name, CUBE, seed) for name in ("proxy_rough", "hardware") for seed in (101, 102)]
    for name in ("proxy", "proxy_physx", "twin"):
        assert (scales(name, CUBE, 101) == 1).all()
    assert all(len(np.unique(each)) == 6 and 0.75 <= each.min() < each.max() <= 1.25 for each in drawn)
    assert np.array_equal(drawn[0], drawn[2]) and not np.array_equal(drawn[0], drawn[1])
    parts = ObjectParts(make_world("pinch_cube", "proxy_rough", 1, 101, 1).model, "cube")
    assert parts.faces == [6, 0, 1, 2, 3, 4, 5]


def scales(domain: str, task: Task, robot_seed: int) -> np.ndarray:
    """(6,) of the first object, the same in every episode."""
    draws = Draws(load_domain(domain), task.parameters)
    values: Mapping[str, np.ndarray] = draws.episodes(draws.robot(robot_seed), [0, 1])
    first, second = values[f"{task.objects[0].name}.face_friction_scale"]
    assert np.array_equal(first, second)
    return first
