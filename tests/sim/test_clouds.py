"""What a depth camera shows of simulated scenes: projection, surfaces, visibility, errors, by hand."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import parts
import pytest
import torch

from score_rl.core.clouds import CLOUD, CLOUD_SEEN, HAND_CLOUD, CloudConfig, cloud_views, config_of, views_of
from score_rl.core.errors import ScoreError
from score_rl.core.testing import check_world
from score_rl.sim import rotations_numpy as rotations
from score_rl.sim.camera import Camera, reported
from score_rl.sim.domain import Distribution, Domain, load_domain, parse_domain
from score_rl.sim.surfaces import area, corners, sample
from score_rl.sim.task import get_task, task_names
from score_rl.sim.world import SimulatedWorld, make_world

VIEWS = cloud_views(CloudConfig(64), 1)
HALF_M = 0.0225
CAMERA = Camera()


def domain(camera: Camera = CAMERA, **episode: float | list[float]) -> Domain:
    """A nominal robot whose parameters are these constants; `__` stands for the dot."""
    constants = {
        name.replace("__", "."): Distribution("constant", (tuple(np.atleast_1d(value).tolist()),))
        for name, value in episode.items()
    }
    return Domain("hand_made", episode=constants, camera=camera)


def looked(made: Domain, views: dict = VIEWS, num_envs: int = 4) -> tuple[SimulatedWorld, dict[str, np.ndarray]]:
    """A Pinch Cube world at the start of its episodes, and all of its views."""
    world = make_world("pinch_cube", made, num_envs, threads=1, views=views)
    world.reset(range(num_envs))
    return world, {key: value.double().numpy() for key, value in world.look(tuple(views)).items()}


def in_cube(world: SimulatedWorld, points: np.ndarray) -> np.ndarray:
    """Points (n, p, 3) in the frame of the cube."""
    body = world.state.body("cube")
    frames = rotations.matrix(body.quaternion)
    return np.einsum("nji,npj->npi", frames, points - body.position[:, None])


# ---- camera and surfaces ------------------------------------------------------------------------------------


def test_projection_by_hand() -> None:
    # At (1, 0, 0), looking at the origin along -x: right in the image is +y, down is -z.
    camera = Camera(position_m=(1, 0, 0), target_m=(0, 0, 0), focal_px=600, resolution_px=(640, 480))
    assert camera.pixels(np.zeros(3)) == pytest.approx([320, 240])
    assert camera.pixels(np.array([0, 0.1, 0.2])) == pytest.approx([320 + 60, 240 - 120])
    assert camera.pixels(np.array([0.5, 0.1, 0])) == pytest.approx([320 + 120, 240])  # half as far away
    assert camera.rays(np.array([380.0, 120.0])) == pytest.approx([-1, 0.1, 0.2])


def test_reported_points_by_hand() -> None:
    quarter = np.array([[0, 0, np.pi / 2]])
    values = {
        "camera.cloud_turn_rad": quarter,
        "camera.cloud_shift_m": np.array([[0.01, 0, 0]]),
        "camera.yaw_bias_rad": np.array([[np.pi / 2]]),
        "camera.position_bias_m": np.array([[0, 0, 0.005]]),
    }
    camera = Camera(position_m=(1, 0, 1), target_m=(0.5, 0, 0))
    matrix, offset = reported(camera, values)
    # (0.6, 0, 0.2) turns about (0.5, 0, 0) into (0.5, 0.1, 0.2), shifts to (0.51, 0.1, 0.2), and turns about z.
    assert matrix[0] @ [0.6, 0, 0.2] + offset[0] == pytest.approx([-0.1, 0.51, 0.205])


def shapes() -> mujoco.MjModel:
    spec = mujoco.MjSpec()
    for kind, size in (("BOX", [1, 2, 3]), ("SPHERE", [2, 0, 0]), ("CAPSULE", [1, 2, 0]), ("CYLINDER", [1, 2, 0])):
        spec.worldbody.add_geom(type=getattr(mujoco.mjtGeom, f"mjGEOM_{kind}"), size=size)
    return spec.compile()


def test_samples_lie_on_surfaces_and_are_uniform() -> None:
    model, draw = shapes(), np.random.default_rng(0)
    box, sphere, capsule, cylinder = (sample(model, geom, 4000, draw) for geom in range(4))
    assert np.abs(np.abs(box) / [1, 2, 3]).max(1) == pytest.approx(np.ones(4000))
    assert (np.abs(box[:, 2]) == 3).mean() == pytest.approx(2 / 11, abs=0.03)  # 2 of 2 + 3 + 6
    assert np.linalg.norm(sphere, axis=1) == pytest.approx(np.full(4000, 2.0))
    core = np.clip(capsule[:, 2], -2, 2)[:, None] * [0, 0, 1]
    assert np.linalg.norm(capsule - core, axis=1) == pytest.approx(np.ones(4000))
    assert (np.abs(capsule[:, 2]) < 2).mean() == pytest.approx(2 / 3, abs=0.03)  # 2 pi 4 of 2 pi 4 + 4 pi
    radius, on_lid = np.linalg.norm(cylinder[:, :2], axis=1), np.abs(cylinder[:, 2]) == 2
    assert radius[~on_lid] == pytest.approx(np.ones((~on_lid).sum())) and (radius <= 1 + 1e-12).all()
    assert on_lid.mean() == pytest.approx(1 / 5, abs=0.03)  # 2 pi of 2 pi + 8 pi
    assert (radius[on_lid] < np.sqrt(0.5)).mean() == pytest.approx(0.5, abs=0.05)
    expected = [8 * (2 + 6 + 3), 16 * np.pi, 12 * np.pi, 10 * np.pi]
    assert [area(model, geom) for geom in range(4)] == pytest.approx(expected)
    assert np.abs(np.stack([corners(model, geom) for geom in range(4)])).max(1) == pytest.approx(
        np.array([[1, 2, 3], [2, 2, 2], [1, 1, 3], [1, 1, 2]])
    )


# ---- what is seen -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 1.4])
def test_a_twin_shows_the_sides_of_the_cube_that_face_the_camera(scale: float) -> None:
    world, seen = looked(domain(object__size_scale=scale))
    points, half = in_cube(world, seen[CLOUD]), HALF_M * scale
    assert (seen[CLOUD_SEEN] == 1).all() and points.shape == (4, 64, 3)
    on_face = np.abs(np.abs(points) - half) < 1e-5
    assert on_face.any(2).all() and (np.abs(points) < half + 1e-5).all()
    body = world.state.body("cube")
    frames = rotations.matrix(body.quaternion)
    towards = np.einsum("nji,nj->ni", frames, np.array(CAMERA.position_m) - body.position)
    facing = np.abs(points - half * np.sign(towards)[:, None]) < 1e-5
    assert facing.any(2).all()
    # Three sides are seen, and the table's hides none of them.
    assert facing.any(1).all()


def test_full_clouds_have_all_sides() -> None:
    world, seen = looked(domain(Camera(kind="full"), object__size_scale=1.2))
    points, half = in_cube(world, seen[CLOUD]), HALF_M * 1.2
    assert np.abs(points).max(2) == pytest.approx(np.full((4, 64), half), abs=1e-5)
    for side in (-half, half):
        assert (np.abs(points - side) < 1e-5).any(1).all()


def test_out_of_sight_is_said() -> None:
    away = Camera(position_m=(1.25, -0.55, 0.65), target_m=(2.5, 0.0, 0.65))
    world, seen = looked(domain(away), VIEWS | cloud_views(CloudConfig(64, hand_points=16), 1))
    palm = world.reset(range(4)).actor["palm_pose"][:, None, :3].numpy()
    assert (seen[CLOUD_SEEN] == 0).all()
    assert seen[CLOUD] == pytest.approx(np.broadcast_to(palm, (4, 64, 3)), abs=1e-6)
    assert seen[HAND_CLOUD] == pytest.approx(np.broadcast_to(palm, (4, 16, 3)), abs=1e-6)


def test_what_is_in_front_hides_what_is_behind() -> None:
    world, _ = looked(domain(), num_envs=1)
    cube = world.engine.model.joint("cube").qposadr[0]
    # On the other side of the hand, as the camera sees it.
    palm = world.state.palm[0, :3]
    world.engine.qpos[0, cube : cube + 3] = palm + 0.07 * (palm - CAMERA.position_m) / np.linalg.norm(
        palm - CAMERA.position_m
    )
    before = world.look((CLOUD_SEEN,))[CLOUD_SEEN]
    world.engine.qpos[0, cube : cube + 3] = [0.5, 0.1, HALF_M]
    assert before.item() == 0 and world.look((CLOUD_SEEN,))[CLOUD_SEEN].item() == 1


def test_objects_share_the_points_in_their_order() -> None:
    views = cloud_views(CloudConfig(64, hand=True), len(parts.TASK.observed))
    world = SimulatedWorld(parts.TASK, load_domain("twin"), 2, threads=1, views=views)
    world.reset([0, 1])
    seen = world.look((CLOUD, CLOUD_SEEN))
    names = [item.name for item in parts.TASK.observed.values()]
    segments = np.split(seen[CLOUD].double().numpy(), [22, 43], axis=1)  # 64 = 22 + 21 + 21
    assert seen[CLOUD_SEEN].shape == (2, len(names) + 1)
    for name, points, flag in zip(names, segments, seen[CLOUD_SEEN].T):
        distance = np.linalg.norm(points - world.state.body(name).position[:, None], axis=2)
        assert (distance[flag.numpy() == 1] < 0.13).all()
    assert np.linalg.norm(segments[-1].mean(1) - world.state.palm[:, :3], axis=1).max() < 0.1


# ---- errors -------------------------------------------------------------------------------------------------


def test_errors_of_place_move_all_points_alike() -> None:
    _, true = looked(domain())
    shift = [0.01, -0.02, 0.03]
    _, seen = looked(domain(camera__cloud_shift_m=shift))
    assert seen[CLOUD] - true[CLOUD] == pytest.approx(np.broadcast_to(shift, true[CLOUD].shape), abs=1e-6)
    world, seen = looked(domain(camera__position_bias_m=shift, camera__yaw_bias_rad=0.1))
    bias = world.reset(range(4)).actor["object_pose"][:, :3].numpy() - world.state.body("cube").position
    # Points are as far off as the pose of the cube that they are on, up to the turn over half its size.
    assert np.abs((seen[CLOUD] - true[CLOUD]) - bias[:, None]).max() < 0.1 * 1.8 * HALF_M


def test_errors_of_depth_lie_along_the_rays() -> None:
    _, true = looked(domain())
    _, seen = looked(domain(camera__depth_noise_m=0.002, camera__depth_drift_m=0.004))
    off, rays = seen[CLOUD] - true[CLOUD], true[CLOUD] - CAMERA.position_m
    assert np.linalg.norm(np.cross(off, rays), axis=2).max() < 1e-6
    depth = np.einsum("npx,x->np", off, CAMERA.axes[2])
    drift = depth.mean(1, keepdims=True)
    assert (np.abs(drift) < 0.02).all() and np.ptp(drift) > 0.001
    assert (depth - drift).std() == pytest.approx(0.002, rel=0.15)


def test_lost_pixels_leave_fewer_points_and_flying_ones_leave_the_surface() -> None:
    _, seen = looked(domain(camera__dropout_share=0.95))
    distinct = [len(np.unique(points.round(7), axis=0)) for points in seen[CLOUD]]
    assert max(distinct) < 20 and (seen[CLOUD_SEEN] == 1).all()
    world, seen = looked(domain(camera__flying_share=1.0))
    off = np.abs(in_cube(world, seen[CLOUD])).max(2) - HALF_M
    assert 0.01 < off.max() < 0.05 and (np.abs(off) < 0.004).mean() > 0.6


def test_only_pixels_at_an_edge_fly() -> None:
    _, true = looked(domain(), num_envs=16)
    _, seen = looked(domain(camera__flying_share=1.0), num_envs=16)
    deeper = (seen[CLOUD] - true[CLOUD]) @ CAMERA.axes[2]
    # A pixel is 1.1 m / 600 = 1.8 mm wide: of a side that is seen at 70 degrees, 5 mm deep.
    at_edge = np.abs(deeper) > 0.005
    assert 0.01 < at_edge.mean() < 0.2
    assert abs(deeper[~at_edge].mean()) < 2e-4 and deeper[at_edge].max() < 0.041


def test_noise_is_another_at_every_step_and_in_every_episode() -> None:
    world, first = looked(domain(camera__depth_noise_m=0.002), num_envs=2)
    world.step(torch.tensor([world.robot.home] * 2))
    second = world.look((CLOUD,))[CLOUD].numpy()
    _, again = looked(domain(camera__depth_noise_m=0.002), num_envs=2)
    assert np.abs(second - first[CLOUD]).max() > 1e-4 and np.array_equal(again[CLOUD], first[CLOUD])


# ---- worlds -------------------------------------------------------------------------------------------------


def test_worlds_that_are_looked_at_conform() -> None:
    views = cloud_views(CloudConfig(32, hand=True, hand_points=16), 1)
    check_world(lambda: make_world("pinch_cube", "proxy", 2, robot_seed=101, threads=1, views=views), steps=4)


def test_whoever_sees_poses_sees_the_same_beside_a_camera() -> None:
    plain, seeing = (make_world("pinch_cube", "proxy", 2, 101, threads=1, views=v) for v in (None, VIEWS))
    one, two = (world.reset([3, 4]) for world in (plain, seeing))
    assert all(torch.equal(one.actor[key], two.actor[key]) for key in one.actor)
    assert torch.equal(one.critic["privileged"], two.critic["privileged"])
    assert replace(seeing.spec.interface, views={}) == plain.spec.interface
    assert plain.look(()) == {}


def test_what_cannot_be_looked_at_is_an_error() -> None:
    world = make_world("pinch_cube", "twin", 1, threads=1, views=VIEWS)
    with pytest.raises(ScoreError, match=r"hand_cloud.*cloud_seen"):
        world.look((HAND_CLOUD,))
    with pytest.raises(ScoreError, match="picture"):
        config_of({"picture": VIEWS[CLOUD]}, 1)
    with pytest.raises(ScoreError, match="2 points cannot be shared out among 3"):
        cloud_views(CloudConfig(2, hand=True), 2)
    with pytest.raises(ScoreError, match="with 1 object"):
        config_of({CLOUD_SEEN: replace(VIEWS[CLOUD_SEEN], shape=(3,))}, 1)
    config = CloudConfig(96, True, 32)
    assert config_of(cloud_views(config, 2), 2) == config and views_of("pose", config, 2) == {}


# ---- domains ------------------------------------------------------------------------------------------------


def test_a_camera_is_a_few_lines_of_a_domain() -> None:
    table = {
        "name": "mine",
        "camera": {
            "position_m": [1.0, 0.0, 0.8],
            "resolution_px": [1280, 720],
            "dropout_share": {"episode": {"distribution": "constant", "value": 0.2}},
        },
    }
    made = parse_domain(table)
    assert made.camera == Camera(position_m=(1.0, 0.0, 0.8), resolution_px=(1280, 720))
    assert set(made.episode) == {"camera.dropout_share"}
    assert parse_domain(made.describe()) == made
    assert "camera" not in Domain("plain").describe()
    for camera, said in (
        ({"focal_px": 0.0}, "focal_px is 0.0, expected > 0"),
        ({"focal": 500.0}, "did you mean 'focal_px'"),
        ({"kind": "stereo"}, "depth, full"),
        ({"position_m": [0.5, 0.0, 1.0]}, "above one another"),
    ):
        with pytest.raises(ScoreError, match=said):
            parse_domain({"name": "mine", "camera": camera})


def test_no_critic_is_told_of_the_camera() -> None:
    parameters = parts.TASK.parameters
    untold = [name for name in parameters if not parameters[name].told]
    assert untold == list(parameters)[-len(untold) :]
    depth = [name for name in untold if name.startswith("camera.")]
    assert untold[: len(depth)] == depth and len(depth) == 6
    assert parameters.told == parameters.count - sum(parameters[name].size for name in untold)


@pytest.mark.parametrize("task", [name for name in task_names() if name != "pinch_cube"])
def test_every_task_can_be_looked_at(task: str) -> None:
    objects = len(get_task(task).observed)
    world = make_world(task, "twin", 2, threads=1, views=cloud_views(CloudConfig(hand=True), objects))
    world.reset([0, 1])
    seen = world.look((CLOUD, CLOUD_SEEN))
    assert seen[CLOUD].isfinite().all() and seen[CLOUD_SEEN].shape == (2, objects + 1)
    assert (seen[CLOUD_SEEN][:, :1] == 1).all()  # what is handled first is in sight when an episode begins
