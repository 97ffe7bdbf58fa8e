"""One scripted person: what it sees, what it wants, and the skills from which every task's script is made.

A script is a generator that stands for what the person is doing. It is resumed once per control step, with the new
observation in `Person`; it changes the person's wishes and yields; `demonstrator.Demonstrator` then moves arm and
fingers towards them. Time passes at a `yield` and nowhere else, so that a script reads like the plan that it is:

    yield from follow(person, above, near)       # the goal moves with the object
    yield from close_hand(person, settle_s=0.2)
    yield from move(person, goal, until=...)     # the goal stays

Goals are poses of the tool, a frame fixed to the palm (see `Routine`), in the robot base frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from score_rl.tasks.people.habits import Habits
from score_rl.tasks.people.kinematics import rotation_error

Array = NDArray[np.float64]
Script = Iterator[None]
Condition = Callable[[], bool]
Hand = Callable[[float], Array]
"""How far the hand is closed (0 open, 1 around the object, 2 full grip) -> 16 joint targets, rad."""


@dataclass
class EpisodeLog:
    """What happened in an episode, as the person knows it."""

    attempts: list[str] = field(default_factory=list)
    """How each attempt was made."""
    gave_up: bool = False

    def label(self) -> str:
        """For example `hasty,tripod+crosswise+slanted` or `hasty,gave up`."""
        return ",".join(self.attempts + ["gave up"] * self.gave_up)


@dataclass
class Person:
    """One environment's person. Poses are of the tool; metres, radians, robot base frame."""

    habits: Habits
    rng: np.random.Generator
    """All choices of an episode come from it."""
    dt: float
    """Control period, s."""
    log: EpisodeLog
    object_pose: Array
    """(7,) the object that is handled, as the camera reports it now, wxyz."""
    measured: Array
    """(3,) where the tool is, by the measured joints."""
    position: Array
    """(3,) where the tool has been told to be."""
    rotation: Array
    """(3, 3)"""
    others: Mapping[str, Array] = field(default_factory=dict)
    """Name -> (7,) poses of the task's other objects that are seen, as the camera reports them now."""
    step: int = 0
    """Control steps since the episode began."""

    believed: Array = field(default_factory=lambda: np.zeros(3))
    """Where the person believes the object to be, see `look`."""
    goal_position: Array = field(default_factory=lambda: np.zeros(3))
    goal_rotation: Array = field(default_factory=lambda: np.eye(3))
    hand: Hand = lambda closing: np.zeros(16)
    close_s: float = 1.0
    """Time in which the fingers close from 0 to 2."""
    closing: float = 0.0
    """What the fingers are moved to: 0 open, 2 full grip."""
    laden: bool = False
    """Move at the speed of a person who carries something."""
    still: bool = False
    """Do not move the arm."""
    fingers_wait: bool = True
    """Fingers stop in pauses, as the arm does."""

    pace: float = 1.0
    """Share of the brisk speed in this segment."""
    wait: int = 0
    """Control steps left of a pause."""
    age: int = 0
    """Control steps since the segment began; negative during the pause before the hand closes."""
    notice: int = 0
    """Control steps that the next segment begins later."""

    def look(self, jump_m: float = 0.02) -> None:
        """Follow the object with the eye, smoothing the camera's jitter; a jump is believed at once."""
        offset = self.object_pose[:3] - self.believed
        self.believed = self.believed + (1.0 if np.linalg.norm(offset) > jump_m else 0.3) * offset

    def near(self, left_m: float, turned_rad: float, behind_m: float, patience: float = np.inf) -> bool:
        """Whether the target is this near to its goal, and the arm too, for which one waits `patience` steps."""
        return bool(
            np.linalg.norm(self.goal_position - self.position) < left_m
            and np.linalg.norm(rotation_error(self.goal_rotation[None], self.rotation[None])) < turned_rad
            and (self.age > patience or np.linalg.norm(self.goal_position - self.measured) < behind_m)
        )

    def arrived(self) -> bool:
        """Whether hand and arm are where they should be."""
        return self.near(0.006, 0.04, 0.012, patience=12)

    def passing(self) -> bool:
        """Whether the target is near enough to go on to the next point."""
        return self.near(0.02, np.inf, np.inf)

    def lost(self, within_m: float) -> bool:
        """Whether the object is further than this from where the hand should be."""
        return bool(np.linalg.norm(self.object_pose[:3] - self.position) > within_m)


@dataclass(frozen=True)
class Routine:
    """How a person does one task; what a task's demonstrator file defines."""

    script: Callable[[Person], Script]
    """What the person does in one episode; it never ends of its own accord."""
    tool_position: Array
    """(3,) the tool in the palm frame."""
    tool_rotation: Array
    """(3, 3)"""


def begin(person: Person) -> None:
    """A new segment of motion: its pace, and perhaps a pause before it."""
    rng, habits = person.rng, person.habits
    person.age = 0
    person.pace = 1.0 / rng.uniform(*habits.slowness)
    pause = rng.uniform(*habits.pause_s) if rng.random() < habits.pause_probability else 0.0
    person.wait = round(pause / person.dt) + person.notice
    person.notice = 0


def go_on(person: Person, until: Condition, look: Callable[[], None] = lambda: None) -> Script:
    """Carry on with what is wanted, after the pause, until a condition holds; `look` comes first in every step."""
    while True:
        yield
        look()
        if person.wait == 0 and until():
            return


def follow(person: Person, aim: Callable[[], Array], until: Condition) -> Script:
    """Open-handed, with the goal where `aim` says, looking again at every step."""

    def look() -> None:
        person.look()
        person.goal_position = aim()

    begin(person)
    person.closing, person.laden, person.still, person.fingers_wait = 0.0, False, False, True
    yield from go_on(person, until, look)


def close_hand(person: Person, settle_s: float) -> Script:
    """Close the fingers where the hand is; `settle_s`: from their closing to the next motion, negative: before it."""
    begin(person)
    person.age = -person.wait
    person.closing, person.laden, person.still, person.fingers_wait = 2.0, False, True, True
    steps = round(max(person.close_s + settle_s, person.dt) / person.dt)
    yield from go_on(person, lambda: person.age >= steps)


def let_go(person: Person) -> Script:
    """Open the fingers where the hand is."""
    begin(person)
    person.age = -person.wait
    person.closing, person.laden, person.still, person.fingers_wait = 0.0, False, True, True
    steps = round(person.close_s / person.dt)
    yield from go_on(person, lambda: person.age >= steps)


def move(person: Person, goal: Array, until: Condition, laden: bool = True) -> Script:
    """Move to a fixed goal with the hand as it is, at the speed of one who carries something if `laden`."""
    begin(person)
    person.goal_position = np.asarray(goal, float)
    person.laden, person.still, person.fingers_wait = laden, False, False
    yield from go_on(person, until)


def hold(person: Person, until: Condition) -> Script:
    """Stay at the goal."""
    yield from move(person, person.goal_position, until, laden=False)


def watch(person: Person, done: Condition, patience: int = 12) -> Script:
    """Stay where the hand is until what is hoped for has had time to come about, and is not so."""
    person.goal_position = person.position.copy()
    yield from hold(person, until=lambda: person.age > patience and not done())


def tries_again(person: Person, possible: bool) -> bool:
    """A miss is noticed, with a delay before whatever comes next: whether the person tries again or gives up."""
    habits = person.habits
    person.notice = round(person.rng.uniform(*habits.notice_s) / person.dt)
    return bool(person.rng.random() < habits.retry_probability and possible)


def give_up(person: Person, height_m: float = 0.25) -> Script:
    """Raise the open hand and stay there for the rest of the episode."""
    person.log.gave_up = True
    goal = person.position.copy()
    goal[2] = max(goal[2], height_m)
    person.goal_rotation, person.closing = person.rotation, 0.0
    yield from move(person, goal, until=lambda: False, laden=False)


def attempts(
    person: Person,
    attempt: Callable[[Person], Script],
    low: tuple[float, float],
    high: tuple[float, float],
    retreat_m: float = 0.25,
    possible: Condition = lambda: True,
) -> Script:
    """An episode: attempt after attempt, while the object lies within the corners, another attempt is possible, and
    the person does not give up."""
    while True:
        yield from attempt(person)
        if not tries_again(person, within(person.object_pose, low, high) and possible()):
            break
    yield from give_up(person, retreat_m)


class Way(Protocol):
    """One way to do something."""

    share: float
    """Its probability, relative to the shares of the others."""


AnyWay = TypeVar("AnyWay", bound=Way)


def choose(rng: np.random.Generator, ways: Sequence[AnyWay]) -> AnyWay:
    """One of the ways, by their shares."""
    shares = np.array([way.share for way in ways])
    return ways[rng.choice(len(shares), p=shares / shares.sum())]


def within(pose: Array, low: tuple[float, float], high: tuple[float, float]) -> bool:
    """Whether an object's pose is in a rectangle of the table, where trying again makes sense."""
    return bool(low[0] < pose[0] < high[0] and low[1] < pose[1] < high[1])


def about_z(angle: float) -> Array:
    """Rotation (3, 3) about the base's z."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
