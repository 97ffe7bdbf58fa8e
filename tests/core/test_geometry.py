"""Pose algebra on rotations that can be read off by eye."""

import math

import torch

from score_rl.core import rotations as geometry

HALF = math.sqrt(0.5)
QUARTER_Z = torch.tensor([HALF, 0.0, 0.0, HALF])  # +90 degrees about z: x -> y
QUARTER_X = torch.tensor([HALF, HALF, 0.0, 0.0])  # +90 degrees about x: y -> z


def close(a, b):
    return torch.allclose(a, torch.as_tensor(b, dtype=a.dtype), atol=1e-6)


def random_poses(n, seed):
    generator = torch.Generator().manual_seed(seed)
    position, quat = torch.randn(n, 3, generator=generator), torch.randn(n, 4, generator=generator)
    return torch.cat((position, geometry.quat_normalize(quat)), dim=-1).double()


def test_rotate():
    assert close(geometry.quat_rotate(QUARTER_Z, torch.tensor([1.0, 0.0, 0.0])), [0.0, 1.0, 0.0])
    assert close(geometry.quat_rotate(QUARTER_X, torch.tensor([0.0, 1.0, 2.0])), [0.0, -2.0, 1.0])


def test_product_applies_the_right_factor_first():
    both = geometry.quat_multiply(QUARTER_X, QUARTER_Z)  # x -> y (about z) -> z (about x)
    assert close(geometry.quat_rotate(both, torch.tensor([1.0, 0.0, 0.0])), [0.0, 0.0, 1.0])


def test_conjugate_is_the_inverse():
    product = geometry.quat_multiply(geometry.quat_conjugate(QUARTER_Z), QUARTER_Z)
    assert close(product, [1.0, 0.0, 0.0, 0.0])


def test_rot6d_holds_the_images_of_the_first_two_axes():
    assert close(geometry.rot6d(QUARTER_Z), [0.0, 1.0, 0.0, -1.0, 0.0, 0.0])
    assert close(geometry.rot6d(-QUARTER_X), [1.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    quat = random_poses(5, 0)[:, 3:]
    axes = [geometry.quat_rotate(quat, torch.eye(3).double()[i].expand(5, 3)) for i in (0, 1)]
    assert close(geometry.rot6d(quat), torch.cat(axes, dim=-1))


def test_pose_in_a_frame():
    # A frame at (1, 2, 3) turned by 90 degrees about z sees the point (1, 5, 3) at 3 along its own x.
    frame = torch.cat((torch.tensor([1.0, 2.0, 3.0]), QUARTER_Z))
    pose = torch.cat((torch.tensor([1.0, 5.0, 3.0]), QUARTER_Z))
    assert close(geometry.pose_in(frame, pose), [3.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    assert close(geometry.compose(frame, torch.tensor([3.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])), pose)


def test_compose_undoes_pose_in():
    frame, pose = random_poses(20, 1), random_poses(20, 2)
    assert close(geometry.compose(frame, geometry.pose_in(frame, pose)), pose)


def test_leading_dimensions_broadcast():
    frame, points = random_poses(4, 3)[:, None], torch.randn(4, 5, 3).double()
    seen = geometry.point_in(frame, points)
    assert seen.shape == (4, 5, 3)
    assert close(seen[2, 3], geometry.point_in(frame[2, 0], points[2, 3]))
