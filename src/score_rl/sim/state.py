"""The true state of a scene, by name: what tasks, rewards and a privileged critic read, n environments at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from score_rl.core.errors import unknown_choice
from score_rl.sim import rotations_numpy as rotations

if TYPE_CHECKING:
    from mujoco import MjModel

_FREE, _SLIDE = 0, 2
"""MuJoCo's types of joints (mjtJoint); tasks are read where MuJoCo is not installed."""


@dataclass(frozen=True)
class BodyState:
    """One body; world frame = robot base frame."""

    position: np.ndarray
    """(n, 3) of the body's frame, m."""
    quaternion: np.ndarray
    """(n, 4) wxyz."""
    linear_velocity: np.ndarray
    """(n, 3) m/s, world frame."""
    angular_velocity: np.ndarray
    """(n, 3) rad/s, the body's own frame."""

    def at(self, rows: np.ndarray | slice) -> BodyState:
        """Of some environments."""
        return BodyState(
            self.position[rows], self.quaternion[rows], self.linear_velocity[rows], self.angular_velocity[rows]
        )


@dataclass(frozen=True)
class Posture:
    """Joints (k, a) of the robot and their forward kinematics: palm pose (k, 7) and fingertips (k, 4, 3)."""

    joints: np.ndarray
    palm: np.ndarray
    fingertips: np.ndarray


@dataclass(frozen=True)
class JointState:
    """One hinge (rad, rad/s) or slide (m, m/s)."""

    position: np.ndarray
    """(n,)"""
    velocity: np.ndarray
    """(n,)"""


Named = TypeVar("Named")


@dataclass(frozen=True)
class SceneState:
    """Everything by name. Arrays may be views of the running physics: valid until its next step, and read only."""

    bodies: Mapping[str, BodyState]
    """By the names in the scene."""
    joints: Mapping[str, JointState] = field(default_factory=dict)
    """Hinges and slides."""
    contacts: Mapping[tuple[str, str], np.ndarray] = field(default_factory=dict)
    """See `contact_force`."""
    hand: Callable[[], Posture] | None = None
    """The robot's true posture, computed when it is asked for."""
    begun: SceneState | None = None
    """See `start`."""

    @property
    def start(self) -> SceneState:
        """Bodies and joints as they were when the episode began, at rest."""
        assert self.begun is not None, "the state at the start has no start of its own"
        return self.begun

    @property
    def fingertips(self) -> np.ndarray:
        """(n, fingers, 3) centres of the fingertips, m; in the order of `Robot.fingers`."""
        return self.posture.fingertips

    @property
    def palm(self) -> np.ndarray:
        """(n, 7) pose of the palm site."""
        return self.posture.palm

    @property
    def posture(self) -> Posture:
        """The robot's true joints and where its hand is."""
        assert self.hand is not None, "the state at the start has no hand"
        return self.hand()

    def body(self, name: str) -> BodyState:
        """The body of that name; raises ScoreError that lists the choices."""
        return _find(self.bodies, name, "body")

    def joint(self, name: str) -> JointState:
        """The hinge or slide of that name; raises ScoreError that lists the choices."""
        return _find(self.joints, name, "joint")

    def contact_force(self, one: str, other: str) -> np.ndarray:
        """(n,) size of the net contact force between two things, in newtons, mean over the last control period.

        A thing is a body by name, `fingers`, `palm` or `table`. A task lists the pairs that it reads in
        `Task.contacts`, since every pair is measured in every physics step. 0 at the start of an episode.
        Raises ScoreError that lists the pairs for one that is not measured.
        """
        pair = (other, one) if (other, one) in self.contacts else (one, other)
        return _find(self.contacts, pair, "contact (see Task.contacts)")


def _find(things: Mapping, name: object, kind: str) -> Named:
    if name not in things:
        raise unknown_choice(kind, name, things)
    return things[name]


class Configuration:
    """Bodies and joints by name, computed when asked for, of configurations in MuJoCo's layout.

    Numpy forward kinematics of the scene's trees, so that an engine has to give joint positions and velocities only.
    """

    def __init__(self, model: MjModel, qpos: np.ndarray, qvel: np.ndarray) -> None:
        """qpos (n, nq), qvel (n, nv): read whenever something is asked for."""
        self.model, self.qpos, self.qvel = model, qpos, qvel
        self.offset = np.tile(model.body_pos, (len(qpos), 1, 1))
        """(n, bodies, 3) place of every body in its parent, per environment: objects differ in size."""
        self.anchor = np.tile(model.jnt_pos, (len(qpos), 1, 1))
        """(n, joints, 3) place of every joint in its body."""
        self.bodies = _Lazy({model.body(k).name: k for k in range(model.nbody)}, self._body)
        self._free = {
            int(model.jnt_bodyid[k]): (int(model.jnt_qposadr[k]), int(model.jnt_dofadr[k]))
            for k in range(model.njnt)
            if model.jnt_type[k] == _FREE
        }
        free = [k for k in range(model.njnt) if model.jnt_type[k] == _FREE]
        others = {model.joint(k).name: k for k in range(model.njnt) if k not in free}
        self.joints = _Lazy(others, self._joint)
        starts = model.jnt_qposadr.tolist()
        self._addresses = {name: slice(starts[k], starts[k] + 1) for name, k in others.items()}
        self._addresses |= {model.body(model.jnt_bodyid[k]).name: slice(starts[k], starts[k] + 7) for k in free}

    def at(self, qpos: np.ndarray, qvel: np.ndarray) -> Configuration:
        """The same scene in other configurations (n, nq) and velocities (n, nv)."""
        other = copy(self)
        other.qpos, other.qvel = qpos, qvel
        other.bodies, other.joints = self.bodies.of(other._body), self.joints.of(other._joint)
        return other

    def addresses(self, name: str) -> slice:
        """Where in `qpos` a free body (7) or a joint (1) of that name is; raises ScoreError for another name."""
        return _find(self._addresses, name, "free body or joint")

    def _joint(self, joint: int) -> JointState:
        model = self.model
        return JointState(self.qpos[:, model.jnt_qposadr[joint]], self.qvel[:, model.jnt_dofadr[joint]])

    def _body(self, body: int) -> BodyState:
        if body in self._free:
            (q, v), qpos, qvel = self._free[body], self.qpos, self.qvel
            return BodyState(qpos[:, q : q + 3], qpos[:, q + 3 : q + 7], qvel[:, v : v + 3], qvel[:, v + 3 : v + 6])
        model, n = self.model, len(self.qpos)
        if body == 0:
            still = np.zeros((n, 3))
            return BodyState(still, np.tile([1.0, 0.0, 0.0, 0.0], (n, 1)), still, still)
        parent = self._body(int(model.body_parentid[body]))
        place = _Place(
            parent.position + rotations.rotate(parent.quaternion, self.offset[:, body]),
            rotations.multiply(parent.quaternion, model.body_quat[body][None]),
            parent.linear_velocity,
            [(rotations.rotate(parent.quaternion, parent.angular_velocity), parent.position)],
        )
        first = int(model.body_jntadr[body])
        for joint in range(first, first + int(model.body_jntnum[body])):
            place = self._moved(joint, place)
        linear = place.sliding + sum(rotations.cross(spin, place.position - centre) for spin, centre in place.turning)
        angular = rotations.rotate(rotations.inverse(place.quaternion), sum(spin for spin, _ in place.turning))
        return BodyState(place.position, place.quaternion, linear, angular)

    def _moved(self, joint: int, place: _Place) -> _Place:
        """A body's place behind one of its joints."""
        model, state, local = self.model, self._joint(joint), self.model.jnt_axis[joint][None]
        axis = rotations.rotate(place.quaternion, local)
        moved = state.position[:, None] - model.qpos0[model.jnt_qposadr[joint]]
        speed = axis * state.velocity[:, None]
        if model.jnt_type[joint] == _SLIDE:
            return replace(place, position=place.position + axis * moved, sliding=place.sliding + speed)
        centre = place.position + rotations.rotate(place.quaternion, self.anchor[:, joint])
        turned = rotations.multiply(place.quaternion, rotations.from_rotation_vector(local * moved))
        back = centre - rotations.rotate(turned, self.anchor[:, joint])
        return replace(place, position=back, quaternion=turned, turning=[*place.turning, (speed, centre)])


@dataclass(frozen=True)
class _Place:
    """Where a body is on the way through its joints."""

    position: np.ndarray
    quaternion: np.ndarray
    sliding: np.ndarray
    """(n, 3) velocity that is no turning, world frame."""
    turning: list[tuple[np.ndarray, np.ndarray]]
    """(angular velocity (n, 3), a point of its axis (n, 3)), world frame."""


class _Lazy(Mapping):
    """A mapping whose values are computed when they are asked for."""

    def __init__(self, index: Mapping[str, int], compute: Callable) -> None:
        self._index, self._compute = index, compute

    def of(self, compute: Callable) -> _Lazy:
        """The same names, computed otherwise."""
        return _Lazy(self._index, compute)

    def __getitem__(self, name: str):
        return self._compute(self._index[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)
