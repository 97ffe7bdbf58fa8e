"""Depth images of the simulated scene become the views of a policy, through the client's tools and the template."""

from __future__ import annotations

import os
from collections.abc import Callable

import mujoco
import numpy as np
import pytest
from score_client.depth import DepthCamera, Workspace, cloud_views, masks_of
from test_drivers import FakeArm, FakeHand

from score_rl.core.errors import ScoreError
from score_rl.deploy.drivers.franka_leap_template import VIEWS, FrankaLeap
from score_rl.deploy.drivers.protocol import RobotDriver
from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.domain import Physics
from score_rl.sim.scene import joint_addresses, scene_spec
from score_rl.sim.task import get_task

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
    rays = (local @ axes().T).reshape(-1, 3)
    hit, length = np.full(len(rays), -1, np.int32), np.full(len(rays), -1.0)
    mujoco.mj_multiRay(
        model, data, CAMERA_M, rays.ravel(), None, True, -1, hit, length, None, len(rays), mujoco.mjMAXVAL
    )
    return length.reshape(HEIGHT, WIDTH), hit.reshape(HEIGHT, WIDTH)


def by_rendering(model: mujoco.MjModel, data: mujoco.MjData) -> tuple[np.ndarray, np.ndarray]:
    """The same from the renderer. Skips where there is no OpenGL."""
    if not os.environ.get("MUJOCO_GL"):
        pytest.skip("MUJOCO_GL names no way to render without a display")
    try:
        renderer = mujoco.Renderer(model, HEIGHT, WIDTH)
    except Exception as error:
        pytest.skip(f"no OpenGL: {error}")
    with renderer:
        renderer.enable_depth_rendering()
        renderer.update_scene(data, "depth")
        depth = renderer.render().copy()
        renderer.disable_depth_rendering()
        renderer.enable_segmentation_rendering()
        renderer.update_scene(data, "depth")
        ids = renderer.render()[..., 0].copy()
    return depth, ids


@pytest.mark.parametrize(("image", "tolerance_m"), [(by_rays, 1e-6), (by_rendering, 2e-3)])
def test_points_of_a_segment_lie_on_its_surface(image: Callable, tolerance_m: float) -> None:
    model, data = scene((0.45, -0.1, HALF))
    depth, ids = image(model, data)
    room = Workspace((0, -0.5, -0.1), (1, 0.5, 1))
    views = cloud_views(depth, masks_of(ids, [model.geom("cube").id]), camera(), 128, (0, 0, 0), room)
    assert views["cloud_seen"].tolist() == [1]
    away = np.abs(views["cloud"] - [0.45, -0.1, HALF])
    np.testing.assert_allclose(away.max(axis=1), HALF, atol=tolerance_m)  # on one of the faces
    top = np.abs(views["cloud"][:, 2] - 2 * HALF) < 1e-2 * HALF
    assert 0.2 < top.mean() < 0.8  # the top and what faces the camera


def test_the_template_shows_a_policy_what_its_camera_sees() -> None:
    scenes = [scene((0.45, -0.1, HALF)), scene((0.45, 1.5, HALF))]
    palms = []

    def look(palm: np.ndarray) -> dict[str, np.ndarray]:
        palms.append(palm)
        model, data = scenes[len(palms) - 1]
        depth, ids = by_rays(model, data)
        return cloud_views(depth, masks_of(ids, [model.geom("cube").id]), camera(), 128, palm)

    pose = ([0.45, -0.1, HALF, 1, 0, 0, 0], 123.0)
    robot = FrankaLeap(FakeArm(), FakeHand(), lambda: pose, print, look)  # type: ignore[arg-type]
    assert isinstance(robot, RobotDriver) and robot.spec.interface.views == VIEWS
    reading = robot.observe(0.0)
    seen = robot.look(("cloud", "cloud_seen"))
    assert {key: view.shape for key, view in seen.items()} == {key: array.shape for key, array in VIEWS.items()}
    assert np.linalg.norm(seen["cloud"] - [0.45, -0.1, HALF], axis=1).max() < np.sqrt(3) * HALF + 1e-6
    np.testing.assert_array_equal(palms[0], reading.frame["palm_pose"][:3])
    gone = robot.look(("cloud", "cloud_seen"))
    assert gone["cloud_seen"].tolist() == [0]
    np.testing.assert_array_equal(gone["cloud"], np.tile(palms[1], (128, 1)))
    blind = FrankaLeap(FakeArm(), FakeHand(), lambda: pose, print)  # type: ignore[arg-type]
    assert blind.spec.interface.views == {}
    with pytest.raises(ScoreError, match="shows cloud: give the option look"):
        blind.look(("cloud",))
