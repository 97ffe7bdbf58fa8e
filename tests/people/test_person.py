"""Skills of a person: when segments begin and end, what is seen, when it tries again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from score_rl.tasks.people.habits import Habits, careful
from score_rl.tasks.people.person import (
    EpisodeLog,
    Person,
    close_hand,
    follow,
    give_up,
    go_on,
    let_go,
    move,
    tries_again,
    watch,
    within,
)


def person(habits: Habits | None = None, seed: int = 0) -> Person:
    """At the origin, with an object 10 cm ahead."""
    pose, here = np.array([0.1, 0, 0, 1.0, 0, 0, 0]), np.zeros(3)
    rng = np.random.default_rng(seed)
    return Person(habits or careful(), rng, 0.1, EpisodeLog(), pose, here, here.copy(), np.eye(3))


def steps_of(script, someone: Person, limit: int = 200) -> int:
    """Control steps until a script ends; time passes as in the demonstrator, the hand stays where it is."""
    for step in range(limit):
        if next(script, "done") == "done":
            return step
        someone.age += 1
        someone.wait = max(someone.wait - 1, 0)
    return limit


def test_a_pause_is_finished_before_the_next_segment() -> None:
    someone = person()
    someone.wait = 5
    assert steps_of(go_on(someone, until=lambda: True), someone) == 5


def test_the_goal_of_follow_is_renewed_from_what_is_seen() -> None:
    someone = person()
    script = follow(someone, lambda: someone.believed + (0, 0, 0.2), until=lambda: False)
    next(script)
    next(script)
    assert someone.believed == pytest.approx([0.1, 0, 0])  # a jump from (0, 0, 0): believed at once
    someone.object_pose = np.array([0.11, 0, 0, 1.0, 0, 0, 0])
    next(script)
    assert someone.believed == pytest.approx([0.103, 0, 0])  # smoothed
    assert someone.goal_position == pytest.approx([0.103, 0, 0.2])


@pytest.mark.parametrize(("settle_s", "steps"), [(0.2, 8), (-0.2, 4), (-5.0, 1)])
def test_the_hand_closes_for_its_time(settle_s: float, steps: int) -> None:
    someone = person()
    someone.close_s = 0.6
    assert steps_of(close_hand(someone, settle_s), someone) == steps
    assert someone.closing == 2.0


def test_move_ends_where_it_should_and_keeps_the_hand() -> None:
    someone = person()
    someone.closing = 2.0
    script = move(someone, (0.0, 0.0, 0.3), until=someone.arrived)
    next(script)
    assert someone.laden and someone.closing == 2.0
    assert next(script, "done") != "done"
    someone.position = someone.measured = np.array([0.0, 0.0, 0.299])
    assert next(script, "done") == "done"


def test_patience_with_an_arm_that_lags() -> None:
    someone = person()
    someone.goal_position = someone.position = np.array([0.0, 0.0, 0.1])  # the measured tool stays 10 cm behind
    assert not someone.arrived()
    someone.age = 13
    assert someone.arrived()


def test_a_miss_is_noticed_late_and_tried_again_where_possible() -> None:
    always = replace(careful(), notice_s=(0.5, 0.5))
    someone = person(always)
    assert tries_again(someone, possible=True) and not tries_again(someone, possible=False)
    script = move(someone, np.zeros(3), until=lambda: True)
    next(script)
    assert someone.wait == 5 and someone.notice == 0
    never = person(replace(always, retry_probability=0.0))
    assert not tries_again(never, possible=True)


def test_giving_up_opens_the_hand_above_the_table_and_is_logged() -> None:
    someone = person()
    someone.closing = 2.0
    script = give_up(someone, height_m=0.25)
    assert steps_of(script, someone, limit=30) == 30
    assert someone.closing == 0.0 and someone.goal_position == pytest.approx([0, 0, 0.25])
    assert someone.log.gave_up and someone.log.label() == "gave up"


def test_letting_go_opens_the_hand_where_it_is() -> None:
    someone = person()
    someone.closing, someone.close_s = 2.0, 0.6
    assert steps_of(let_go(someone), someone) == 6
    assert someone.closing == 0.0 and someone.still and not someone.laden


def test_one_watches_as_long_as_it_may_still_come_about() -> None:
    someone, outcome = person(), iter([True] * 20)
    assert steps_of(watch(someone, lambda: False), someone) == 13  # patience
    someone.age = 0
    assert steps_of(watch(someone, lambda: next(outcome, False)), someone) == 13 + 20


def test_pauses_and_paces_are_drawn_from_the_habits() -> None:
    habits = Habits(slowness=(2.0, 2.0), pause_probability=1.0, pause_s=(0.4, 0.4))
    someone = person(habits)
    next(move(someone, np.zeros(3), until=lambda: True))
    assert someone.pace == 0.5 and someone.wait == 4


def test_within_a_rectangle() -> None:
    assert within(np.array([0.5, 0.0]), (0.3, -0.2), (0.7, 0.2))
    assert not within(np.array([0.71, 0.0]), (0.3, -0.2), (0.7, 0.2))
    assert not within(np.array([0.5, -0.21]), (0.3, -0.2), (0.7, 0.2))
