"""What a domain says reaches the physics: an environment's model equals one compiled with those values."""

from __future__ import annotations

import dataclasses

import mujoco
import numpy as np
import pytest
from mujoco.batch import Batch

from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.domain import Physics
from score_rl.sim.engines.mujoco import MujocoEngine, configured_spec
from score_rl.sim.plant import Plant, PlantBuilder
from score_rl.sim.task import get_task

CUBE = get_task("pinch_cube")
NOMINAL = CUBE.parameters.nominal()


def values(changes: dict[str, float]) -> dict[str, np.ndarray]:
    return {**NOMINAL, **{name: np.array([value]) for name, value in changes.items()}}


CHANGED = values(
    {
        "arm.gain_scale": 1.2,
        "hand.gain_scale": 0.8,
        "hand.torque_limit_nm": 0.4,
        "hand.dry_friction_nm": 0.01,
        "contact.time_constant_s": 0.01,
        "table.height_m": 0.02,
        "cube.mass_scale": 2.0,
        "cube.friction": 0.5,
        "cube.size_scale": 1.2,
    }
)


def engine(n: int) -> MujocoEngine:
    return MujocoEngine(CUBE, Physics(), n, 1)


def plant(engine: MujocoEngine, *rows: dict[str, np.ndarray]) -> Plant:
    stacked = {name: np.stack([row[name] for row in rows]) for name in NOMINAL}
    return PlantBuilder(engine.model, CUBE, Physics())(stacked)


def apply(engine: MujocoEngine, row: int, changed: dict[str, np.ndarray]) -> None:
    engine.fields.apply(np.array([row]), plant(engine, changed))


def compiled_with_changes() -> mujoco.MjModel:
    """The same numbers written by hand into the robot and the scene before compiling."""
    kp = [k * (1.2 if i < 7 else 0.8) for i, k in enumerate(FRANKA_LEAP.kp)]
    effort = [e if i < 7 else 0.4 for i, e in enumerate(FRANKA_LEAP.effort)]
    robot = dataclasses.replace(FRANKA_LEAP, kp=tuple(kp), effort=tuple(effort))
    spec = configured_spec(dataclasses.replace(CUBE, robot=robot), Physics())
    for name in FRANKA_LEAP.joint_names[7:]:
        spec.joint(name).frictionloss = 0.01
    cube, table = spec.geom("cube"), spec.geom("table")
    cube.mass, cube.size, cube.friction = 0.12, [0.027] * 3, [0.5, *cube.friction[1:]]
    cube.solref, table.solref = [0.01, 1], [0.01, 1]
    table.pos = [0, 0, 0.02]
    return spec.compile()


def differences(a: mujoco.MjModel, b: mujoco.MjModel) -> dict[str, float]:
    """Largest difference of every numeric array of two models, where there is one."""
    found = {}
    for name in dir(a):
        x, y = (getattr(model, name) for model in (a, b)) if not name.startswith("_") else (None, None)
        if isinstance(x, np.ndarray) and x.dtype.kind in "fi" and not np.array_equal(x, y):
            found[name] = float(np.abs(x - y).max())
    return found


@pytest.fixture(scope="module")
def batch() -> Batch:
    three = engine(3)
    apply(three, 1, CHANGED)
    apply(three, 2, values({"cube.mass_scale": 3.0}))
    apply(three, 2, NOMINAL)
    return three.batch


def test_every_number_of_the_model_follows(batch: Batch) -> None:
    assert max(differences(batch.get_model(1), compiled_with_changes()).values(), default=0) < 1e-15


def test_other_environments_and_the_past_leave_no_trace(batch: Batch) -> None:
    untouched, restored = batch.get_model(0), batch.get_model(2)
    compiled = configured_spec(CUBE, Physics()).compile()
    assert max(differences(untouched, compiled).values(), default=0) < 1e-15
    # The nominal friction is the domain's 0.8, not the engine's 1.
    assert differences(untouched, restored) == {"geom_friction": pytest.approx(0.2)}


def test_fingertips_have_a_radius_of_their_own() -> None:
    two, thick = engine(2), {**NOMINAL, "hand.tip_radius_scale": np.array([1.1])}
    stacked = {name: np.stack([value, value]) for name, value in thick.items()}
    two.fields.apply(np.arange(2), PlantBuilder(two.model, CUBE, Physics())(stacked))
    apply(two, 1, NOMINAL)
    spec = configured_spec(CUBE, Physics())
    for tip in FRANKA_LEAP.fingertips:
        spec.geom(tip).size = two.model.geom(tip).size * [1.1, 1, 1]
    compiled, changed = spec.compile(), two.batch.get_model(0)
    np.testing.assert_allclose(changed.geom_size, compiled.geom_size, atol=1e-15)
    np.testing.assert_allclose(changed.geom_rbound, compiled.geom_rbound, atol=1e-15)
    np.testing.assert_array_equal(changed.body_inertia, two.model.body_inertia)  # skin weighs nothing
    assert differences(two.batch.get_model(1), two.model) == {"geom_friction": pytest.approx(0.2)}


def test_the_comparison_can_fail(batch: Batch) -> None:
    assert {"body_mass", "geom_size", "body_subtreemass", "actuator_gainprm", "geom_solref"} <= set(
        differences(batch.get_model(0), batch.get_model(1))
    )


def test_a_table_that_was_moved_is_met_where_it_is() -> None:
    """Regression: positions of static geoms are constants that the engine keeps."""
    two = engine(2)
    apply(two, 1, values({"table.height_m": 0.03}))
    qpos = two.qpos
    qpos[:, 2] = 0.07
    two.batch.step(nstep=60)
    assert qpos[:, 2] == pytest.approx([0.0225, 0.0525], abs=5e-4)


def test_rows_can_be_written_together() -> None:
    """One call with (k, size) arrays equals k calls."""
    together, apart = engine(2), engine(2)
    together.fields.apply(np.arange(2), plant(together, CHANGED, NOMINAL))
    apply(apart, 0, CHANGED)
    apply(apart, 1, NOMINAL)
    for row in range(2):
        assert differences(together.batch.get_model(row), apart.batch.get_model(row)) == {}


def test_a_heavier_cube_that_tumbles_keeps_its_energy_bounded(batch: Batch) -> None:
    """Regression: mass without its derived constants made the implicit integrator spin free bodies to infinity."""
    qpos, qvel = batch.bind("qpos"), batch.bind("qvel")
    batch.reset()
    qpos[:, 2], qvel[:, 3:6] = 0.5, [1.0, 15.0, -2.0]
    fastest = 0.0
    for _ in range(60):
        batch.step()
        fastest = max(fastest, float(np.abs(qvel[:, :3]).max()))
    assert fastest < np.sqrt(2 * 9.81 * 0.5) + 1.0  # a fall of 0.5 m, and a metre per second for a bounce
    assert not batch.warning[:, :, 1].any()


def test_the_objects_friction_rules_in_all_of_its_contacts(batch: Batch) -> None:
    batch.reset()
    batch.bind("qpos")[:, 2] = [0.0224, 0.02 + 0.0269, 0.0224]
    batch.forward()
    data = batch.get_data(1)
    mujoco.mj_forward(batch.get_model(1), data)
    cube = batch.get_model(1).geom("cube").id
    frictions = [contact.friction[0] for contact in data.contact if cube in (contact.geom1, contact.geom2)]
    assert len(frictions) == 4 and set(frictions) == {0.5}
