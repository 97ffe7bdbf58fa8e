"""Depth images of the simulated scene become the views of a policy, through the client's tools and the template."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import mujoco
import numpy as np
import pytest
from score_client.depth import DepthCamera, Workspace, cloud_views, masks_of, segment_points
from test_drivers import FakeArm, FakeHand

from score_rl.core.clouds import CloudConfig
from score_rl.core.clouds import cloud_views as core_views
from score_rl.core.errors import ScoreError
from score_rl.deploy.drivers.franka_leap_template import VIEWS, FrankaLeap, make_robot
from score_rl.deploy.drivers.protocol import RobotDriver
from score_rl.report.video import check_gl
from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.domain import Physics, parse_domain
from score_rl.sim.plant import ObjectParts
from score_rl.sim.scene import joint_addresses, scene_spec
from score_rl.sim.task import get_task
from score_rl.sim.world import SimulatedWorld

WIDTH, HEIGHT, FOCAL = 96, 72, 120.0
CAMERA_M, TARGET_M = np.array([1.2, -0.5, 0.6]), np.array([0.5, 0.0, 0.05])
HALF = 0.0225


def axes() -> np.ndarray:
    """(3, 3) whose columns are the camera's x (right), y (down) and z (forward) in the base frame."""
    forward = (TARGET_M - CAMERA_M) / np.linalg.norm(TARGET_M - CAMERA_M)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward], axis=1)


def camera() -> DepthCamera:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = axes(), CAMERA_M
    return DepthCamera((FOCAL, FOCAL), ((WIDTH - 1) / 2, (HEIGHT - 1) / 2), pose)


def scene(cube: tuple[float, float, float]) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """The robot at home, and the cube somewhere."""
    spec = scene_spec(get_task("pinch_cube"), Physics())
    # MuJoCo's cameras look along -z with y up.
    fovy, xyaxes = np.degrees(2 * np.arctan(HEIGHT / 2 / FOCAL)), [*axes()[:, 0], *-axes()[:, 1]]
    spec.worldbody.add_camera(name="depth", pos=CAMERA_M, fovy=fovy, xyaxes=xyaxes)
    model = spec.compile()
    data = mujoco.MjData(model)
    data.qpos[joint_addresses(model, FRANKA_LEAP)[0]] = FRANKA_LEAP.home
    data.qpos[model.joint("cube").qposadr[0] :][:3] = cube
    mujoco.mj_forward(model, data)
    return model, data


def by_rays(model: mujoco.MjModel, data: mujoco.MjData) -> tuple[np.ndarray, np.ndarray]:
    """Depth (h, w) and geoms (h, w), -1 where nothing is; a ray through the middle of every pixel."""
    column, row = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    local = np.stack([(column - (WIDTH - 1) / 2) / FOCAL, (row - (HEIGHT - 1) / 2) / FOCAL, np.ones(row.shape)], -1)
    return cast(model, data, CAMERA_M, local @ axes().T)


def cast(
    model: mujoco.MjModel, data: mujoco.MjData, origin: np.ndarray, rays: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Depths and geoms, both (...), that rays (..., 3) of unit depth hit first."""
    shape, count = rays.shape[:-1], rays[..., 0].size
    hit, length = np.full(count, -1, np.int32), np.full(count, -1.0)
    flat = np.ascontiguousarray(rays, np.float64).ravel()
    mujoco.mj_multiRay(model, data, origin, flat, None, True, -1, hit, length, None, count, mujoco.mjMAXVAL)
    return length.reshape(shape), hit.reshape(shape)


def by_sensor(model: mujoco.MjModel, data: mujoco.MjData) -> tuple[np.ndarray, np.ndarray]:
    """The same as a sensor has it: 1 mm of noise, whole millimetres, a tenth of the pixels without depth (0)."""
    depth, ids = by_rays(model, data)
    draw = np.random.default_rng(0)
    measured = np.rint(1000 * (depth + 0.001 * draw.standard_normal(depth.shape))) / 1000
    return np.where(draw.random(depth.shape) < 0.1, 0.0, measured), ids


def by_rendering(model: mujoco.MjModel, data: mujoco.MjData) -> tuple[np.ndarray, np.ndarray]:
    """The same from MuJoCo's renderer, in a process of its own, which needs no display. Skips without OpenGL."""
    if reason := check_gl():
        pytest.skip(reason)
    driver = {"MUJOCO_GL": os.environ.get("MUJOCO_GL") or "egl"} if sys.platform == "linux" else {}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in driver.items():
            patch.setenv(name, value)  # read when MuJoCo is imported
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            return pool.submit(rendered, model, data.qpos.copy()).result()


def rendered(model: mujoco.MjModel, qpos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the renderer makes of a configuration."""
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, HEIGHT, WIDTH) as renderer:
        renderer.enable_depth_rendering()
        renderer.update_scene(data, "depth")
        depth = renderer.render().copy()
        renderer.disable_depth_rendering()
        renderer.enable_segmentation_rendering()
        renderer.update_scene(data, "depth")
        return depth, renderer.render()[..., 0].copy()


IMAGES = pytest.mark.parametrize(
    ("image", "tolerance_m"),
    # Five standard deviations of the noise; what a depth buffer resolves.
    [(by_rays, 1e-6), (by_sensor, 5.5e-3), pytest.param(by_rendering, 2e-3, marks=pytest.mark.slow)],
)


@IMAGES
def test_points_of_a_segment_lie_on_its_surface(image: Callable, tolerance_m: float) -> None:
    model, data = scene((0.45, -0.1, HALF))
    depth, ids = image(model, data)
    mask, room = masks_of(ids, [model.geom("cube").id]), Workspace((0, -0.5, -0.1), (1, 0.5, 1))
    views = cloud_views(depth, mask, camera(), 128, (0, 0, 0), room)
    assert views["cloud_seen"].tolist() == [1]
    away = np.abs(views["cloud"] - [0.45, -0.1, HALF])
    np.testing.assert_allclose(away.max(axis=1), HALF, atol=tolerance_m)  # on one of the faces
    top = np.abs(views["cloud"][:, 2] - 2 * HALF) < 1e-2 * HALF + tolerance_m
    assert 0.2 < top.mean() < 0.8  # the top and what faces the camera
    # A workspace that ends in the cube's middle cuts it there, one that ends before it leaves nothing.
    half = cloud_views(depth, mask, camera(), 128, (0, 0, 0), Workspace((0.45, -0.5, -0.1), (1, 0.5, 1)))
    assert half["cloud"][:, 0].min() >= 0.45 and half["cloud_seen"].tolist() == [1]
    gone = cloud_views(depth, mask, camera(), 128, (7, 8, 9), Workspace((0.5, -0.5, -0.1), (1, 0.5, 1)))
    assert gone["cloud_seen"].tolist() == [0] and (gone["cloud"] == [7, 8, 9]).all()


def test_a_worlds_clouds_are_points_of_its_cameras_whole_image() -> None:
    # No errors, and everything of nominal size: what the world picks of an image, the client picks from.
    task, domain = get_task("pinch_cube"), parse_domain({"name": "plain"})
    world = SimulatedWorld(task, domain, 1, threads=1, views=core_views(CloudConfig(64, hand=True), 1))
    world.reset([3])
    data, eye = mujoco.MjData(world.model), domain.camera
    data.qpos[:] = world.qpos()[0]
    mujoco.mj_forward(world.model, data)
    width, height = eye.resolution_px
    column, row = np.meshgrid(np.arange(width), np.arange(height))
    depth, ids = cast(world.model, data, np.array(eye.position_m), eye.rays(np.stack([column, row], -1) + 0.5))
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = eye.axes.T, eye.position_m
    lens = DepthCamera((eye.focal_px,) * 2, ((width - 1) / 2, (height - 1) / 2), pose)
    hand = ObjectParts(world.model, world.model.body(world.model.site(FRANKA_LEAP.palm).bodyid[0]).name).geoms
    seen = world.look(("cloud",))["cloud"][0].numpy()
    for mask, points in zip((ids == world.model.geom("cube").id, np.isin(ids, hand)), np.split(seen, 2)):
        every, have = segment_points(depth, mask, lens, int(mask.sum()))
        assert have > 500
        assert np.linalg.norm(every[:, None] - points, axis=2).min(axis=0).max() < 1e-5


@IMAGES
def test_the_template_shows_a_policy_what_its_camera_sees(image: Callable, tolerance_m: float) -> None:
    scenes = [scene((0.45, -0.1, HALF)), scene((0.45, 1.5, HALF))]
    palms = []

    def look(palm: np.ndarray) -> dict[str, np.ndarray]:
        palms.append(palm)
        model, data = scenes[len(palms) - 1]
        depth, ids = image(model, data)
        return cloud_views(depth, masks_of(ids, [model.geom("cube").id]), camera(), 128, palm)

    pose = ([0.45, -0.1, HALF, 1, 0, 0, 0], 123.0)
    robot = FrankaLeap(FakeArm(), FakeHand(), lambda: pose, print, look)  # type: ignore[arg-type]
    assert isinstance(robot, RobotDriver) and robot.spec.interface.views == VIEWS
    reading = robot.observe(0.0)
    seen = robot.look(("cloud", "cloud_seen"))
    assert {key: view.shape for key, view in seen.items()} == {key: array.shape for key, array in VIEWS.items()}
    assert np.linalg.norm(seen["cloud"] - [0.45, -0.1, HALF], axis=1).max() < np.sqrt(3) * HALF + tolerance_m
    np.testing.assert_array_equal(palms[0], reading.frame["palm_pose"][:3])
    gone = robot.look(("cloud", "cloud_seen"))
    assert gone["cloud_seen"].tolist() == [0]
    np.testing.assert_array_equal(gone["cloud"], np.tile(palms[1], (128, 1)))
    blind = FrankaLeap(FakeArm(), FakeHand(), lambda: pose, print)  # type: ignore[arg-type]
    assert blind.spec.interface.views == {}
    with pytest.raises(ScoreError, match="shows cloud: give the option look"):
        blind.look(("cloud",))


def test_a_robot_whose_camera_gives_no_poses_shows_none() -> None:
    def look(palm: np.ndarray) -> dict[str, np.ndarray]:
        return {"cloud": np.tile(palm, (128, 1)), "cloud_seen": np.zeros(1)}

    robot = FrankaLeap(FakeArm(), FakeHand(), None, print, look)  # type: ignore[arg-type]
    before = time.monotonic()
    reading = robot.observe(0.0)
    assert set(reading.frame) == set(robot.spec.interface.observation) == {
        "state", "command", "palm_pose", "fingertip_pos"}  # fmt: skip
    assert before <= reading.measured_at <= time.monotonic()
    with pytest.raises(ScoreError, match="option pose must look like module:function"):
        make_robot()
