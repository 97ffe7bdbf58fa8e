"""The simulated world: one task, one robot, one domain, n environments, whichever engine moves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import mujoco
import numpy as np
import torch
from torch import Tensor

from score_rl.contracts import ArraySpec, Frame, Observation, StepResult, WorldSpec
from score_rl.core.clouds import config_of
from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.frames import LazyFrame
from score_rl.core.parallel import usable_cores
from score_rl.core.seeding import derive_seed
from score_rl.sim.actuation import Actuation
from score_rl.sim.clouds import Clouds
from score_rl.sim.domain import Domain, load_domain
from score_rl.sim.draws import Draws
from score_rl.sim.engines.engine import Motion, not_applied, open_engine
from score_rl.sim.episode import plan_episodes
from score_rl.sim.nan_dump import write_nan_dump
from score_rl.sim.plant import Plant, PlantBuilder
from score_rl.sim.robot import CONTROL_RATE_HZ, robot_interface
from score_rl.sim.scene import joint_addresses, off_centre, with_faces
from score_rl.sim.sensors import Rows, Sensors
from score_rl.sim.state import Configuration, SceneState
from score_rl.sim.strain import RULES, Strain, low_pass
from score_rl.sim.task import Task, get_task
from score_rl.sim.truth import Instant

ALL = slice(None)
"""Every environment."""


def make_world(
    task: str,
    domain: str | Path | Domain,
    num_envs: int,
    robot_seed: int = 0,
    threads: int = 0,
    nan_dump_dir: Path | None = None,
    views: Mapping[str, ArraySpec] | None = None,
) -> SimulatedWorld:
    """A simulated world by names; `domain` is "twin", "proxy", the path of a TOML file, or a Domain.

    threads: of the physics; 0: one per usable core. nan_dump_dir: where episodes that diverge are written down, for
    `score_rl.sim.nan_replay`. views: what can be looked at (`core.clouds`), in these shapes; by default nothing.
    Raises ScoreError for unknown names, a malformed domain and views that it does not have.
    """
    domain = domain if isinstance(domain, Domain) else load_domain(domain)
    return SimulatedWorld(get_task(task), domain, num_envs, robot_seed, threads, nan_dump_dir, views)


class SimulatedWorld:
    """A simulated `World`.

    Actor keys (what a robot has): `state` (23) measured joints, `command` (23) last command, `object_pose` (7)
    estimate in the robot base frame of the task's first object that is seen, `NAME_pose` (7) of every other,
    `palm_pose` (7) and `fingertip_pos` (12) by forward kinematics of the measured joints. Critic keys: `privileged`,
    the truth (see `Truth`). Views, where they are asked for: point clouds (`core.clouds`). Step info: `peak_force_n`,
    `fault`, `nan`, and the figures of `strain.Strain`.
    Episodes end with held success, the protective stop, NaN (all terminated) or at the time limit (truncated).
    """

    def __init__(
        self,
        task: Task,
        domain: Domain,
        num_envs: int,
        robot_seed: int = 0,
        threads: int = 0,
        nan_dump_dir: Path | None = None,
        views: Mapping[str, ArraySpec] | None = None,
    ):
        if num_envs < 1:
            raise ScoreError(f"a world needs at least one environment, got {num_envs}")
        robot = task.robot
        self.task, self.domain, self.robot, self.robot_seed = task, domain, robot, robot_seed
        self.nan_count = 0
        """Episodes that ended because the physics diverged, since the world was made."""
        self._nan_dump_dir = nan_dump_dir
        self._physics = task.physics(domain.physics)
        self._substeps = self._physics.substeps(CONTROL_RATE_HZ)
        self._draws = Draws(domain, task.parameters)
        self._robot_draw = self._draws.robot(robot_seed)
        # As actions know them: float32.
        self._low, self._high = np.float64(np.float32([robot.target_lower, robot.target_upper]))
        threads = threads or usable_cores()
        self.engine = open_engine(self._built(), self._physics, num_envs, threads)
        """The physics itself; stepping it goes around the world."""
        self.not_applied = (*not_applied(self.engine, task, domain), *self.engine.represented_in_part)
        """What of the domain the engine cannot represent: parameters that the domain's owner does without, and
        contacts that have another friction."""
        self._sensors = Sensors(task, num_envs, threads)
        self._clouds: Clouds | None = None
        if views:
            seen = config_of(views, len(task.observed))
            self._clouds = Clouds(task, domain.camera, seen, num_envs, threads)
        self._allocate(num_envs)
        example = self._observe()
        self.spec = WorldSpec(
            num_envs=num_envs,
            interface=robot_interface(robot, tuple(task.observed), views),
            critic={"privileged": ArraySpec(tuple(example.critic["privileged"].shape[1:]))},
            action_low=robot.target_lower,
            action_high=robot.target_upper,
            time_limit=task.horizon,
            name=f"{task.name}/{domain.name}",
            info=RULES,
        )

    # ---- contract -------------------------------------------------------------------------------------------

    def reset(self, seeds: Sequence[int], episodes: Sequence[int] | None = None) -> Observation:
        """See `World.reset`. `episodes` starts at a later episode of each seed (default: the first, 0)."""
        if len(seeds) != self._n:
            raise ValueError(f"reset needs one seed per environment: got {len(seeds)}, expected {self._n}")
        self._seeds[:] = [int(seed) for seed in seeds]
        self._episode_index[:] = 0 if episodes is None else episodes
        self._start_episodes(np.arange(self._n))
        return self._observe()

    def step(self, action: Tensor) -> StepResult:
        """See `World.step`: one control period of 0.1 s."""
        command = self._checked(action)
        if self._nan_dump_dir is not None:
            self._sent[np.arange(self._n), self._time] = command
        np.clip(command, self._low, self._high, out=self._command)
        motion, force = self._advance()
        peak, nan = force.max((1, 2)), motion.diverged
        strain = self._strain.info(force, motion.torques, self._torque_limit, self.engine.qpos[:, self._joint_qpos])
        self._time += 1
        stop = self.domain.protective_stop.force_n
        fault = (peak > stop) & (stop > 0)
        state = self.state
        success = self.task.success(state) & ~nan & ~fault
        self._held[:] = np.where(success, self._held + 1, 0)
        held = self._held >= self.task.hold_steps
        reward = self._milestone_rewards(state, ~nan & ~fault) + self.task.success_reward * held
        terminated = held | fault | nan
        truncated = (self._time >= self.task.horizon) & ~terminated
        final = observation = self._observe()
        ended = np.flatnonzero(terminated | truncated)
        if ended.size:
            self._episode_index[ended] += 1
            self._start_episodes(ended)
            observation = self._observe(final, ended)
        return StepResult(
            observation,
            _tensor(reward),
            torch.from_numpy(terminated),
            torch.from_numpy(truncated),
            torch.from_numpy(success),
            final,
            {"peak_force_n": _tensor(peak), "fault": torch.from_numpy(fault), "nan": torch.from_numpy(nan)} | strain,
        )

    def look(self, keys: Sequence[str], rows: Tensor | None = None) -> Frame:
        """See `World`. Raises ScoreError for a view that was not asked for when the world was made."""
        for key in keys:
            if key not in self.spec.interface.views:
                raise unknown_choice(f"view of {self.spec.name}", key, self.spec.interface.views)
        if self._clouds is None:
            return {}
        which = np.arange(self._n) if rows is None else rows.cpu().numpy()
        index, back = np.unique(which, return_inverse=True)
        time, qpos = self._time[index], self.engine.qpos[index]
        joints = qpos[:, self._joint_qpos]
        seen = self._clouds.look(
            keys, index, time, qpos, palm=lambda: self._sensors.measured(index, time, joints).palm[:, :3]
        )
        return {key: _tensor(value[back]) for key, value in seen.items()}

    def close(self) -> None:
        """See `World.close`; threads end with the object."""

    # ---- for collection, diagnostics and pictures --------------------------------------------------------------

    @property
    def parameters(self) -> list[Mapping[str, np.ndarray]]:
        """True domain parameters of the running episode of every environment."""
        slices = self.task.parameters.slices
        return [{name: row[mine].copy() for name, mine in slices.items()} for row in self._values]

    @property
    def model(self) -> mujoco.MjModel:
        """The nominal scene, compiled: the layout of `qpos`, whichever engine simulates."""
        return self.engine.model

    @property
    def state(self) -> SceneState:
        """The true state now, by name."""
        joints = self.engine.qpos[:, self._joint_qpos]
        posture = cache(lambda: self._sensors.posture(joints.copy()))
        contacts = dict(zip(self.task.contacts, self._contact.T))
        return SceneState(self._scene.bodies, self._scene.joints, contacts, posture, self._begun)

    def qpos(self) -> np.ndarray:
        """Copy (n, nq) of the true configuration, for rendering and diagnostics; `model` explains its layout."""
        return self.engine.qpos.copy()

    # ---- one control step --------------------------------------------------------------------------------------

    def _checked(self, action: Tensor) -> np.ndarray:
        if not self._seeds:
            raise ValueError("step before reset")
        if tuple(action.shape) != self._command.shape:
            raise ValueError(f"action has shape {tuple(action.shape)}, expected {self._command.shape}")
        command = action.detach().cpu().numpy().astype(np.float64)
        if not np.isfinite(command).all():
            raise ValueError(f"action of environment(s) {np.flatnonzero(~np.isfinite(command).all(1))} is not finite")
        return command

    def _advance(self) -> tuple[Motion, np.ndarray]:
        """Physics for one control period, and in every physics step the filtered contact force on every link of the
        hand (n, s, b)."""
        late_s = self._late_s[np.arange(self._n), self._time]
        motion = self.engine.advance(self._actuation.targets(self._command, late_s, self._torque))
        self._torque[:] = motion.torques[:, -1]
        if motion.diverged.any():
            self._quarantine(np.flatnonzero(motion.diverged))
        decay = np.exp(-self._physics.timestep_s / max(self.domain.protective_stop.filter_s, 1e-9))
        filtered = low_pass(motion.forces, self._force, decay)
        self._force[:] = filtered[:, -1]
        if self.task.contacts:
            self._contact[:] = motion.contacts.mean(1)
        return motion, filtered

    def _milestone_rewards(self, state: SceneState, valid: np.ndarray) -> np.ndarray:
        reward = np.zeros(self._n)
        for k, (amount, condition) in enumerate(self.task.milestones.values()):
            reached = condition(state) & valid & ~self._milestones[:, k]
            reward += amount * reached
            self._milestones[:, k] |= reached
        return reward

    def _quarantine(self, rows: np.ndarray) -> None:
        """Count and dump environments whose physics diverged; the engine has parked them."""
        self.nan_count += len(rows)
        self._force[rows] = 0
        if self._nan_dump_dir is None:
            return
        for row in rows:
            actions = self._sent[row, : self._time[row] + 1]
            seed, episode = self._seeds[row], int(self._episode_index[row])
            write_nan_dump(self._nan_dump_dir, self.task.name, self.domain, self.robot_seed, seed, episode, actions)

    # ---- episodes -------------------------------------------------------------------------------------------

    def _built(self) -> Task:
        """The task, with objects that can be what the domain says of them; those whose faces are equal stay whole."""
        task, drawn = self.task, self._draws.domain
        if any(name.endswith(".com_offset_m") for name in {*drawn.robot, *drawn.episode}):
            task = off_centre(task)
        scales = {item.name: f"{item.name}.face_friction_scale" for item in task.objects}
        uneven = [
            name
            for name, scale in scales.items()
            if scale in drawn.episode or (self._robot_draw.get(scale, np.ones(1)) != 1).any()
        ]
        said = {*self.domain.robot, *self.domain.episode}
        return with_faces(task, {name: scales[name] in said for name in uneven}) if uneven else task

    def _allocate(self, n: int) -> None:
        """Everything that is remembered per environment."""
        self._n = n
        engine, task, parameters = self.engine, self.task, self.task.parameters
        model, joints = engine.model, len(self.robot.joint_names)
        self._seeds: list[int] = []
        self._values = np.zeros((n, parameters.count))
        self._scores = np.zeros((n, parameters.told))
        self._episode_index = np.zeros(n, int)
        self._time, self._held = np.zeros(n, int), np.zeros(n, int)
        self._milestones = np.zeros((n, len(task.milestones)), bool)
        self._command, self._torque_limit = np.zeros((n, joints)), np.zeros((n, joints))
        self._actuation = Actuation(n, joints, self._substeps, self._physics.timestep_s)
        self._late_s, self._torque = np.zeros((n, task.horizon)), np.zeros((n, joints))
        self._force, self._contact = np.zeros((n, len(engine.links))), np.zeros((n, len(task.contacts)))
        self._strain = Strain(engine.links, self.robot, self._physics.timestep_s)
        self._plant = PlantBuilder(model, task, self._physics)
        self._joint_qpos, self._joint_qvel = (_block(a) for a in joint_addresses(model, self.robot))
        self._home = model.qpos0.copy()
        self._home[self._joint_qpos] = self.robot.home
        self._scene = Configuration(model, engine.qpos, engine.qvel)
        self._start = Configuration(model, engine.qpos.copy(), np.zeros_like(engine.qvel))
        self._begun = SceneState(self._start.bodies, self._start.joints)
        if self._nan_dump_dir is not None:
            self._sent = np.zeros((n, task.horizon, joints))

    def _start_episodes(self, rows: np.ndarray) -> None:
        seeds = [derive_seed("episode", self._seeds[row], int(self._episode_index[row])) for row in rows]
        plans = plan_episodes(seeds, self.task, self._draws, self._robot_draw, len(self.robot.home))
        value = plans.parameters
        self._values[rows] = np.concatenate(list(value.values()), axis=1)
        self._scores = _with_rows(self._scores, rows, self._draws.scores(self._robot_draw, value))
        self._sensors.begin(rows, plans)
        plant, start = self._plant(value, plans.placed), np.tile(self._home, (len(rows), 1))
        for name, place in plans.spawned.items():
            start[:, self._scene.addresses(name)] = place
        self.engine.begin(rows, plant, start)
        self._remember_start(rows, plant, start)
        if self._clouds is not None:
            self._clouds.begin(rows, seeds, plant, value)
        self._torque_limit[rows] = plant.torque_limit_nm
        self._command[rows] = self.robot.home
        self._actuation.begin(rows, self.robot, value, self._command[rows])
        self._late_s[rows], self._torque[rows] = plans.late_s, 0
        self._time[rows] = self._held[rows] = 0
        self._milestones[rows] = False
        self._force[rows] = self._contact[rows] = 0

    def _remember_start(self, rows: np.ndarray, plant: Plant, qpos: np.ndarray) -> None:
        """Where everything begins; what frames that nobody has read yet are made of stays as it is."""
        scene, begun = self._scene, self._start
        if self._plant.structured:
            scene.offset = _with_rows(scene.offset, rows, plant.body_pos)
            scene.anchor = _with_rows(scene.anchor, rows, plant.joint_pos)
        self._start = begun.at(_with_rows(begun.qpos, rows, qpos), begun.qvel)
        self._start.offset, self._start.anchor = scene.offset, scene.anchor
        self._begun = SceneState(self._start.bodies, self._start.joints)

    # ---- observation ----------------------------------------------------------------------------------------

    def _observe(self, before: Observation | None = None, rows: np.ndarray | None = None) -> Observation:
        """What is seen now; with `before`, whose actor keys still hold, anew in `rows` (k,) only."""
        if before is None or rows is None:
            actor = {key: _tensor(value) for key, value in self._actor(ALL).items()}
        else:
            index, fresh = torch.from_numpy(rows), self._actor(rows)
            actor = {key: old.index_copy(0, index, _tensor(fresh[key])) for key, old in before.actor.items()}
        return Observation(actor, self._critic())

    def _actor(self, rows: Rows) -> dict[str, np.ndarray]:
        """Frames of some environments."""
        time, joints = self._time[rows], self.engine.qpos[rows, self._joint_qpos]
        measured = self._sensors.measured(rows, time, joints)
        return {
            "state": measured.joints,
            "command": self._command[rows],
            **self._sensors.poses(rows, time, self._scene),
            "palm_pose": measured.palm,
            "fingertip_pos": measured.fingertips.reshape(len(time), -1),
        }

    def _critic(self) -> LazyFrame:
        """The truth as it is now, computed when it is read: only decisions and ends of episodes need it."""
        held, time = self._held[:, None] / self.task.hold_steps, self._time[:, None] / self.task.horizon
        instant = Instant(
            scene=self._scene.at(self.engine.qpos.copy(), self.engine.qvel.copy()),
            start=self._start,
            robot=(self._joint_qpos, self._joint_qvel),
            command=self._command.copy(),
            forces=self._force.copy(),
            contacts=self._contact.copy(),
            progress=np.concatenate([self._milestones, held, time], axis=1),
            parameters=self._scores,
        )

        def compute(index: Tensor) -> dict[str, Tensor]:
            rows = index.numpy()
            truth = instant.truth(rows, self.task, self._sensors.posture(instant.joints(rows)))
            return {"privileged": torch.from_numpy(truth.features())}

        return LazyFrame(("privileged",), self._n, compute)


def _block(addresses: np.ndarray) -> slice:
    """Consecutive addresses as a slice, which numpy copies several times faster."""
    block = slice(int(addresses[0]), int(addresses[-1]) + 1)
    if not np.array_equal(addresses, np.arange(block.start, block.stop)):
        raise ValueError(f"the robot's joints are not consecutive in the scene: {addresses.tolist()}")
    return block


def _with_rows(array: np.ndarray, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A copy of the array with some rows replaced."""
    result = array.copy()
    result[rows] = values
    return result


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))
