"""The simulated world: one task, one robot, one domain; n environments on `mujoco.batch.Batch`, all cores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch
from torch import Tensor

from score_rl.contracts import Observation, StepResult, WorldSpec
from score_rl.core.errors import ScoreError
from score_rl.core.parallel import usable_cores
from score_rl.core.seeding import derive_seed
from score_rl.sim.actuation import Actuation
from score_rl.sim.domain import PARAMETERS, SCORES, Domain, load_domain
from score_rl.sim.episode import plan_episodes
from score_rl.sim.fields import ModelFields
from score_rl.sim.nan_dump import write_nan_dump
from score_rl.sim.scene import OBJECT_JOINT, joint_addresses, scene_spec
from score_rl.sim.sensors import Kinematics, Truth, estimate_pose
from score_rl.sim.strain import RULES, Strain
from score_rl.sim.task import Task, TaskState, get_task

CONTROL_RATE_HZ = 10.0
_CTRL = mujoco.mjtState.mjSTATE_CTRL.value


def make_world(
    task: str,
    domain: str | Path | Domain,
    num_envs: int,
    robot_seed: int = 0,
    threads: int = 0,
    nan_dump_dir: Path | None = None,
) -> SimulatedWorld:
    """A simulated world by names; `domain` is "twin", "proxy", the path of a TOML file, or a Domain.

    threads: of the physics; 0: one per usable core. nan_dump_dir: where episodes that diverge are written down, for
    `score_rl.sim.nan_replay`.
    Raises ScoreError for unknown names or a malformed domain.
    """
    domain = domain if isinstance(domain, Domain) else load_domain(domain)
    return SimulatedWorld(get_task(task), domain, num_envs, robot_seed, threads=threads, nan_dump_dir=nan_dump_dir)


@dataclass(frozen=True)
class _Posture:
    """Joints (k, a) and their forward kinematics: palm pose (k, 7) and fingertips (k, 4, 3)."""

    joints: np.ndarray
    palm: np.ndarray
    fingertips: np.ndarray


@dataclass(frozen=True)
class _Postures:
    """Of the same instants, what the robot measures and what is true."""

    measured: _Posture
    true: _Posture


class SimulatedWorld:
    """A `World` in MuJoCo.

    Actor keys (what a robot has): `state` (23) measured joints, `command` (23) last command, `object_pose` (7)
    estimate in the robot base frame, `palm_pose` (7) and `fingertip_pos` (12) by forward kinematics of the measured
    joints. Critic keys: `privileged`, the truth (see `Truth`). Step info: `peak_force_n`, `fault`, `nan`, and the
    figures of `strain.Strain`.
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
    ):
        if num_envs < 1:
            raise ScoreError(f"a world needs at least one environment, got {num_envs}")
        robot = task.robot
        self.task, self.domain, self.robot, self.robot_seed = task, domain, robot, robot_seed
        self.nan_count = 0
        """Episodes that ended because the physics diverged, since the world was made."""
        self._nan_dump_dir = nan_dump_dir
        self._substeps = domain.physics.substeps(CONTROL_RATE_HZ)
        self._robot_draw = domain.draw_robot(robot_seed)
        # As actions know them: float32.
        self._low, self._high = np.float64(np.float32([robot.target_lower, robot.target_upper]))
        self._load(num_envs, threads or usable_cores())
        self._allocate(num_envs)
        first = np.zeros(1, int)
        example = self._observe(first, self._postures(first))
        names = robot.joint_names
        actor = {"state": len(names), "command": len(names), "object_pose": 7, "palm_pose": 7, "fingertip_pos": 12}
        self.spec = WorldSpec(
            num_envs=num_envs,
            actor=actor,
            critic={"privileged": example.critic["privileged"].shape[1]},
            action_low=robot.target_lower,
            action_high=robot.target_upper,
            action_names=names,
            control_rate_hz=CONTROL_RATE_HZ,
            time_limit=task.horizon,
            name=f"{task.name}/{domain.name}",
            info=RULES,
        )

    # ---- contract -------------------------------------------------------------------------------------------

    def reset(self, seeds: Sequence[int], episodes: Sequence[int] | None = None) -> Observation:
        """See `World.reset`. `episodes` starts at a later episode of each seed (default: the first, 0)."""
        if len(seeds) != self._n:
            raise ValueError(f"reset needs one seed per environment: got {len(seeds)}, expected {self._n}")
        everywhere = np.arange(self._n)
        self._seeds[:] = [int(seed) for seed in seeds]
        self._episode_index[:] = 0 if episodes is None else episodes
        self._start_episodes(everywhere)
        return self._observe(everywhere, self._postures(everywhere))

    def step(self, action: Tensor) -> StepResult:
        """See `World.step`: one control period of 0.1 s."""
        command, everywhere = self._checked(action), np.arange(self._n)
        if self._nan_dump_dir is not None:
            self._sent[everywhere, self._time] = command
        np.clip(command, self._low, self._high, out=self._command)
        force, torque, nan = self._advance()
        peak = force.max((1, 2))
        strain = self._strain.info(force, torque, self._fields.torque_limit, self._qpos[:, self._joint_qpos])
        self._time += 1
        stop = self.domain.protective_stop.force_n
        fault = (peak > stop) & (stop > 0)
        posture = self._postures(everywhere)
        state = self._task_state(posture)
        success = self.task.success(state) & ~nan & ~fault
        self._held[:] = np.where(success, self._held + 1, 0)
        held = self._held >= self.task.hold_steps
        reward = self._milestone_rewards(state, ~nan & ~fault) + self.task.success_reward * held
        terminated = held | fault | nan
        truncated = (self._time >= self.task.horizon) & ~terminated
        final = observation = self._observe(everywhere, posture)
        ended = np.flatnonzero(terminated | truncated)
        if ended.size:
            self._episode_index[ended] += 1
            self._start_episodes(ended)
            observation = _patched(final, self._observe(ended, self._postures(ended)), ended)
        return StepResult(
            observation,
            _tensor(reward),
            torch.from_numpy(terminated),
            torch.from_numpy(truncated),
            torch.from_numpy(success),
            final,
            {"peak_force_n": _tensor(peak), "fault": torch.from_numpy(fault), "nan": torch.from_numpy(nan)} | strain,
        )

    def close(self) -> None:
        """See `World.close`; threads end with the object."""

    # ---- for collection, diagnostics and pictures --------------------------------------------------------------

    @property
    def parameters(self) -> list[Mapping[str, np.ndarray]]:
        """True domain parameters of the running episode of every environment."""
        return [{name: value[row].copy() for name, value in self._parameters.items()} for row in range(self._n)]

    @property
    def batch(self) -> Batch:
        """The physics itself, for benchmarks and diagnostics; stepping it goes around the world."""
        return self._batch

    def qpos(self) -> np.ndarray:
        """Copy (n, nq) of the true configuration, for rendering and diagnostics; `model` explains its layout."""
        return self._qpos.copy()

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

    def _advance(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Physics for one control period: in every physics step the filtered contact force on every link of the hand
        (n, s, b) and the servos' torques (n, s, a), and whether the physics diverged (n,)."""
        targets = self._actuation.targets(self._command)
        record = self._record
        self._batch.rollout(self._substeps, targets, _CTRL, record=list(record), out=record)
        # A simulation that diverges is silently reset by MuJoCo and stops stepping: the warning is the only trace.
        # The counters go back to zero when its next episode resets it.
        nan = self._batch.warning[:, :, 1].any(1) | ~np.isfinite(self._qpos).all(1) | ~np.isfinite(self._qvel).all(1)
        # Record k holds the forces that acted during physics step k.
        contact = record["sensordata"].reshape(self._n, self._substeps, -1, 3)
        force = np.sqrt(np.einsum("nkbx,nkbx->nkb", contact, contact))
        if nan.any():
            self._quarantine(np.flatnonzero(nan))
            force[nan] = 0
        decay = np.exp(-self.domain.physics.timestep_s / max(self.domain.protective_stop.filter_s, 1e-9))
        filtered = low_pass(force, self._force, decay)
        self._force[:] = filtered[:, -1]
        return filtered, record["actuator_force"], nan

    def _milestone_rewards(self, state: TaskState, valid: np.ndarray) -> np.ndarray:
        reward = np.zeros(self._n)
        for k, (amount, condition) in enumerate(self.task.milestones.values()):
            reached = condition(state) & valid & ~self._milestones[:, k]
            reward += amount * reached
            self._milestones[:, k] |= reached
        return reward

    def _quarantine(self, rows: np.ndarray) -> None:
        """Count and dump environments whose physics diverged; park them so that nothing non-finite is shown."""
        self.nan_count += len(rows)
        self._batch.reset(rows, stage=mujoco.mjtStage.mjSTAGE_NONE)
        self._qpos[rows, self._joint_qpos] = self.robot.home
        self._force[rows] = 0
        if self._nan_dump_dir is None:
            return
        for row in rows:
            actions = self._sent[row, : self._time[row] + 1]
            seed, episode = self._seeds[row], int(self._episode_index[row])
            write_nan_dump(self._nan_dump_dir, self.task.name, self.domain, self.robot_seed, seed, episode, actions)

    # ---- episodes -------------------------------------------------------------------------------------------

    def _load(self, n: int, threads: int) -> None:
        """Compile the scene and bind the arrays that are shared with the physics."""
        model = scene_spec(self.task, self.domain.physics).compile()
        self.model, self._batch = model, Batch(model, n, threads)
        self._fields = ModelFields(model, self._batch, self.robot)
        steps = (n, self._substeps)
        self._record = {
            "sensordata": np.zeros((*steps, model.nsensordata)),
            "actuator_force": np.zeros((*steps, model.nu)),
        }
        self._strain = Strain(model, self.robot, self.domain.physics.timestep_s)
        self._joint_qpos, self._joint_qvel = (_block(a) for a in joint_addresses(model, self.robot))
        joint = model.joint(OBJECT_JOINT)
        self._object_qpos = slice(joint.qposadr[0], joint.qposadr[0] + 7)
        self._object_qvel = slice(joint.dofadr[0], joint.dofadr[0] + 6)
        self._qpos, self._qvel = self._batch.bind("qpos"), self._batch.bind("qvel")
        # Twice as many postures as environments: the measured and the true joints of each.
        self._kinematics = Kinematics(self.robot, 2 * n, threads)

    def _allocate(self, n: int) -> None:
        """Everything that is remembered per environment."""
        self._n = n
        joints, frames = len(self.robot.joint_names), self.task.horizon + 1
        self._seeds: list[int] = []
        self._parameters = {name: np.zeros((n, parameter.size)) for name, parameter in PARAMETERS.items()}
        self._episode_index = np.zeros(n, int)
        self._time, self._held = np.zeros(n, int), np.zeros(n, int)
        self._milestones = np.zeros((n, len(self.task.milestones)), bool)
        self._command, self._bias = np.zeros((n, joints)), np.zeros((n, joints))
        self._actuation = Actuation(n, joints, self._substeps, self.domain.physics.timestep_s)
        self._force = np.zeros((n, self.model.nsensordata // 3))
        self._object_start = np.zeros((n, 3))
        self._camera_yaw, self._camera_shift = np.zeros(n), np.zeros((n, 3))
        self._joint_noise, self._pose_noise = np.zeros((n, frames, joints)), np.zeros((n, frames, 6))
        self._scores = np.zeros((n, SCORES))
        if self._nan_dump_dir is not None:
            self._sent = np.zeros((n, self.task.horizon, joints))

    def _start_episodes(self, rows: np.ndarray) -> None:
        home = np.array(self.robot.home)
        seeds = [derive_seed("episode", self._seeds[row], int(self._episode_index[row])) for row in rows]
        plans = plan_episodes(seeds, self.task, self.domain, self._robot_draw, len(home))
        value = plans.parameters
        for name in PARAMETERS:
            self._parameters[name][rows] = value[name]
        self._scores[rows] = self.domain.episode_scores(self._robot_draw, value)
        self._joint_noise[rows], self._pose_noise[rows] = plans.joint_noise, plans.pose_noise
        self._batch.reset(rows, stage=mujoco.mjtStage.mjSTAGE_NONE)
        self._fields.apply(rows, value)
        self._bias[rows] = np.concatenate([value["arm_joint_bias_rad"], value["hand_joint_bias_rad"]], axis=1)
        self._camera_yaw[rows] = value["camera_yaw_bias_rad"][:, 0]
        self._camera_shift[rows] = value["camera_position_bias_m"]
        actuation = self._actuation
        actuation.delay_s[rows], actuation.lag_s[rows] = value["delay_s"][:, 0], value["lag_s"][:, 0]
        actuation.backlash_rad[rows] = np.concatenate([value["arm_backlash_rad"], value["hand_backlash_rad"]], axis=1)
        actuation.reset(rows, home)
        self._qpos[rows, self._object_qpos] = plans.object_pose
        self._qpos[rows, self._joint_qpos] = self._command[rows] = home
        self._object_start[rows] = plans.object_pose[:, :3]
        self._time[rows] = self._held[rows] = 0
        self._milestones[rows] = False
        self._force[rows] = 0

    # ---- observation ----------------------------------------------------------------------------------------

    def _postures(self, rows: np.ndarray) -> _Postures:
        joints = self._qpos[rows, self._joint_qpos]
        measured = joints - self._bias[rows] + self._joint_noise[rows, self._time[rows]]
        palm, tips = self._kinematics(np.concatenate([measured, joints]))
        k = len(rows)
        return _Postures(_Posture(measured, palm[:k], tips[:k]), _Posture(joints, palm[k:], tips[k:]))

    def _task_state(self, postures: _Postures) -> TaskState:
        pose = self._qpos[:, self._object_qpos].copy()
        return TaskState(
            object_pos=pose[:, :3],
            object_quat=pose[:, 3:],
            object_linvel=self._qvel[:, self._object_qvel][:, :3].copy(),
            object_start_pos=self._object_start,
            fingertip_pos=postures.true.fingertips,
        )

    def _observe(self, rows: np.ndarray, postures: _Postures) -> Observation:
        """Frames of some environments."""
        measured, time = postures.measured, self._time[rows]
        pose = self._qpos[rows, self._object_qpos]
        actor = {
            "state": measured.joints,
            "command": self._command[rows],
            "object_pose": estimate_pose(
                pose,
                self._camera_yaw[rows],
                self._camera_shift[rows],
                self._pose_noise[rows, time],
                self.task.orientation_seen,
            ),
            "palm_pose": measured.palm,
            "fingertip_pos": measured.fingertips.reshape(len(rows), -1),
        }
        progress = [
            self._milestones[rows],
            self._held[rows, None] / self.task.hold_steps,
            time[:, None] / self.task.horizon,
        ]
        truth = Truth(
            joints=postures.true.joints,
            joint_velocity=self._qvel[rows, self._joint_qvel],
            command=self._command[rows],
            object_pose=pose,
            object_velocity=self._qvel[rows, self._object_qvel],
            object_start=self._object_start[rows],
            palm_pose=postures.true.palm,
            fingertips=postures.true.fingertips,
            forces=self._force[rows],
            progress=np.concatenate(progress, axis=1),
            parameters=self._scores[rows],
        )
        return Observation(
            {key: _tensor(value) for key, value in actor.items()},
            {"privileged": torch.from_numpy(truth.features())},
        )


def low_pass(signal: np.ndarray, state: np.ndarray, decay: float) -> np.ndarray:
    """First-order filter y_k = d y_(k-1) + (1 - d) x_k of signals (n, steps, b), from y_0 = `state` (n, b)."""
    result = np.empty_like(signal)
    for k in range(signal.shape[1]):
        state = decay * state + (1 - decay) * signal[:, k]
        result[:, k] = state
    return result


def _block(addresses: np.ndarray) -> slice:
    """Consecutive addresses as a slice, which numpy copies several times faster."""
    block = slice(int(addresses[0]), int(addresses[-1]) + 1)
    if not np.array_equal(addresses, np.arange(block.start, block.stop)):
        raise ValueError(f"the robot's joints are not consecutive in the scene: {addresses.tolist()}")
    return block


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))


def _patched(base: Observation, new: Observation, rows: np.ndarray) -> Observation:
    """`base` with the frames of `rows` replaced."""
    index = torch.from_numpy(rows)
    groups = []
    for old, fresh in ((base.actor, new.actor), (base.critic, new.critic)):
        groups.append({key: value.index_copy(0, index, fresh[key]) for key, value in old.items()})
    return Observation(*groups)
