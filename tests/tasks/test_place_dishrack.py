"""Place in Dishrack: spawn range, what counts as in the rack, a plate that stands still until it is touched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from task_states import at_rest

from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim import rotations_numpy as rotations
from score_rl.sim.state import BodyState, SceneState
from score_rl.sim.task import get_task
from score_rl.sim.world import SimulatedWorld, make_world
from score_rl.tasks.place_dishrack.task import FLOOR_M, PLATE_RADIUS_M, RACK_SLOTS, leaning

RACK = get_task("place_dishrack")
HOME = torch.tensor(FRANKA_LEAP.home)
PARAMETERS = {"plate.size_scale": np.array([1.0])}
UPRIGHT = (90.0, 0.0)


def placed(
    *offsets: tuple[float, float, float],
    turned_deg: tuple[float, float] = UPRIGHT,
    force_n: float = 0.0,
    start_height_m: float = 0.09,
) -> SceneState:
    """Plates at offsets from a rack's foot, turned about x and then about z, with fingers that press on them."""
    rack, n = np.array([0.57, 0.14, 0.01]), len(offsets)
    about_x, about_z = np.radians(turned_deg)
    turn = rotations.multiply(rotations.about_z(np.array([about_z])), rotations.from_rotation_vector(
        np.array([[about_x, 0.0, 0.0]])))  # fmt: skip
    still = at_rest(rack + np.array(offsets))
    plate = BodyState(still.position, np.tile(turn, (n, 1)), still.linear_velocity, still.angular_velocity)
    bodies = {"plate": plate, "rack": at_rest(np.tile(rack, (n, 1)))}
    begun = SceneState({"plate": at_rest(np.tile([0.58, -0.12, start_height_m], (n, 1)))})
    return SceneState(bodies, contacts={("fingers", "plate"): np.full(n, force_n)}, begun=begun)


def wait(world: SimulatedWorld, steps: int) -> None:
    for _ in range(steps):
        world.step(HOME.expand(world.spec.num_envs, -1))


def test_spawn_covers_the_papers_range() -> None:
    generator = np.random.default_rng(0)
    starts = [RACK.spawn(generator, PARAMETERS) for _ in range(2000)]
    plate, holder, rack = (np.array([start[name] for start in starts]) for name in ("plate", "holder", "rack"))
    assert holder.min(0) == pytest.approx([0.525, -0.17, 0], abs=2e-3)
    assert holder.max(0) == pytest.approx([0.635, -0.07, 0], abs=2e-3)
    assert rack.min(0) == pytest.approx([0.55, 0.12, 0], abs=2e-3)
    assert rack.max(0) == pytest.approx([0.59, 0.16, 0], abs=2e-3)
    assert plate[:, 0] == pytest.approx(holder[:, 0])
    sides = plate[:, 1] - holder[:, 1]
    # A lean of 9.6 degrees: 80 mm sin + 5 mm cos from its foot's far corner, which is 10 mm beside the middle.
    assert np.abs(sides) == pytest.approx(0.0083, abs=2e-4) and np.mean(sides > 0) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("scale", [0.96, 1.0, 1.04])
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_leaning_plate_stands_on_the_floor_of_its_slot(scale: float, side: float) -> None:
    pose = leaning(scale, side)
    axis = rotations.rotate(pose[None, 3:], np.array([[0.0, 0.0, 1.0]]))[0]
    # The lowest point of a disc is half its thickness along the axis and a radius down its face.
    lowest = pose[2] - scale * PLATE_RADIUS_M * np.sqrt(1 - axis[2] ** 2) - scale * 0.005 * abs(axis[2])
    assert lowest == pytest.approx(FLOOR_M, abs=1e-9) and side * pose[1] > 0.005
    # Its foot's upper corner touches one divider (y = 10 mm), its face the upper edge of the other (0.07 m high).
    lean, half, radius = np.arcsin(abs(axis[2])), scale * 0.005, scale * PLATE_RADIUS_M
    corner = side * pose[1] - radius * np.sin(lean) - half * np.cos(lean)
    face = corner + 2 * half * np.cos(lean) + (0.07 - FLOOR_M) * np.tan(lean)
    assert corner == pytest.approx(-0.010, abs=1e-9) and face == pytest.approx(0.010, abs=1e-6)


def test_in_the_rack_on_both_sides_of_every_threshold() -> None:
    z = 0.09
    inside = [(0, 0, z), (0.039, 0, z), (-0.039, 0, z), (0, 0.039, z), (0, -0.039, z), (0, 0, 0.061), (0, 0, 0.114)]
    outside = [(0.041, 0, z), (-0.041, 0, z), (0, 0.041, z), (0, -0.041, z), (0, 0, 0.059), (0, 0, 0.116)]
    assert RACK.success(placed(*inside, *outside)).tolist() == [True] * len(inside) + [False] * len(outside)


@pytest.mark.parametrize(
    ("turned_deg", "upright"),
    [((90, 0), True), ((-90, 0), True), ((59, 0), True), ((57, 0), False), ((90, 31), True), ((90, 33), False),
     ((90, 180), True), ((0, 0), False)],
)  # fmt: skip
def test_upright_is_within_32_degrees_of_the_slots(turned_deg: tuple[float, float], upright: bool) -> None:
    assert RACK.success(placed((0, 0, 0.09), turned_deg=turned_deg)).tolist() == [upright]


def test_success_only_when_the_fingers_have_let_go() -> None:
    for force, done in ((0.0, True), (0.49, True), (0.51, False)):
        state = placed((0, 0, 0.09), force_n=force)
        assert RACK.success(state).tolist() == [done]
        assert RACK.milestones["in_rack"][1](state).tolist() == [True]


def test_rewards() -> None:
    amounts = {name: amount for name, (amount, _) in RACK.milestones.items()}
    assert amounts == {"lifted": 1.0, "in_rack": 5.0} and RACK.success_reward == 10.0
    # The rack's foot is 0.01 high: 0.159 and 0.161 over it are 0.169 and 0.171, after a start at 0.09.
    lifted = RACK.milestones["lifted"][1](placed((0, 0, 0.159), (0, 0, 0.161)))
    assert lifted.tolist() == [False, True] and RACK.horizon == 160 and RACK.hold_steps == 5


def test_untouched_for_ten_seconds_the_plate_stays_as_it_stands() -> None:
    world = make_world("place_dishrack", "proxy", num_envs=2, robot_seed=101)
    world.reset([0, 1])
    before = world.state.body("plate").position.copy()
    assert np.ptp(before[:, 1] - world.state.body("holder").position[:, 1]) > 0.01  # one leans either way
    wait(world, 100)
    now = world.state.body("plate")
    assert np.linalg.norm(now.position - before, axis=1).max() < 2e-4  # soft contacts give way a little
    assert np.abs(now.linear_velocity).max() < 1e-3 and not RACK.success(world.state).any()
    world.close()


def test_a_plate_let_go_over_any_slot_stands_in_the_rack() -> None:
    world = make_world("place_dishrack", "twin", num_envs=RACK_SLOTS)
    world.reset(range(RACK_SLOTS))
    address, rack = world._scene.addresses("plate"), world.state.body("rack").position
    for k in range(RACK_SLOTS):
        slot = np.array([0.0, 0.026 * (k - 1), 0.095])
        world.engine.qpos[k, address] = [*(rack[k] + slot), np.sqrt(0.5), np.sqrt(0.5), 0, 0]
    wait(world, 3)
    assert RACK.success(world.state).all() and not world.state.contact_force("fingers", "plate").any()
    world.close()
