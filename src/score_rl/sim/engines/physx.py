"""PhysX 5 on the CPU, through SAPIEN: one scene per environment, built anew for every episode.

A step of SAPIEN holds Python's lock, so several cores take several processes; environments share nothing.
"""

from __future__ import annotations

import numpy as np

from score_rl.sim.domain import Physics
from score_rl.sim.engines.engine import Motion
from score_rl.sim.engines.physx_scene import Blueprint, PhysxScene
from score_rl.sim.engines.processes import Workers
from score_rl.sim.engines.settings import PhysxSettings
from score_rl.sim.plant import Plant
from score_rl.sim.scene import joint_addresses, scene_spec
from score_rl.sim.strain import low_pass
from score_rl.sim.task import Task


def load(task: Task, physics: Physics, num_envs: int, threads: int, free_space: bool = False) -> PhysxEngine:
    """See `engines.open_engine`."""
    return PhysxEngine(task, physics, num_envs, threads, free_space)


class PhysxEngine:
    """See `engines.Engine`.

    Contacts are rigid: an impact that soft ones spread over 20 ms is one of several hundred newtons for a step or
    two, which says more about the step than about the hand. So forces are told behind a critically damped pad (two
    equal first-order stages) of the contacts' time constant.
    """

    not_represented: frozenset[str] = frozenset()

    def __init__(self, task: Task, physics: Physics, num_envs: int, threads: int, free_space: bool = False) -> None:
        """threads: processes, where that is possible."""
        settings = physics.settings
        assert isinstance(settings, PhysxSettings)
        blueprint = Blueprint(task, scene_spec(task, physics), settings, physics.timestep_s, free_space)
        self.model, self.links, self._outputs = blueprint.model, blueprint.links, blueprint.outputs
        self.represented_in_part = blueprint.mixed_frictions()
        model = self.model
        self.qpos, self.qvel = np.tile(model.qpos0, (num_envs, 1)), np.zeros((num_envs, model.nv))
        self._seen = self.qpos.copy(), self.qvel.copy()
        """What the scenes hold."""
        self._parked = model.qpos0.copy()
        self._parked[joint_addresses(model, task.robot)[0]] = task.robot.home
        self._low, self._high = np.array(task.robot.target_lower), np.array(task.robot.target_upper)
        count = max(1, min(threads, num_envs))
        self._shares = [np.arange(first, num_envs, count) for first in range(count)]
        """Environments of every process."""
        self._workers = Workers([_Share(blueprint, len(rows)) for rows in self._shares])

    def begin(self, rows: np.ndarray, plant: Plant, qpos: np.ndarray) -> None:
        """See `Engine.begin`."""
        self.qpos[rows], self.qvel[rows] = qpos, 0
        for seen, now in zip(self._seen, (self.qpos, self.qvel)):
            seen[rows] = now[rows]
        tasks = []
        for share in self._shares:
            chosen = np.flatnonzero(np.isin(rows, share))
            tasks.append((np.searchsorted(share, rows[chosen]), plant, chosen, qpos[chosen]))
        self._workers.run("begin", tasks)

    def advance(self, targets: np.ndarray) -> Motion:
        """See `Engine.advance`."""
        n, steps, joints = targets.shape
        forces, torques = np.zeros((n, steps, self._outputs)), np.zeros((n, steps, joints))
        clipped = np.clip(targets, self._low, self._high)
        changed = (self.qpos != self._seen[0]).any(1) | (self.qvel != self._seen[1]).any(1)
        tasks = [(clipped[rows], self.qpos[rows], self.qvel[rows], changed[rows]) for rows in self._shares]
        for rows, result in zip(self._shares, self._workers.run("advance", tasks)):
            self.qpos[rows], self.qvel[rows], forces[rows], torques[rows] = result
        diverged = ~_finite(self.qpos, self.qvel)
        self.qpos[diverged], self.qvel[diverged] = self._parked, 0
        forces[diverged] = torques[diverged] = 0
        self._seen[0][:], self._seen[1][:] = self.qpos, self.qvel
        links = len(self.links)
        return Motion(forces[:, :, :links], torques, forces[:, :, links:], diverged)


class _Share:
    """The environments of one process."""

    def __init__(self, blueprint: Blueprint, count: int) -> None:
        self._blueprint = blueprint
        self._scenes: list[PhysxScene | None] = [None] * count
        self._pad = np.zeros((2, count, blueprint.outputs))
        """What the two stages of the pads give, newtons."""
        self._pad_decay = np.zeros((count, 1))

    def begin(self, slots: np.ndarray, plant: Plant, rows: np.ndarray, qpos: np.ndarray) -> None:
        """Episodes in some of the environments, with the plants in `rows`, at rest."""
        for slot, row, start in zip(slots, rows, qpos):
            scene = PhysxScene(self._blueprint, plant, row)
            scene.write(start, np.zeros(self._blueprint.model.nv))
            self._scenes[slot] = scene
        self._pad[:, slots] = 0
        self._pad_decay[slots, 0] = np.exp(-self._blueprint.timestep_s / plant.contact_time_constant_s[rows])

    def advance(
        self, targets: np.ndarray, qpos: np.ndarray, qvel: np.ndarray, changed: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """(qpos, qvel, forces, torques) after a control period; an environment that diverges is given up."""
        n, steps, joints = targets.shape
        forces, torques = np.zeros((n, steps, self._blueprint.outputs)), np.zeros((n, steps, joints))
        finite = _finite(qpos, qvel)
        for row, scene in enumerate(self._scenes):
            if scene is None or not finite[row]:
                continue
            if changed[row]:
                scene.write(qpos[row], qvel[row])
            scene.run(targets[row], forces[row], torques[row])
            scene.read(qpos[row], qvel[row])
        for stage in self._pad:
            forces = low_pass(forces, stage, self._pad_decay)
            stage[:] = forces[:, -1]
        for row in np.flatnonzero(~_finite(qpos, qvel)):
            self._scenes[row] = None
            self._pad[:, row] = forces[row] = 0
        return qpos, qvel, forces, torques


def _finite(qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
    """(n,) the state is finite."""
    return np.isfinite(qpos).all(1) & np.isfinite(qvel).all(1)
