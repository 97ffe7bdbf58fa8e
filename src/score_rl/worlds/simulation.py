"""The simulated world: one task, one robot, one domain; n environments on `mujoco.batch.Batch`, all cores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch
from scipy.spatial.transform import Rotation
from torch import Tensor

from score_rl.contracts import Observation, StepResult, WorldSpec
from score_rl.foundation.errors import ScoreError
from score_rl.foundation.seeding import derive_seed
from score_rl.robots.franka_leap import FRANKA_LEAP, Robot
from score_rl.tasks import Task, TaskState, get_task
from score_rl.worlds.actuation import Actuation
from score_rl.worlds.domain import PARAMETERS, Domain, load_domain
from score_rl.worlds.episode import EpisodePlan, plan_episode
from score_rl.worlds.nan_dump import write_nan_dump
from score_rl.worlds.parameters import ModelFields
from score_rl.worlds.scene import OBJECT_JOINT, joint_addresses, kinematic_model, scene_spec

CONTROL_RATE_HZ = 10.0
_DIVERGENCE = [
    mujoco.mjtWarning.mjWARN_BADQPOS.value,
    mujoco.mjtWarning.mjWARN_BADQVEL.value,
    mujoco.mjtWarning.mjWARN_BADQACC.value,
]
"""Warnings after which MuJoCo silently resets a simulation."""


def make_world(
    task: str,
    domain: str | Path | Domain,
    num_envs: int,
    robot_seed: int = 0,
    threads: int = 0,
    nan_dump_dir: Path | None = None,
) -> SimulatedWorld:
    """A simulated world by names; `domain` is "twin", "proxy", the path of a TOML file, or a Domain.

    Raises ScoreError for unknown names or a malformed domain.
    """
    domain = domain if isinstance(domain, Domain) else load_domain(domain)
    return SimulatedWorld(get_task(task), domain, num_envs, robot_seed, threads=threads, nan_dump_dir=nan_dump_dir)


class SimulatedWorld:
    """A `World` in MuJoCo.

    Actor keys (what a robot has): `state` (23) measured joints, `command` (23) last command, `object_pose` (7)
    estimate in the robot base frame, `palm_pose` (7) and `fingertip_pos` (12) by forward kinematics of the measured
    joints. Critic keys: `privileged`, the truth (see `_critic`). Step info: `peak_force_n`, `fault`, `nan`.
    Episodes end with held success, the protective stop, NaN (all terminated) or at the time limit (truncated).
    """

    def __init__(
        self,
        task: Task,
        domain: Domain,
        num_envs: int,
        robot_seed: int = 0,
        robot: Robot = FRANKA_LEAP,
        threads: int = 0,
        nan_dump_dir: Path | None = None,
    ):
        self.task, self.domain, self.robot, self.robot_seed = task, domain, robot, robot_seed
        self._nan_dump_dir = nan_dump_dir
        period_s = 1 / CONTROL_RATE_HZ
        self._substeps = round(period_s / domain.physics.timestep_s)
        if abs(self._substeps * domain.physics.timestep_s - period_s) > 1e-6:
            raise ScoreError(
                f"domain {domain.name}: timestep_s = {domain.physics.timestep_s} does not divide the control "
                f"period of {period_s} s"
            )
        self.model = scene_spec(task, robot, domain.physics).compile()
        self._batch = Batch(self.model, num_envs, threads)
        self._fields = ModelFields(self.model, self._batch, robot)
        self._robot_draw = domain.draw_robot(robot_seed)
        arm_and_hand = kinematic_model(robot)
        self._kinematics = Batch(arm_and_hand, num_envs, threads)
        self._kinematic_sites = [arm_and_hand.site(name).id for name in (robot.palm, *robot.fingertips)]
        self._joint_qpos, self._joint_qvel = joint_addresses(self.model, robot)
        self._object_qpos = int(self.model.joint(OBJECT_JOINT).qposadr[0])
        self._object_qvel = int(self.model.joint(OBJECT_JOINT).dofadr[0])
        self._tip_sites = [self.model.site(name).id for name in robot.fingertips]
        self._palm_site = self.model.site(robot.palm).id
        # Bound once, before the first call: a batch copies out only what is bound.
        self._qpos, self._qvel = self._batch.bind("qpos"), self._batch.bind("qvel")
        self._site_pos, self._site_mat = self._batch.bind("site_xpos"), self._batch.bind("site_xmat")
        self._seen_qpos = self._kinematics.bind("qpos")
        self._seen_pos, self._seen_mat = (
            self._kinematics.bind("site_xpos"),
            self._kinematics.bind("site_xmat"),
        )
        self._low, self._high = np.array(robot.target_lower), np.array(robot.target_upper)
        self._actuation = Actuation(num_envs, len(robot.joint_names), self._substeps, domain.physics.timestep_s)
        self._plans: list[EpisodePlan] = []
        self._allocate(num_envs)
        names = robot.joint_names
        self.spec = WorldSpec(
            num_envs=num_envs,
            actor={
                "state": len(names),
                "command": len(names),
                "object_pose": 7,
                "palm_pose": 7,
                "fingertip_pos": 12,
            },
            critic={"privileged": self._privileged_width()},
            action_low=robot.target_lower,
            action_high=robot.target_upper,
            action_names=names,
            control_rate_hz=CONTROL_RATE_HZ,
            time_limit=task.horizon,
            name=f"{task.name}/{domain.name}",
        )

    # ---- contract -------------------------------------------------------------------------------------------

    def reset(self, seeds: Sequence[int]) -> Observation:
        """See `World.reset`."""
        if len(seeds) != self._n:
            raise ValueError(f"reset needs one seed per environment: got {len(seeds)}, expected {self._n}")
        self._seeds = [int(seed) for seed in seeds]
        self._episode_index[:] = -1
        self._start_episodes(np.arange(self._n))
        return self._observe()

    def step(self, action: Tensor) -> StepResult:
        """See `World.step`: one control period of 0.1 s."""
        command = self._checked(action)
        if self._nan_dump_dir is not None:
            self._sent[np.arange(self._n), self._time] = command
        self._command[:] = np.clip(command, self._low, self._high)
        force, peak = self._advance()
        nan = ~(np.isfinite(self._qpos).all(1) & np.isfinite(self._qvel).all(1)) | self._diverged
        if nan.any():
            self._quarantine(nan)
        self._time += 1
        self._tip_force[:] = force
        stop = self.domain.protective_stop.force_n
        fault = (peak > stop) & (stop > 0) & ~nan
        state = self._task_state()
        success = self.task.success(state) & ~nan & ~fault
        self._held[:] = np.where(success, self._held + 1, 0)
        held = self._held >= self.task.hold_steps
        reward = self._milestone_rewards(state, ~nan & ~fault) + self.task.success_reward * held
        terminated = held | fault | nan
        truncated = (self._time >= self.task.horizon) & ~terminated
        info = {"peak_force_n": _tensor(peak), "fault": torch.from_numpy(fault), "nan": torch.from_numpy(nan)}
        final = observation = self._observe()
        done = terminated | truncated
        if done.any():
            self._start_episodes(np.flatnonzero(done))
            observation = self._observe(np.flatnonzero(done), final)
        return StepResult(
            observation,
            _tensor(reward),
            torch.from_numpy(terminated),
            torch.from_numpy(truncated),
            torch.from_numpy(success),
            final,
            info,
        )

    def close(self) -> None:
        """See `World.close`; threads end with the object."""

    # ---- for collection, calibration and pictures --------------------------------------------------------------

    @property
    def parameters(self) -> list[Mapping[str, np.ndarray]]:
        """True domain parameters of the running episode of every environment."""
        return [plan.parameters for plan in self._plans]

    def qpos(self) -> np.ndarray:
        """Copy (n, nq) of the true configuration, for rendering and diagnostics; `model` explains its layout."""
        return self._qpos.copy()

    # ---- one control step --------------------------------------------------------------------------------------

    def _advance(self) -> tuple[np.ndarray, np.ndarray]:
        """Physics for one control period: final filtered force per hand body (n, b) and the period's peak (n,)."""
        targets = self._actuation.targets(self._command)
        record = self._batch.rollout(
            self._substeps, targets, mujoco.mjtState.mjSTATE_CTRL.value, record=["sensordata"]
        )["sensordata"]
        counts = self._batch.warning[:, _DIVERGENCE, 1].sum(1)
        self._diverged[:] = counts > self._warnings_seen
        self._warnings_seen[:] = counts
        force = np.linalg.norm(record.reshape(self._n, self._substeps, -1, 3), axis=-1)
        blend = 1 - np.exp(-self.domain.physics.timestep_s / self.domain.protective_stop.filter_s)
        peak = np.zeros(self._n)
        for k in range(self._substeps):
            self._filtered_force += blend * (force[:, k] - self._filtered_force)
            np.maximum(peak, self._filtered_force.max(1), out=peak)
        return self._filtered_force, np.nan_to_num(peak, nan=0.0, posinf=0.0)

    def _checked(self, action: Tensor) -> np.ndarray:
        if tuple(action.shape) != (self._n, len(self._low)):
            raise ValueError(f"action has shape {tuple(action.shape)}, expected {(self._n, len(self._low))}")
        command = action.detach().cpu().numpy().astype(np.float64)
        if not np.isfinite(command).all():
            raise ValueError(f"action of environment(s) {np.flatnonzero(~np.isfinite(command).all(1))} is not finite")
        return command

    def _milestone_rewards(self, state: TaskState, valid: np.ndarray) -> np.ndarray:
        reward = np.zeros(self._n)
        for k, (amount, condition) in enumerate(self.task.milestones.values()):
            reached = condition(state) & valid & ~self._milestones[:, k]
            reward += amount * reached
            self._milestones[:, k] |= reached
        return reward

    def _quarantine(self, nan: np.ndarray) -> None:
        """Count and dump environments whose physics diverged; park them so that nothing non-finite is shown."""
        for row in np.flatnonzero(nan):
            self.nan_count += 1
            if self._nan_dump_dir is not None:
                write_nan_dump(
                    self._nan_dump_dir,
                    self.task.name,
                    self.domain,
                    self.robot_seed,
                    self._plans[row].seed,
                    self._sent[row, : self._time[row] + 1],
                )
        rows = np.flatnonzero(nan)
        self._batch.reset(rows)
        self._filtered_force[rows] = 0

    # ---- episodes -------------------------------------------------------------------------------------------

    def _allocate(self, n: int) -> None:
        self._n = n
        joints = len(self.robot.joint_names)
        self._seeds: list[int] = []
        self._episode_index = np.full(n, -1)
        self._time, self._held = np.zeros(n, int), np.zeros(n, int)
        self._milestones = np.zeros((n, len(self.task.milestones)), bool)
        self._command = np.zeros((n, joints))
        self._bias = np.zeros((n, joints))
        bodies = self.model.nsensordata // 3
        self._filtered_force, self._tip_force = np.zeros((n, bodies)), np.zeros((n, bodies))
        self._object_start = np.zeros((n, 3))
        self._camera_bias, self._camera_yaw = np.zeros((n, 3)), np.zeros(n)
        self._joint_noise = np.zeros((n, self.task.horizon + 1, joints))
        self._pose_noise = np.zeros((n, self.task.horizon + 1, 6))
        self._parameter_vector = np.zeros((n, sum(PARAMETERS[name].size for name in self.domain.varying())))
        if self._nan_dump_dir is not None:
            self._sent = np.zeros((n, self.task.horizon, joints))
        self._warnings_seen = np.zeros(n, int)
        self._diverged = np.zeros(n, bool)
        self.nan_count = 0
        self._plans = [None] * n  # type: ignore[list-item]

    def _start_episodes(self, rows: np.ndarray) -> None:
        self._batch.reset(rows, stage=mujoco.mjtStage.mjSTAGE_NONE)
        home = np.array(self.robot.home)
        for row in rows:
            self._episode_index[row] += 1
            seed = derive_seed("episode", self._seeds[row], int(self._episode_index[row]))
            plan = plan_episode(seed, self.task, self.domain, self._robot_draw, len(home))
            self._plans[row] = plan
            self._fields.apply(row, plan.parameters)
            self._bias[row] = plan.joint_bias
            self._actuation.delay_s[row] = plan.parameters["delay_s"][0]
            self._actuation.lag_s[row] = plan.parameters["lag_s"][0]
            self._actuation.backlash_rad[row] = plan.joint_backlash
            self._camera_bias[row] = plan.parameters["camera_position_bias_m"]
            self._camera_yaw[row] = plan.parameters["camera_yaw_bias_rad"][0]
            self._joint_noise[row], self._pose_noise[row] = plan.joint_noise, plan.pose_noise
            self._parameter_vector[row] = self.domain.episode_scores(self._robot_draw, plan.parameters)
            self._object_start[row] = plan.object_pose[:3]
            self._qpos[row, self._object_qpos : self._object_qpos + 7] = plan.object_pose
        self._qpos[np.ix_(rows, self._joint_qpos)] = home
        self._actuation.reset(rows, np.broadcast_to(home, (len(rows), len(home))))
        self._command[rows] = home
        self._time[rows] = self._held[rows] = 0
        self._milestones[rows] = False
        self._filtered_force[rows] = self._tip_force[rows] = 0
        self._batch.forward(rows, stage=mujoco.mjtStage.mjSTAGE_POS)

    # ---- observation ----------------------------------------------------------------------------------------

    def _task_state(self) -> TaskState:
        a, v = self._object_qpos, self._object_qvel
        return TaskState(
            object_pos=self._qpos[:, a : a + 3].copy(),
            object_quat=self._qpos[:, a + 3 : a + 7].copy(),
            object_linvel=self._qvel[:, v : v + 3].copy(),
            object_start_pos=self._object_start,
            fingertip_pos=self._site_pos[:, self._tip_sites],
        )

    def _observe(self, rows: np.ndarray | None = None, base: Observation | None = None) -> Observation:
        """All environments' frames, or `base` with the frames of `rows` made anew."""
        index = np.arange(self._n) if rows is None else rows
        actor, critic = self._actor(index), {"privileged": self._critic(index)}
        if base is None:
            return Observation({k: _tensor(v) for k, v in actor.items()}, {k: _tensor(v) for k, v in critic.items()})
        return Observation(_patched(base.actor, actor, index), _patched(base.critic, critic, index))

    def _actor(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        time = self._time[rows]
        measured = self._qpos[np.ix_(rows, self._joint_qpos)] - self._bias[rows] + self._joint_noise[rows, time]
        self._seen_qpos[rows] = measured
        self._kinematics.forward(rows, stage=mujoco.mjtStage.mjSTAGE_POS)
        sites, frames = self._seen_pos[rows], self._seen_mat[rows]
        palm, *tips = self._kinematic_sites
        palm_quat = _quaternion(Rotation.from_matrix(frames[:, palm].reshape(-1, 3, 3)))
        return {
            "state": measured,
            "command": self._command[rows],
            "object_pose": self._seen_object(rows, time),
            "palm_pose": np.concatenate([sites[:, palm], palm_quat], 1),
            "fingertip_pos": sites[:, tips].reshape(len(rows), -1),
        }

    def _seen_object(self, rows: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Estimated pose: true pose turned and shifted by the camera's error, plus this frame's jitter."""
        a = self._object_qpos
        position, quat = self._qpos[rows, a : a + 3], self._qpos[rows, a + 3 : a + 7]
        noise = self._pose_noise[rows, time]
        turn = Rotation.from_euler("z", self._camera_yaw[rows, None])
        rotation = turn * Rotation.from_rotvec(noise[:, 3:]) * Rotation.from_quat(quat, scalar_first=True)
        position = turn.apply(position) + self._camera_bias[rows] + noise[:, :3]
        return np.concatenate([position, _quaternion(rotation)], 1)

    def _critic(self, rows: np.ndarray) -> np.ndarray:
        """Truth, scaled to about unit size: joints and velocities, object pose, velocity and rise, fingertips and
        palm relative to the object, contact forces, what the servos still have to do, milestones, held success,
        elapsed time, the domain's varying parameters. Kinematics are those of the last physics step's start."""
        a, v = self._object_qpos, self._object_qvel
        joints = self._qpos[np.ix_(rows, self._joint_qpos)]
        obj, sites = self._qpos[rows, a : a + 7], self._site_pos[rows]
        relative = (sites[:, [*self._tip_sites, self._palm_site]] - obj[:, None, :3]).reshape(len(rows), -1)
        palm = self._site_mat[rows][:, self._palm_site].reshape(len(rows), 9)
        parts = [
            joints,
            0.3 * self._qvel[np.ix_(rows, self._joint_qvel)],
            obj[:, :3] * 3,
            Rotation.from_quat(obj[:, 3:], scalar_first=True).as_matrix().reshape(len(rows), 9),
            self._qvel[rows, v : v + 3] * 2,
            self._qvel[rows, v + 3 : v + 6] * 0.2,
            (obj[:, 2:3] - self._object_start[rows, 2:3]) * 5,
            relative * 8,
            palm,
            np.tanh(self._tip_force[rows] / 10),
            self._command[rows] - joints,
            self._milestones[rows],
            self._held[rows, None] / self.task.hold_steps,
            self._time[rows, None] / self.task.horizon,
            self._parameter_vector[rows],
        ]
        return np.clip(np.concatenate(parts, 1), -10, 10)

    def _privileged_width(self) -> int:
        j = len(self.robot.joint_names)
        bodies, milestones = self._filtered_force.shape[1], len(self.task.milestones)
        return j + j + 3 + 9 + 3 + 3 + 1 + 15 + 9 + bodies + j + milestones + 2 + self._parameter_vector.shape[1]


def _quaternion(rotation: Rotation) -> np.ndarray:
    """(n, 4) wxyz with w >= 0."""
    return rotation.as_quat(canonical=True, scalar_first=True)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _patched(base: Mapping[str, Tensor], rows: Mapping[str, np.ndarray], index: np.ndarray) -> dict[str, Tensor]:
    result = {}
    for key, value in base.items():
        result[key] = value.clone()
        result[key][torch.from_numpy(index)] = _tensor(rows[key])
    return result
