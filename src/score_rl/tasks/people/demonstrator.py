"""Scripted people at the controls of Franka and LEAP, n environments at once, whatever the task.

A person sees what the robot observes (measured joints, a noisy object pose) and answers with joint targets at the
control rate. What it wants comes from the task's script (`person.Routine`); how it moves is the same everywhere: the
tool moves towards its goal at a bounded speed and slows down on arrival, so that the next target is nearly a function
of what is observed. All choices of an episode come from one generator seeded by the episode: they do not depend on
the other environments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.signal import lfilter

from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.robot import Robot
from score_rl.tasks.people.habits import Habits
from score_rl.tasks.people.kinematics import ArmKinematics, rotate_by, rotation_error
from score_rl.tasks.people.person import Array, EpisodeLog, Person, Routine, Script


class Demonstrator:
    """The people, one per environment.

    Use: `reset(rows, seeds, frame)` where episodes start, then `act(frame)` once per control step. `log[i]` is the
    record of environment i's episode.
    """

    def __init__(
        self,
        num_envs: int,
        routine: Routine,
        habits: Habits | None = None,
        robot: Robot = FRANKA_LEAP,
        control_rate_hz: float = 10.0,
        time_limit: int = 128,
    ) -> None:
        self.routine, self.habits, self.robot = routine, habits or Habits(), robot
        self.arm = ArmKinematics.of(robot, routine.tool_position, routine.tool_rotation)
        self.dt, self.time_limit = 1.0 / control_rate_hz, time_limit
        self.low, self.high = np.array(robot.target_lower), np.array(robot.target_upper)
        n, dof = num_envs, len(robot.joint_names)
        self._people: list[Person] = [self._newborn(0, np.zeros(7)) for _ in range(n)]
        self._scripts: list[Script] = [iter(()) for _ in range(n)]
        self._rate = np.zeros(n)
        """Seconds of brisk motion in the last step."""
        self._closing = np.zeros(n)
        """How far the hand is closed, see `person.Hand`."""
        self._position, self._rotation = np.zeros((n, 3)), np.tile(np.eye(3), (n, 1, 1))
        self._arm_joints, self._hand_joints = np.zeros((n, robot.arm_dof)), np.zeros((n, dof - robot.arm_dof))
        self._noise = np.zeros((n, time_limit + 1, dof))

    @property
    def log(self) -> list[EpisodeLog]:
        """What happened in every environment's episode."""
        return [person.log for person in self._people]

    def reset(self, rows: Sequence[int], seeds: Sequence[int], frame: Mapping[str, ArrayLike]) -> None:
        """Begin an episode in the given environments; `frame` holds the first observation of all of them."""
        command, pose = _array(frame, "command"), _array(frame, "object_pose")
        rows = np.asarray(rows, int)
        self._arm_joints[rows] = command[rows, : self.robot.arm_dof]
        self._hand_joints[rows] = command[rows, self.robot.arm_dof :]
        self._position[rows], self._rotation[rows] = self.arm.forward(self._arm_joints[rows])
        self._rate[rows] = self._closing[rows] = 0.0
        for i, seed in zip(rows, seeds):
            person = self._people[i] = self._newborn(seed, pose[i])
            person.others = _others(frame, i)
            person.position, person.rotation = self._position[i].copy(), self._rotation[i].copy()
            self._noise[i] = self._draw_noise(person.rng)
            self._scripts[i] = self.routine.script(person)
            next(self._scripts[i])

    def act(self, frame: Mapping[str, ArrayLike]) -> tuple[Array, Array]:
        """One control step: (recorded, sent) joint targets, (n, 23) each, in radians.

        `recorded` is what the person means and what a policy should learn; `sent` has the execution noise and
        is what the robot must get. Reads `state`, `object_pose` and every `NAME_pose` of the frame.
        """
        state, pose = _array(frame, "state"), _array(frame, "object_pose")
        measured, _ = self.arm.forward(state[:, : self.robot.arm_dof])
        for i, person in enumerate(self._people):
            person.object_pose, person.others, person.measured = pose[i], _others(frame, i), measured[i]
            person.position, person.rotation = self._position[i].copy(), self._rotation[i].copy()
            next(self._scripts[i])
        self._move()
        self._arm_joints, _ = self.arm.inverse(self._position, self._rotation, self._arm_joints)
        self._move_fingers()
        recorded = np.clip(np.concatenate([self._arm_joints, self._hand_joints], axis=1), self.low, self.high)
        step = np.minimum(self._of("step"), self.time_limit)
        noise = self._noise[np.arange(len(step)), step]
        for person in self._people:
            person.step += 1
            person.age += 1
            person.wait = max(person.wait - 1, 0)
        return recorded, np.clip(recorded + noise, self.low, self.high)

    def _move(self) -> None:
        """Advance the tool's target towards its goal: bounded speed and acceleration, slowing down on arrival."""
        habits = self.habits
        offset = self._of("goal_position") - self._position
        turn = rotation_error(self._of("goal_rotation"), self._rotation)
        speed = np.where(self._of("laden"), habits.carry_speed_m_s, habits.speed_m_s)
        seconds = np.maximum(
            np.linalg.norm(offset, axis=1) / speed, np.linalg.norm(turn, axis=1) / habits.turn_rad_s
        ) / self._of("pace")
        wanted = np.minimum(self.dt, 0.55 * seconds)
        resting = (self._of("wait") > 0) | self._of("still")
        # The pace (seconds of motion per step) rises over four steps and may fall at once.
        self._rate = np.where(resting, 0.0, np.minimum(wanted, self._rate + self.dt / 4))
        share = (self._rate / np.maximum(seconds, 1e-6))[:, None]
        self._position = self._position + share * offset
        self._rotation = rotate_by(share * turn, self._rotation)

    def _move_fingers(self) -> None:
        """Advance how far the hand is closed, and the finger joints towards what that means."""
        pace = 2.0 * self.dt / self._of("close_s")
        paused = (self._of("wait") > 0) & self._of("fingers_wait")
        step = np.clip(self._of("closing") - self._closing, -2.0 * pace, pace)
        self._closing = self._closing + np.where(paused, 0.0, step)
        hand = np.stack([person.hand(float(closing)) for person, closing in zip(self._people, self._closing)])
        # Finger joints change by at most this per step, which matters only between postures.
        self._hand_joints = self._hand_joints + np.clip(hand - self._hand_joints, -0.35, 0.35)

    def _of(self, name: str) -> Array:
        """One attribute of all people, (n, ...)."""
        return np.array([getattr(person, name) for person in self._people])

    def _newborn(self, seed: int, pose: Array) -> Person:
        rng = np.random.default_rng(np.random.SeedSequence(seed))
        return Person(self.habits, rng, self.dt, EpisodeLog(), pose, np.zeros(3), np.zeros(3), np.eye(3))

    def _draw_noise(self, rng: np.random.Generator) -> Array:
        """Execution noise (time_limit + 1, joints) of one episode: first-order autoregressive, calm at first."""
        habits, arm = self.habits, self.robot.arm_dof
        rho, dof = habits.noise_correlation, len(self.low)
        scale = np.r_[np.full(arm, habits.arm_noise_rad), np.full(dof - arm, habits.hand_noise_rad)]
        white = rng.normal(size=(self.time_limit + 1, dof)) * scale
        return lfilter([np.sqrt(1.0 - rho**2)], [1.0, -rho], white, axis=0)


def _others(frame: Mapping[str, ArrayLike], row: int) -> dict[str, Array]:
    """Name -> pose (7,) of every other object that one environment shows."""
    keys = [key for key in frame if key.endswith("_pose") and key not in ("object_pose", "palm_pose")]
    return {key.removesuffix("_pose"): _array(frame, key)[row] for key in keys}


def _array(frame: Mapping[str, ArrayLike], key: str) -> Array:
    return np.asarray(frame[key], dtype=float)
