"""What all scenes of a task in PhysX have in common, read from the compiled MjModel; needs no PhysX."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import mujoco
import numpy as np

from score_rl.core.errors import ScoreError
from score_rl.sim.engines.physx_friction import mixed
from score_rl.sim.engines.settings import PhysxSettings
from score_rl.sim.plant import ObjectParts
from score_rl.sim.scene import TABLE_GEOM, hand_bodies, members
from score_rl.sim.task import Task

_GEOM, _JOINT = mujoco.mjtGeom, mujoco.mjtJoint
_KINDS = (_GEOM.mjGEOM_BOX, _GEOM.mjGEOM_SPHERE, _GEOM.mjGEOM_CAPSULE, _GEOM.mjGEOM_CYLINDER, _GEOM.mjGEOM_PLANE)


class Blueprint:
    """What the scenes of all environments have in common."""

    def __init__(
        self, task: Task, spec: mujoco.MjSpec, settings: PhysxSettings, timestep_s: float, free_space: bool
    ) -> None:
        self.model = model = spec.compile()
        self.task, self.settings, self.timestep_s, self.free_space = task, settings, timestep_s, free_space
        self.links = () if free_space else tuple(hand_bodies(spec))
        self.names = [model.body(k).name for k in range(model.nbody)]
        self.parts = {item.name: ObjectParts(model, item.name) for item in task.objects}
        self.owner = {body: name for name, parts in self.parts.items() for body in parts.bodies}
        self.shapes = {body: self._shapes(body) for body in range(model.nbody)}
        self.smooth = {name for body, name in self.owner.items() if any(model.geom_priority[self.shapes[body]] > 1)}
        """Objects whose friction rules over the others'."""
        self.slots: dict[tuple[str, str], list[tuple[int, float]]] = {}
        """(body, other body) -> where the force on the body counts among links and pairs, and its sign."""
        for row, link in enumerate(self.links):
            for other in [*self.names, TABLE_GEOM]:
                self._count(link, other, row)
        pairs = [] if free_space else task.contacts
        for row, (one, other) in enumerate(pairs, start=len(self.links)):
            for first in members(spec, task, one):
                for second in members(spec, task, other):
                    self._count(first, second, row)
        self.outputs = len(self.links) + len(pairs)
        self.rolling_m = {
            body: max(model.geom_friction[g, 2] for g in geoms)
            for body, geoms in self.shapes.items()
            if body and geoms and (model.geom_condim[geoms] == 6).any()
        }
        """Body -> coefficient of its rolling friction."""
        _refuse_what_cannot_be(model, [geom for geoms in self.shapes.values() for geom in geoms])

    def mixed_frictions(self) -> tuple[str, ...]:
        """Contacts between objects that may have another friction than MuJoCo's."""
        model = self.model
        known = {
            item.name: None
            if "friction" in item.varies
            else float(model.geom_friction[self.parts[item.name].geoms[0], 0])
            for item in self.task.objects
        }
        bodies = {name: [body for body in parts.bodies if self.shapes[body]] for name, parts in self.parts.items()}
        pairs = combinations_with_replacement(known, 2)
        touching = [(a, b) for a, b in pairs if any(self._touch(x, y) for x in bodies[a] for y in bodies[b])]
        return mixed(known, self.smooth, touching)

    def _touch(self, one: int, other: int) -> bool:
        """Two bodies can touch: another than itself, not both immovable, and their masks say so."""
        model = self.model
        if one == other or not (model.body_weldid[one] or model.body_weldid[other]):
            return False
        mine, others = np.array(self.shapes[one]), np.array(self.shapes[other])
        there, back = (
            model.geom_contype[a][:, None] & model.geom_conaffinity[b] for a, b in ((mine, others), (others, mine))
        )
        return bool(there.any() or back.any())

    def _shapes(self, body: int) -> list[int]:
        """Geoms of a body that touch something."""
        model = self.model
        mine = np.flatnonzero(model.geom_bodyid == body)
        touching = (model.geom_contype[mine] != 0) | (model.geom_conaffinity[mine] != 0)
        return [] if self.free_space else mine[touching].tolist()

    def _count(self, one: str, other: str, row: int) -> None:
        self.slots.setdefault((one, other), []).append((row, 1.0))
        self.slots.setdefault((other, one), []).append((row, -1.0))


def _refuse_what_cannot_be(model: mujoco.MjModel, touching: Sequence[int]) -> None:
    """Raise ScoreError for what a scene has and this engine does not; touching: geoms that collide."""
    for geom in touching:
        kind = _GEOM(model.geom_type[geom])
        if kind not in _KINDS:
            named, word = model.geom(geom).name, kind.name.removeprefix("mjGEOM_").lower()
            raise ScoreError(
                f"engine 'physx': geom '{named}' is of the kind {word}; it has box, sphere, capsule, cylinder"
            )
    for body in range(1, model.nbody):
        name, joints = model.body(body).name, int(model.body_jntnum[body])
        free = joints and model.jnt_type[model.body_jntadr[body]] == _JOINT.mjJNT_FREE
        if joints > 1 or (free and (model.body_parentid == body).any()):
            raise ScoreError(f"engine 'physx': body '{name}' is free and jointed, or has several joints")
        if joints and model.jnt_type[model.body_jntadr[body]] == _JOINT.mjJNT_BALL:
            raise ScoreError(f"engine 'physx': body '{name}' has a ball joint")
        if model.body_gravcomp[body] not in (0, 1):
            raise ScoreError(f"engine 'physx': gravity of body '{name}' is compensated in part")
    for what, count in (("equality constraints", model.neq), ("tendons", model.ntendon)):
        if count:
            raise ScoreError(f"engine 'physx': the scene has {what}")
