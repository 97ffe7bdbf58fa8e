"""Skills of a person: turning something about the vertical, bringing what is held to a place."""

from __future__ import annotations

import numpy as np
import pytest
from test_person import person, steps_of

from score_rl.tasks.people.person import about_z
from score_rl.tasks.people.placing import carry, hover
from score_rl.tasks.people.turning import heading, turn
from score_rl.tasks.place_dishrack.demonstrator import FLOOR_M, PLATE_RADIUS_M, placed, stands, upwards

HALF = np.sqrt(0.5)


@pytest.mark.parametrize("by_rad", [-4.0, 0.5, 3.5])
def test_a_turn_goes_all_the_way_also_beyond_half_a_turn(by_rad: float) -> None:
    someone, yaws = person(), [0.3]
    someone.rotation = about_z(0.3)
    script = turn(someone, by_rad, lead_rad=0.4)
    next(script)
    for _ in range(40):
        if next(script, "done") == "done":
            break
        someone.rotation = someone.goal_rotation  # a hand that is where it should be one step later
        yaws.append(heading(someone.rotation))
    steps = np.diff(np.unwrap(yaws))
    assert np.abs(steps).max() == pytest.approx(0.4) and (np.sign(steps) == np.sign(by_rad)).all()
    assert np.unwrap(yaws)[-1] - 0.3 == pytest.approx(by_rad, abs=0.41)


def test_the_goal_is_where_the_hand_brings_the_object_to_its_place() -> None:
    someone = person()
    someone.measured = np.array([0.1, 0.0, 0.06])  # the object, at (0.1, 0, 0), hangs 6 cm below the hand
    script = carry(someone, lambda: someone.object_pose[:3], lambda: np.array([0.5, 0.2, 0.3]), until=someone.arrived)
    next(script)
    assert someone.goal_position == pytest.approx([0.5, 0.2, 0.36]) and someone.laden
    someone.object_pose = np.array([0.1, 0.01, 0, 1.0, 0, 0, 0])  # it has slipped by a centimetre
    next(script)
    assert someone.goal_position == pytest.approx([0.5, 0.198, 0.36])
    someone.position = someone.measured = someone.goal_position
    someone.object_pose = np.array([*(someone.measured + (0, 0.002, -0.06)), 1.0, 0, 0, 0])
    assert steps_of(script, someone, limit=30) < 30


def test_hovering_takes_out_what_the_arm_is_off_by() -> None:
    """The arm stays 10 mm beside its goal: after every look 0.9 of that is left."""
    someone, off = person(), np.array([0.0, 0.010, 0.0])
    someone.goal_position = target = np.array([0.5, 0.2, 0.3])
    script = hover(someone, lambda: someone.goal_position + off, lambda: target, lambda left: abs(left[1]) < 0.0087)
    next(script)
    for left in (0.9, 0.81):
        next(script)
        assert someone.goal_position + off - target == pytest.approx(left * off)
    # What is left, averaged: 10, 0.6 x 10 + 0.4 x 9 = 9.6, 0.6 x 9.6 + 0.4 x 8.1 = 9.0 and then 8.3 mm.
    assert next(script, "done") is None and next(script, "done") == "done"


@pytest.mark.parametrize(
    ("quaternion", "highest"),
    [
        ((HALF, HALF, 0, 0), (0, 0, 1)),
        ((HALF, 0, HALF, 0), (0, 0, 1)),
        ((np.cos(np.pi / 6), np.sin(np.pi / 6), 0, 0), (0, 0.5, HALF * np.sqrt(1.5))),
        ((1, 0, 0, 0), (0, 0, 1)),
    ],
)
def test_the_highest_point_of_the_rim(quaternion: tuple[float, ...], highest: tuple[float, ...]) -> None:
    assert upwards(np.array(quaternion)) == pytest.approx(highest, abs=1e-9)


def test_a_plate_that_stands_may_be_tried_again() -> None:
    upright, lying, tilted = (HALF, HALF, 0, 0), (1, 0, 0, 0), (np.cos(0.4), np.sin(0.4), 0, 0)
    assert stands(np.array([0.5, 0, 0.09, *upright])) and not stands(np.array([0.5, 0, 0.09, *tilted]))
    assert not stands(np.array([0.5, 0, 0.005, *lying])) and not stands(np.array([0.5, 0, 0.05, *upright]))


def test_a_plate_is_seen_in_the_rack_only_there() -> None:
    rack = np.array([0.57, 0.14, 0.0, 1, 0, 0, 0])
    slot = rack + (0, 0, FLOOR_M + PLATE_RADIUS_M, 0, 0, 0, 0)
    seen = [(0.039, 0.0, 0.0), (0.041, 0.0, 0.0), (0.0, -0.039, 0.0), (0.0, 0.041, 0.0), (0, 0, 0.019), (0, 0, 0.021)]
    found = [placed(slot + np.array([*offset, 0, 0, 0, 0]), rack) for offset in seen]
    assert found == [True, False, True, False, True, False]
