"""The scene that clouds are taken of: its parts, where they are, and what rays hit. Whichever engine moves it."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from mujoco.batch import Batch

from score_rl.sim.domain import Physics
from score_rl.sim.plant import ObjectParts, Plant
from score_rl.sim.scene import TABLE_GEOM, scene_spec
from score_rl.sim.surfaces import area, check_shapes, corners, sample
from score_rl.sim.task import Task

_BANK = 1024
"""Points of a segment's surface from which the full cloud takes its share."""


@dataclass(frozen=True)
class Segment:
    """One thing in a cloud: an object, or the hand."""

    name: str
    """Of the object; "" is the hand."""
    geoms: np.ndarray
    """Its geoms."""
    corners: np.ndarray
    """(geoms, 8, 3) corners of the boxes around them, in the geoms' frames, at nominal size."""
    bank: np.ndarray
    """(bank, 3) points on their surfaces in the geoms' frames, in random order, uniform over the area."""
    bank_geoms: np.ndarray
    """(bank,) the geom of every such point."""


class CloudScene:
    """n environments of a task's scene, without contacts: kinematics and rays only."""

    def __init__(self, task: Task, num_envs: int, threads: int) -> None:
        spec = scene_spec(task, Physics())
        spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT | mujoco.mjtDisableBit.mjDSBL_CONSTRAINT
        self.model = model = spec.compile()
        self._parts = {item.name: ObjectParts(model, item.name) for item in task.observed.values()}
        self.objects = [_segment(model, name, parts.geoms) for name, parts in self._parts.items()]
        """Of the objects that are seen, in their declared order."""
        hand = ObjectParts(model, model.body(model.site(task.robot.palm).bodyid[0]).name)
        self.hand = _segment(model, "", hand.geoms)
        """Everything that hangs on the palm."""
        self._table = model.geom(TABLE_GEOM).id
        self._tips = [model.geom(name).id for name in task.robot.fingertips]
        self._batch = Batch(model, num_envs, threads)
        names = ("geom_size", "geom_pos", "geom_rbound", "body_pos", "jnt_pos")
        self._nominal = {name: getattr(model, name).copy() for name in names}
        self._field = {name: self._batch.expand(name) for name in names}
        self._batch.set_const()
        self._scale = np.ones((num_envs, model.ngeom))
        self._qpos = self._batch.bind("qpos")
        self._position, self._matrix = self._batch.bind("geom_xpos"), self._batch.bind("geom_xmat")

    def begin(self, rows: np.ndarray, plant: Plant) -> None:
        """Episodes start in environments `rows` (k,): sizes of objects and fingertips, height of the table."""
        field, nominal, cells = self._field, self._nominal, rows[:, None]
        radius = nominal["geom_size"][self._tips, 0]
        thicker = radius * (plant.tip_radius_scale[:, None] - 1)
        field["geom_size"][cells, self._tips, 0] = radius + thicker
        field["geom_rbound"][cells, self._tips] = nominal["geom_rbound"][self._tips] + thicker
        field["geom_pos"][rows, self._table, 2] = plant.table_height_m
        field["body_pos"][rows], field["jnt_pos"][rows] = plant.body_pos, plant.joint_pos
        for name, parts in self._parts.items():
            geoms, scale = parts.geoms, plant.objects[name].size_scale[:, None]
            self._scale[cells, geoms] = scale
            field["geom_rbound"][cells, geoms] = nominal["geom_rbound"][geoms] * scale
            for quantity in ("geom_size", "geom_pos"):
                field[quantity][cells, geoms] = nominal[quantity][geoms] * scale[..., None]

    def place(self, rows: np.ndarray, qpos: np.ndarray) -> Placed:
        """Where everything is in configurations (k, nq) of environments `rows` (k,)."""
        self._qpos[rows] = qpos
        self._batch.forward(rows, stage=mujoco.mjtStage.mjSTAGE_POS)
        matrix = self._matrix[rows].reshape(len(rows), -1, 3, 3)
        return Placed(self._position[rows], matrix, self._scale[rows])

    def rays(self, rows: np.ndarray, origin: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(k, r) lengths, in units of the directions (k, r, 3), and geoms that rays from `origin` (3,) hit first in
        environments `rows` (k,) as they were placed; -1 for a miss."""
        return self._batch.ray(origin, direction, ids=rows)


@dataclass(frozen=True)
class Placed:
    """Where geoms are: k environments, g geoms, base frame."""

    position: np.ndarray
    """(k, g, 3)"""
    matrix: np.ndarray
    """(k, g, 3, 3)"""
    scale: np.ndarray
    """(k, g) factor on the nominal size."""

    def corners(self, segment: Segment) -> np.ndarray:
        """(k, corners, 3) of the boxes around a segment's geoms."""
        geoms = segment.geoms
        local = segment.corners * self.scale[:, geoms, None, None]
        moved = np.einsum("kgij,kgcj->kgci", self.matrix[:, geoms], local) + self.position[:, geoms, None]
        return moved.reshape(len(moved), -1, 3)

    def surface(self, segment: Segment, start: np.ndarray, count: int) -> np.ndarray:
        """(k, count, 3) points of a segment's surface: those of its bank from `start` (k,) in [0, 1) on."""
        taken = ((start * _BANK).astype(int)[:, None] + np.arange(count)) % _BANK
        each, geoms = np.arange(len(start))[:, None], segment.bank_geoms[taken]
        local = segment.bank[taken] * self.scale[each, geoms, None]
        return np.einsum("kpij,kpj->kpi", self.matrix[each, geoms], local) + self.position[each, geoms]


def _segment(model: mujoco.MjModel, name: str, geoms: np.ndarray) -> Segment:
    check_shapes(model, geoms)
    generator = np.random.default_rng(0)
    areas = np.array([area(model, geom) for geom in geoms])
    owners = generator.choice(geoms, _BANK, p=areas / areas.sum())
    bank = np.empty((_BANK, 3))
    for geom in geoms:
        mine = owners == geom
        bank[mine] = sample(model, geom, int(mine.sum()), generator)
    return Segment(name, geoms, np.stack([corners(model, geom) for geom in geoms]), bank, owners)
