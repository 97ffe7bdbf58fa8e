"""PhysX 5 on the CPU, through SAPIEN: one scene per environment, built anew for every episode."""

from __future__ import annotations

import numpy as np

from score_rl.sim.domain import Physics
from score_rl.sim.engines.engine import Motion
from score_rl.sim.engines.physx_scene import Blueprint, PhysxScene
from score_rl.sim.engines.settings import PhysxSettings
from score_rl.sim.plant import Plant
from score_rl.sim.scene import joint_addresses, scene_spec
from score_rl.sim.task import Task


def load(task: Task, physics: Physics, num_envs: int, threads: int, free_space: bool = False) -> PhysxEngine:
    """See `engines.open_engine`."""
    return PhysxEngine(task, physics, num_envs, threads, free_space)


class PhysxEngine:
    """See `engines.Engine`. Contact forces are normal forces: SAPIEN does not tell those of friction."""

    not_represented: frozenset[str] = frozenset({"contact.time_constant_s"})

    def __init__(self, task: Task, physics: Physics, num_envs: int, threads: int, free_space: bool = False) -> None:
        settings = physics.settings
        assert isinstance(settings, PhysxSettings)
        self._blueprint = Blueprint(task, scene_spec(task, physics), settings, physics.timestep_s, free_space)
        self.model, self.links = self._blueprint.model, self._blueprint.links
        model = self.model
        self.qpos, self.qvel = np.tile(model.qpos0, (num_envs, 1)), np.zeros((num_envs, model.nv))
        self._seen = self.qpos.copy(), self.qvel.copy()
        """What the scenes hold."""
        self._scenes: list[PhysxScene | None] = [None] * num_envs
        self._parked = model.qpos0.copy()
        self._parked[joint_addresses(model, task.robot)[0]] = task.robot.home
        self._low, self._high = np.array(task.robot.target_lower), np.array(task.robot.target_upper)

    def begin(self, rows: np.ndarray, plant: Plant, qpos: np.ndarray) -> None:
        """See `Engine.begin`."""
        self.qpos[rows], self.qvel[rows] = qpos, 0
        for k, row in enumerate(rows):
            scene = PhysxScene(self._blueprint, plant, k)
            scene.write(self.qpos[row], self.qvel[row])
            self._scenes[row] = scene
        for seen, now in zip(self._seen, (self.qpos, self.qvel)):
            seen[rows] = now[rows]

    def advance(self, targets: np.ndarray) -> Motion:
        """See `Engine.advance`."""
        n, steps, joints = targets.shape
        forces, torques = np.zeros((n, steps, self._blueprint.outputs)), np.zeros((n, steps, joints))
        clipped = np.clip(targets, self._low, self._high)
        changed = ((self.qpos != self._seen[0]).any(1)) | ((self.qvel != self._seen[1]).any(1))
        diverged = ~self._finite()
        for row in np.flatnonzero(~diverged):
            scene = self._scenes[row]
            if scene is None:
                continue
            if changed[row]:
                scene.write(self.qpos[row], self.qvel[row])
            scene.run(clipped[row], forces[row], torques[row])
            scene.read(self.qpos[row], self.qvel[row])
        diverged |= ~self._finite()
        for row in np.flatnonzero(diverged):
            self._scenes[row] = None
        self.qpos[diverged], self.qvel[diverged] = self._parked, 0
        forces[diverged] = torques[diverged] = 0
        self._seen[0][:], self._seen[1][:] = self.qpos, self.qvel
        links = len(self.links)
        return Motion(forces[:, :, :links], torques, forces[:, :, links:], diverged)

    def _finite(self) -> np.ndarray:
        """(n,) the state is finite."""
        return np.isfinite(self.qpos).all(1) & np.isfinite(self.qvel).all(1)
