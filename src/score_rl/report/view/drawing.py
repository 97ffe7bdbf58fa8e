"""What there is to draw of a MuJoCo scene: a mesh per body and colour, and where every body is."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
import trimesh

SHOWN_GROUPS = 3
"""Geoms of the groups below it are drawn, as in MuJoCo's own viewer."""
PLANE_HALF_WIDTH, PLANE_THICKNESS = 0.8, 0.002
"""Of a plane that is drawn as a plate [m]: an endless one hides its neighbours, where scenes stand side by side."""


@dataclass(frozen=True)
class BodyMesh:
    """All geoms of one colour on one body."""

    body: int
    """Number of the body in the model."""
    vertices: np.ndarray
    """(v, 3) in the body's frame, m."""
    faces: np.ndarray
    """(f, 3) numbers of vertices."""
    color: tuple[int, int, int]
    opacity: float
    """0 to 1."""


class Drawing:
    """The meshes of a scene, and the poses of its bodies in any configuration."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self.model, self._data = model, mujoco.MjData(model)
        self.meshes = body_meshes(model)
        self.bodies = sorted({mesh.body for mesh in self.meshes})
        """Numbers of the bodies that have something to draw."""

    def poses(self, qpos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions (bodies, 3) in m and quaternions (bodies, 4) wxyz of `bodies` in a configuration (nq,)."""
        self._data.qpos[:] = qpos
        mujoco.mj_kinematics(self.model, self._data)
        return self._data.xpos[self.bodies].copy(), self._data.xquat[self.bodies].copy()


def body_meshes(model: mujoco.MjModel) -> list[BodyMesh]:
    """One mesh per body and colour, of everything that can be seen."""
    parts: dict[tuple[int, tuple[float, ...]], list[trimesh.Trimesh]] = {}
    for geom in range(model.ngeom):
        material = model.geom_matid[geom]
        color = model.geom_rgba[geom] if material < 0 else model.mat_rgba[material]
        if model.geom_group[geom] >= SHOWN_GROUPS or color[3] == 0:
            continue
        mesh = geom_mesh(model, geom)
        if mesh is not None:
            key = (int(model.geom_bodyid[geom]), tuple(float(c) for c in color))
            parts.setdefault(key, []).append(mesh)
    return [_merged(body, color, meshes) for (body, color), meshes in parts.items()]


def geom_mesh(model: mujoco.MjModel, geom: int) -> trimesh.Trimesh | None:
    """A geom in its body's frame; None for height fields and other kinds without a simple surface."""
    kind, size = mujoco.mjtGeom(model.geom_type[geom]), model.geom_size[geom]
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        mesh = trimesh.creation.box(extents=2 * size)
    elif kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        mesh = trimesh.creation.icosphere(subdivisions=2, radius=size[0])
    elif kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        mesh = trimesh.creation.icosphere(subdivisions=2)
        mesh.apply_scale(size)
    elif kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        mesh = trimesh.creation.cylinder(radius=size[0], height=2 * size[1], sections=24)
    elif kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        mesh = trimesh.creation.capsule(height=2 * size[1], radius=size[0], count=[12, 12])
    elif kind == mujoco.mjtGeom.mjGEOM_PLANE:
        half = np.where(size[:2] > 0, np.minimum(size[:2], PLANE_HALF_WIDTH), PLANE_HALF_WIDTH)
        mesh = trimesh.creation.box(extents=[2 * half[0], 2 * half[1], PLANE_THICKNESS])
        mesh.apply_translation([0, 0, -PLANE_THICKNESS / 2])
    elif kind == mujoco.mjtGeom.mjGEOM_MESH:
        mesh = _stored_mesh(model, model.geom_dataid[geom])
    else:
        return None
    placed = np.eye(4)
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.geom_quat[geom])
    placed[:3, :3], placed[:3, 3] = rotation.reshape(3, 3), model.geom_pos[geom]
    mesh.apply_transform(placed)
    return mesh


def _stored_mesh(model: mujoco.MjModel, mesh: int) -> trimesh.Trimesh:
    vertex, face = model.mesh_vertadr[mesh], model.mesh_faceadr[mesh]
    vertices = model.mesh_vert[vertex : vertex + model.mesh_vertnum[mesh]]
    return trimesh.Trimesh(vertices, model.mesh_face[face : face + model.mesh_facenum[mesh]], process=False)


def _merged(body: int, color: tuple[float, ...], meshes: list[trimesh.Trimesh]) -> BodyMesh:
    mesh = trimesh.util.concatenate(meshes)
    red, green, blue = (round(255 * c) for c in color[:3])
    return BodyMesh(body, np.asarray(mesh.vertices), np.asarray(mesh.faces), (red, green, blue), color[3])
