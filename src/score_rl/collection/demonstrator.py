"""A scripted person who teleoperates Franka and LEAP in Pinch Cube, for n environments at once.

The person sees what the robot observes (measured joints, a noisy cube pose) and answers with joint targets at
the control rate. An attempt is a chain of phases, each with a goal for the pinch and an opening of the hand:

    REACH a point near the cube -> DESCEND onto it -> CLOSE -> RAISE -> CARRY to the goal -> HOLD

A missed or dropped cube leads back to REACH with newly drawn choices, or to RETREAT for the rest of the episode.
The pinch frame (see `hand_postures`) moves towards its goal at a bounded speed and slows down on arrival, so
that the next target is nearly a function of what is observed. All choices of an episode come from one generator
seeded by the episode: they do not depend on the other environments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import lfilter

from score_rl.collection.habits import Grasp, Habits
from score_rl.collection.hand_postures import PINCH, RING_CURLED
from score_rl.collection.kinematics import ArmKinematics, rotate_by, rotation_error
from score_rl.robots import FRANKA_LEAP, Robot

Array = NDArray[np.float64]


class Phase(IntEnum):
    """What the person is doing."""

    REACH = 0
    DESCEND = 1
    CLOSE = 2
    RAISE = 3
    CARRY = 4
    HOLD = 5
    RETREAT = 6


@dataclass(frozen=True)
class PinchScene:
    """What the person knows of the task, metres in the robot base frame."""

    cube_m: float = 0.045
    goal: tuple[float, float, float] = (0.55, 0.0, 0.33)
    """Where the cube is carried to."""
    approach_m: float = 0.09
    """Distance of the point from which the hand descends."""
    raise_m: float = 0.05
    """Straight up before the cube is carried."""
    open_m: float = 0.085
    """Opening of the hand while it reaches."""
    reach: tuple[float, float, float, float] = (0.27, 0.73, -0.24, 0.24)
    """x and y range in which a cube is tried again."""


@dataclass
class Attempt:
    """The choices of one attempt."""

    grasp: Grasp
    crosswise: bool
    slanted: bool
    start_step: int


@dataclass
class EpisodeLog:
    """What happened in an episode, as the person knows it."""

    attempts: list[Attempt] = field(default_factory=list)
    gave_up: bool = False

    def label(self) -> str:
        """For example `hasty,tripod+crosswise+slanted` or `hasty,gave up`."""
        names = [a.grasp.name + "+crosswise" * a.crosswise + "+slanted" * a.slanted for a in self.attempts]
        return ",".join(names + ["gave up"] * self.gave_up)


_YAW_NEAR, _YAW_FAR = np.radians(-150.0), np.radians(-90.0)
_NEAR_M, _FAR_M = 0.5, 0.7
"""Yaw of the pinch frame, relative to the direction of the cube from the base, around which the arm reaches every
cube: `_YAW_NEAR` up to the first distance, `_YAW_FAR` from the second on, linear in between."""
_CROSSWISE_FROM_M = 0.57
"""Nearer to the base the elbow folds too far for the other pair of faces, at +90 degrees from the nearest one."""


class Demonstrator:
    """The person, once per environment.

    Use: `reset(rows, seeds, frame)` where episodes start, then `act(frame)` once per control step. `log[i]` is the
    record of environment i's episode.
    """

    def __init__(
        self,
        num_envs: int,
        habits: Habits | None = None,
        scene: PinchScene | None = None,
        robot: Robot = FRANKA_LEAP,
        control_rate_hz: float = 10.0,
        time_limit: int = 128,
    ) -> None:
        self.habits, self.scene, self.robot = habits or Habits(), scene or PinchScene(), robot
        self.arm = ArmKinematics.of(robot, *PINCH.in_palm())
        self.dt, self.time_limit = 1.0 / control_rate_hz, time_limit
        self.low, self.high = np.array(robot.target_lower), np.array(robot.target_upper)
        n, dof = num_envs, len(robot.joint_names)
        self.log = [EpisodeLog() for _ in range(n)]
        self._rng = [np.random.default_rng(0) for _ in range(n)]
        self._grasp: list[Grasp] = [self.habits.grasps[0]] * n
        self._phase = np.full(n, Phase.RETREAT)
        self._step = np.zeros(n, int)
        self._wait = np.zeros(n, int)
        """Control steps left of a pause."""
        self._age = np.zeros(n, int)
        """Control steps since the phase began."""
        self._speed = np.ones(n)
        """Share of the brisk speed in this segment."""
        self._rate = np.zeros(n)
        self._position, self._rotation = np.zeros((n, 3)), np.tile(np.eye(3), (n, 1, 1))
        self._goal_position, self._goal_rotation = np.zeros((n, 3)), np.tile(np.eye(3), (n, 1, 1))
        self._cube = np.zeros((n, 3))
        """Where the person believes the cube to be."""
        self._aim = np.zeros((n, 3))
        """From the cube to where the pinch is aimed, base frame."""
        self._closing = np.zeros(n)
        """How far the hand is closed: 0 open, 1 around the cube, 2 full grip."""
        self._middle = np.ones(n)
        """1 where the middle finger takes part."""
        self._arm_joints, self._hand_joints = np.zeros((n, robot.arm_dof)), np.zeros((n, dof - robot.arm_dof))
        self._noise = np.zeros((n, time_limit + 1, dof))

    def reset(self, rows: Sequence[int], seeds: Sequence[int], frame: Mapping[str, ArrayLike]) -> None:
        """Begin an episode in the given environments; `frame` holds the first observation of all of them."""
        state, pose = _array(frame, "command"), _array(frame, "object_pose")
        rows = np.asarray(rows, int)
        self._arm_joints[rows] = state[rows, : self.robot.arm_dof]
        self._hand_joints[rows] = state[rows, self.robot.arm_dof :]
        self._position[rows], self._rotation[rows] = self.arm.forward(self._arm_joints[rows])
        self._step[rows] = 0
        self._rate[rows] = self._closing[rows] = 0.0
        self._cube[rows] = pose[rows, :3]
        for i, seed in zip(rows, seeds):
            self._rng[i] = np.random.default_rng(np.random.SeedSequence(seed))
            self.log[i] = EpisodeLog()
            self._noise[i] = self._draw_noise(self._rng[i])
            self._begin_attempt(i, pose[i])

    def act(self, frame: Mapping[str, ArrayLike]) -> tuple[Array, Array]:
        """One control step: (recorded, sent) joint targets, (n, 23) each, in radians.

        `recorded` is what the person means and what a policy should learn; `sent` has the execution noise and
        is what the robot must get. Reads `state`, `object_pose` of the frame.
        """
        state, pose = _array(frame, "state"), _array(frame, "object_pose")
        measured, _ = self.arm.forward(state[:, : self.robot.arm_dof])
        self._look(pose)
        self._decide(measured, pose)
        self._move()
        self._arm_joints, _ = self.arm.inverse(self._position, self._rotation, self._arm_joints)
        self._move_fingers()
        recorded = np.clip(np.concatenate([self._arm_joints, self._hand_joints], axis=1), self.low, self.high)
        noise = self._noise[np.arange(len(self._step)), np.minimum(self._step, self.time_limit)]
        self._step += 1
        self._age += 1
        self._wait = np.maximum(self._wait - 1, 0)
        return recorded, np.clip(recorded + noise, self.low, self.high)

    # What the person sees and decides.

    def _look(self, pose: Array) -> None:
        """Follow the cube with the eye, smoothing the camera's jitter, until the fingers close on it."""
        free = (self._phase == Phase.REACH) | (self._phase == Phase.DESCEND)
        moved = np.linalg.norm(pose[:, :3] - self._cube, axis=1) > 0.02
        gain = np.where(moved, 1.0, 0.3)[:, None]
        self._cube += np.where(free[:, None], gain * (pose[:, :3] - self._cube), 0.0)
        for i in np.flatnonzero(free):
            self._aim_at_cube(i)

    def _decide(self, measured: Array, pose: Array) -> None:
        """Move on to the next phase where the present one is done."""
        left = np.linalg.norm(self._goal_position - self._position, axis=1)
        behind = np.linalg.norm(self._goal_position - measured, axis=1)
        turned = np.linalg.norm(rotation_error(self._goal_rotation, self._rotation), axis=1)
        lost = np.linalg.norm(pose[:, :3] - self._position, axis=1) > 0.06
        ready = self._wait == 0
        arrived = (left < 0.006) & (turned < 0.04) & ((behind < 0.012) | (self._age > 12))
        done = {
            Phase.REACH: (left < 0.03) & (turned < 0.15) & (behind < 0.08),
            Phase.DESCEND: arrived,
            Phase.CLOSE: self._age >= self._close_steps(),
            Phase.RAISE: left < 0.02,
            Phase.CARRY: arrived | lost,
            Phase.HOLD: lost,
        }
        current = self._phase.copy()
        for phase, condition in done.items():
            for i in np.flatnonzero(ready & condition & (current == phase)):
                if lost[i] and phase >= Phase.CARRY:
                    self._miss(i, pose[i])
                else:
                    self._enter(i, Phase(phase + 1))

    def _enter(self, i: int, phase: Phase) -> None:
        """Begin a phase; the pause that may precede it belongs to it."""
        rng, habits = self._rng[i], self.habits
        self._phase[i], self._age[i] = phase, 0
        self._speed[i] = 1.0 / rng.uniform(*habits.slowness)
        pause = rng.uniform(*habits.pause_s) if rng.random() < habits.pause_probability else 0.0
        self._wait[i] = round(pause / self.dt)
        if phase == Phase.CLOSE:
            self._age[i] = -self._wait[i]
        elif phase == Phase.RAISE:
            self._goal_position[i] = self._position[i] + (0.0, 0.0, self.scene.raise_m)
        elif phase == Phase.CARRY:
            self._goal_position[i] = self.scene.goal
        elif phase == Phase.RETREAT:
            self._goal_position[i] = self._position[i]
            self._goal_position[i, 2] = max(self._position[i, 2], 0.25)
            self._goal_rotation[i] = self._rotation[i]

    def _miss(self, i: int, pose: Array) -> None:
        """The cube is not in the hand: try again or give up."""
        x_low, x_high, y_low, y_high = self.scene.reach
        reachable = x_low < pose[0] < x_high and y_low < pose[1] < y_high
        notice = round(self._rng[i].uniform(*self.habits.notice_s) / self.dt)
        if self._rng[i].random() < self.habits.retry_probability and reachable:
            self._begin_attempt(i, pose)
        else:
            self.log[i].gave_up = True
            self._enter(i, Phase.RETREAT)
        self._wait[i] += notice

    def _begin_attempt(self, i: int, pose: Array) -> None:
        """Draw the choices of an attempt and set out."""
        rng, habits = self._rng[i], self.habits
        shares = np.array([grasp.share for grasp in habits.grasps])
        grasp = habits.grasps[rng.choice(len(shares), p=shares / shares.sum())]
        slanted = bool(rng.random() < habits.slanted_probability)
        self._grasp[i], self._middle[i] = grasp, float(grasp.middle_finger)
        distance, towards = np.hypot(pose[0], pose[1]), np.arctan2(pose[1], pose[0])
        yaw = towards + np.interp(distance, (_NEAR_M, _FAR_M), (_YAW_NEAR, _YAW_FAR))
        crosswise = bool(rng.random() < habits.crosswise_probability and distance > _CROSSWISE_FROM_M)
        pinch = _about_z(face_yaw(pose[3:], yaw) + np.pi / 2 * crosswise)
        error = rng.normal(0.0, grasp.aim_sd_m, 2)
        self._aim[i] = pinch @ (0.0, grasp.offset_m, 0.0) + (*error, 0.0)
        self._aim[i, 2] = 0.0
        self._goal_rotation[i] = pinch
        self.log[i].attempts.append(Attempt(grasp, crosswise, slanted, int(self._step[i])))
        self._cube[i] = pose[:3]
        self._enter(i, Phase.REACH)
        self._aim_at_cube(i)

    def _aim_at_cube(self, i: int) -> None:
        """Goal of REACH and DESCEND from where the cube is believed to be."""
        self._goal_position[i] = self._cube[i] + self._aim[i]
        self._goal_position[i, 2] = self._grasp[i].height_m
        if self._phase[i] == Phase.REACH:
            away = np.array([0.0, 0.0, self.scene.approach_m])
            if self.log[i].attempts[-1].slanted:
                # The hand hangs over the +y side of the pinch frame: from there nothing is in the way.
                away = 0.7 * away + self._goal_rotation[i] @ (0.0, 0.7 * self.scene.approach_m, 0.0)
            self._goal_position[i] += away

    # How the person moves.

    def _move(self) -> None:
        """Advance the pinch target towards its goal: bounded speed and acceleration, slowing down on arrival."""
        habits = self.habits
        offset = self._goal_position - self._position
        turn = rotation_error(self._goal_rotation, self._rotation)
        laden = (self._phase == Phase.RAISE) | (self._phase == Phase.CARRY)
        speed = np.where(laden, habits.carry_speed_m_s, habits.speed_m_s)
        seconds = (
            np.maximum(np.linalg.norm(offset, axis=1) / speed, np.linalg.norm(turn, axis=1) / habits.turn_rad_s)
            / self._speed
        )
        wanted = np.minimum(self.dt, 0.55 * seconds)
        resting = (self._wait > 0) | (self._phase == Phase.CLOSE)
        # The pace (seconds of motion per step) rises over four steps and may fall at once.
        self._rate = np.where(resting, 0.0, np.minimum(wanted, self._rate + self.dt / 4))
        share = (self._rate / np.maximum(seconds, 1e-6))[:, None]
        self._position = self._position + share * offset
        self._rotation = rotate_by(share * turn, self._rotation)

    def _move_fingers(self) -> None:
        """Advance the opening and the finger joints towards what the phase asks for."""
        scene = self.scene
        gripping = (self._phase >= Phase.CLOSE) & (self._phase <= Phase.HOLD)
        close_s = np.array([g.close_s for g in self._grasp])
        pace = 2.0 * self.dt / close_s
        paused = (self._wait > 0) & (self._phase <= Phase.CLOSE)
        step = np.clip(np.where(gripping, 2.0, 0.0) - self._closing, -2.0 * pace, pace)
        self._closing = self._closing + np.where(paused, 0.0, step)
        opening = scene.open_m + np.minimum(self._closing, 1.0) * (scene.cube_m - scene.open_m)
        grip = np.maximum(self._closing - 1.0, 0.0) * np.array([g.grip_n for g in self._grasp])
        hand = PINCH.hand(opening, grip)
        hand[:, 4:8] = np.where(self._middle[:, None] > 0.5, hand[:, 4:8], RING_CURLED)
        # Finger joints change by at most this per step, which matters only between postures.
        self._hand_joints = self._hand_joints + np.clip(hand - self._hand_joints, -0.35, 0.35)

    def _close_steps(self) -> Array:
        """Control steps from the start of CLOSE to the lift."""
        seconds = [max(grasp.close_s + grasp.settle_s, self.dt) for grasp in self._grasp]
        return np.array([round(s / self.dt) for s in seconds])

    def _draw_noise(self, rng: np.random.Generator) -> Array:
        """Execution noise (time_limit + 1, joints) of one episode: first-order autoregressive, calm at first."""
        habits, arm = self.habits, self.robot.arm_dof
        rho, dof = habits.noise_correlation, len(self.low)
        scale = np.r_[np.full(arm, habits.arm_noise_rad), np.full(dof - arm, habits.hand_noise_rad)]
        white = rng.normal(size=(self.time_limit + 1, dof)) * scale
        return lfilter([np.sqrt(1.0 - rho**2)], [1.0, -rho], white, axis=0)


def face_yaw(quaternion: ArrayLike, near_rad: float) -> float:
    """Yaw of the cube's faces, of the four equivalent ones that within 45 degrees of `near_rad`."""
    w, x, y, z = np.asarray(quaternion, float)
    columns = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)],
            [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)],
            [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    flattest = columns[np.argmin(np.abs(columns[:, 2]))]
    yaw = np.arctan2(flattest[1], flattest[0])
    quarter = np.pi / 2
    return float(near_rad + (yaw - near_rad + quarter / 2) % quarter - quarter / 2)


def _about_z(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _array(frame: Mapping[str, ArrayLike], key: str) -> Array:
    return np.asarray(frame[key], dtype=float)
