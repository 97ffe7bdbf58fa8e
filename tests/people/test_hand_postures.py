"""The table of finger postures does what it says."""

import numpy as np
import pytest

from score_rl.robots.franka_leap.hand_postures import (
    BULB_PINCH,
    FINGER_RADIUS_M,
    PINCH,
    RING_CURLED,
    SOLVED_JOINTS,
    THIN_PINCH,
    THUMB_RADIUS_M,
    WIDE_PINCH,
    squeeze_direction,
    tips_in_pinch_frame,
)
from score_rl.robots.franka_leap.hand_solver import BULB, _Problem
from score_rl.robots.franka_leap.robot import FRANKA_LEAP


@pytest.mark.parametrize("table", [PINCH, THIN_PINCH], ids=["pinch", "thin"])
def test_pads_stand_apart_by_the_opening(table):
    tips = tips_in_pinch_frame(table)
    assert len(table.openings_m) == len(tips)
    for opening, (index, middle, thumb) in zip(table.openings_m, tips):
        for finger in (index, middle):
            assert abs(finger[0] - FINGER_RADIUS_M - opening / 2) < 1.5e-3
        assert abs(thumb[0] + THUMB_RADIUS_M + opening / 2) < 1.5e-3


def test_tips_are_level_and_the_thumb_stands_between_the_fingers():
    tips = tips_in_pinch_frame(PINCH)
    assert np.abs(tips[:, :, 2]).max() < 2e-3
    index, middle, thumb = tips[:, 0, 1], tips[:, 1, 1], tips[:, 2, 1]
    assert (np.minimum(index, middle) < thumb).all() and (thumb < np.maximum(index, middle)).all()


def test_postures_are_within_the_limits():
    hand = PINCH.hand(np.linspace(0.0, 0.1, 21))
    low, high = np.array(FRANKA_LEAP.target_lower[7:]), np.array(FRANKA_LEAP.target_upper[7:])
    assert ((hand >= low) & (hand <= high)).all()


def test_hand_interpolates_and_keeps_the_ring_finger_curled():
    hand = PINCH.hand(np.array([PINCH.openings_m[2], (PINCH.openings_m[2] + PINCH.openings_m[3]) / 2, 1.0]))
    np.testing.assert_allclose(hand[0, SOLVED_JOINTS], PINCH.joints[2])
    np.testing.assert_allclose(hand[1, SOLVED_JOINTS], np.mean([PINCH.joints[2], PINCH.joints[3]], axis=0))
    np.testing.assert_allclose(hand[2, SOLVED_JOINTS], PINCH.joints[-1])
    np.testing.assert_allclose(hand[:, 8:12], np.tile(RING_CURLED, (3, 1)))


def test_grip_is_the_transposed_jacobian_over_the_gain():
    expected = squeeze_direction(np.array(PINCH.joints[2]), PINCH.rotation())
    np.testing.assert_allclose(PINCH.squeeze_rad_per_n, expected, atol=2e-4)
    # Virtual work: closing by 2 N of grip moves the tips towards each other.
    tighter = PINCH.hand(np.array([0.045]), 2.0) - PINCH.hand(np.array([0.045]))
    np.testing.assert_allclose(tighter[0, SOLVED_JOINTS], 2.0 * np.array(PINCH.squeeze_rad_per_n))


def test_pinch_frame_in_the_palm_is_the_inverse_of_the_palm_in_the_pinch_frame():
    position, rotation = PINCH.in_palm()
    np.testing.assert_allclose(rotation @ PINCH.palm_position_m + position, 0.0, atol=1e-4)
    np.testing.assert_allclose(rotation @ PINCH.rotation(), np.eye(3), atol=1e-3)


def test_the_wide_pinch_does_the_same_for_a_bottle():
    tips = tips_in_pinch_frame(WIDE_PINCH)
    for opening, (index, middle, thumb) in zip(WIDE_PINCH.openings_m, tips):
        assert index[0] - FINGER_RADIUS_M == pytest.approx(opening / 2, abs=1.5e-3)
        assert middle[0] - FINGER_RADIUS_M == pytest.approx(opening / 2, abs=1.5e-3)
        assert thumb[0] + THUMB_RADIUS_M == pytest.approx(-opening / 2, abs=5e-3)
        assert middle[1] < thumb[1] < index[1]
    assert np.abs(tips[:, :, 2]).max() < 4e-3
    low, high = np.array(FRANKA_LEAP.target_lower[7:]), np.array(FRANKA_LEAP.target_upper[7:])
    hand = WIDE_PINCH.hand(np.linspace(0.05, 0.12, 21))
    assert ((hand >= low) & (hand <= high)).all()
    expected = squeeze_direction(np.array(WIDE_PINCH.joints[1]), WIDE_PINCH.rotation())
    np.testing.assert_allclose(WIDE_PINCH.squeeze_rad_per_n, expected, atol=2e-4)


def test_the_bulbs_pinch_does_the_same_and_keeps_everything_but_the_tips_off_the_ball():
    problem = _Problem(BULB, FRANKA_LEAP)
    for opening, joints, tips in zip(BULB_PINCH.openings_m, BULB_PINCH.joints, tips_in_pinch_frame(BULB_PINCH)):
        radii = np.array([FINGER_RADIUS_M, FINGER_RADIUS_M, THUMB_RADIUS_M])
        assert tips[:, 0] * (1, 1, -1) - radii == pytest.approx(opening / 2, abs=1.5e-3)
        assert tips[0, 1] == pytest.approx(-tips[1, 1], abs=2e-3) and abs(tips[2, 1]) < 2e-3
        problem.fingers(np.array(joints))
        points = problem._sampled() @ BULB_PINCH.rotation().T + BULB_PINCH.palm_position_m
        clear = (np.linalg.norm(points, axis=1) - 0.030 - problem.radii)[~problem.is_tip]
        assert opening < 0.06 or clear.min() > 0.010
    expected = squeeze_direction(np.array(BULB_PINCH.joints[1]), BULB_PINCH.rotation())
    np.testing.assert_allclose(BULB_PINCH.squeeze_rad_per_n, expected, atol=2e-4)
