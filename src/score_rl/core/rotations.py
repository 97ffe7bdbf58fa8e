"""Batched rigid-body algebra on torch tensors.

Quaternions are unit, wxyz, (..., 4); a pose is position [m] then quaternion, (..., 7), and maps coordinates of its
body to the frame it is given in: p_frame = R(q) p_body + position.
"""

from __future__ import annotations

import torch
from torch import Tensor


def quat_multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product of quaternions (..., 4): the rotation b followed by a."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        (
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ),
        dim=-1,
    )


def quat_conjugate(q: Tensor) -> Tensor:
    """Inverse rotation of unit quaternions (..., 4)."""
    return torch.cat((q[..., :1], -q[..., 1:]), dim=-1)


def quat_normalize(q: Tensor) -> Tensor:
    """Quaternions (..., 4) scaled to unit length."""
    return q / q.norm(dim=-1, keepdim=True).clamp_min(1e-12)


def quat_rotate(q: Tensor, v: Tensor) -> Tensor:
    """Vectors (..., 3) rotated by unit quaternions (..., 4); leading dimensions broadcast."""
    w, u = q[..., :1], q[..., 1:]
    u, v = torch.broadcast_tensors(u, v)
    twice = 2.0 * torch.linalg.cross(u, v)
    return v + w * twice + torch.linalg.cross(u, twice)


def rot6d(q: Tensor) -> Tensor:
    """First two columns of the rotation matrix of unit quaternions (..., 4), as (..., 6).

    Continuous in the rotation and the same for q and -q (Zhou et al. 2019, "On the Continuity of Rotation
    Representations in Neural Networks").
    """
    w, x, y, z = q.unbind(-1)
    return torch.stack(
        (
            1.0 - 2.0 * (y * y + z * z),
            2.0 * (x * y + w * z),
            2.0 * (x * z - w * y),
            2.0 * (x * y - w * z),
            1.0 - 2.0 * (x * x + z * z),
            2.0 * (y * z + w * x),
        ),
        dim=-1,
    )


def point_in(frame: Tensor, point: Tensor) -> Tensor:
    """Points (..., 3) expressed in `frame` (..., 7); both given in the same parent frame."""
    return quat_rotate(quat_conjugate(frame[..., 3:]), point - frame[..., :3])


def pose_in(frame: Tensor, pose: Tensor) -> Tensor:
    """Pose (..., 7) expressed in `frame` (..., 7); both given in the same parent frame. Inverse of `compose`."""
    rotation = quat_multiply(quat_conjugate(frame[..., 3:]), pose[..., 3:])
    return torch.cat((point_in(frame, pose[..., :3]), rotation), dim=-1)


def compose(frame: Tensor, pose: Tensor) -> Tensor:
    """Pose (..., 7) given in `frame` (..., 7), expressed in the parent of `frame`."""
    position = frame[..., :3] + quat_rotate(frame[..., 3:], pose[..., :3])
    return torch.cat((position, quat_multiply(frame[..., 3:], pose[..., 3:])), dim=-1)
