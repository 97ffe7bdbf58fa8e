"""A card on a block: drawn over the edge by two fingertips, again where it has not come far enough; where it lies."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from test_person import person

from score_rl.tasks.people.drag import THUMB_AWAY, drag
from score_rl.tasks.people.person import Person, Script
from score_rl.tasks.pick_card.demonstrator import OVER, attempt, beside, edge, on_block, overhang, top

BLOCK = np.array([0.55, -0.20, 0.05, 1.0, 0.0, 0.0, 0.0])
"""Its edge is at y = -0.20 + 0.06 = -0.14; a card on it lies at 0.10 + 0.001 = 0.101."""
FLUSH_Y = -0.14 - 0.0428
"""Of a card whose end is at the edge."""


def someone(x: float = 0.55, y: float = FLUSH_Y, z: float = 0.101) -> Person:
    """Who sees a card there, and the block."""
    one = person()
    one.object_pose, one.others = np.array([x, y, z, 1.0, 0.0, 0.0, 0.0]), {"block": BLOCK}
    return one


def goals(one: Person, script: Script) -> Iterator[np.ndarray]:
    """Where the hand is told to go, one place after the other; it gets there at once."""
    for _ in script:
        if not np.array_equal(one.goal_position, one.position):
            yield one.goal_position
        one.age += 1
        one.position = one.measured = one.goal_position.copy()
        one.rotation = one.goal_rotation


@pytest.mark.parametrize(
    ("rotation", "tips"),
    [(np.eye(3), (0.033, 0.0, -0.0105)), (OVER, (0.0, -0.033, -0.0105))],
    ids=["unturned", "over"],
)
def test_the_fingertips_press_where_they_are_told_to_and_draw(rotation: np.ndarray, tips: tuple[float, ...]) -> None:
    """Pads of fingertips of 10.5 mm, 45 mm apart from the thumb's: they are 22.5 + 10.5 mm from the hand's origin."""
    one = someone()
    one.goal_rotation = rotation
    place, by = np.array([0.54, -0.17, 0.102]), np.array([0.0, 0.03, 0.0])
    visited = [(goal + tips - place, one.laden) for goal in goals(one, drag(one, place, by, 0.01, above_m=0.06))]
    fingertips = np.array([pads for pads, _ in visited])
    # From above, down into the surface, along it, and half as far up as they came from.
    assert fingertips == pytest.approx(np.array([[0, 0, 0.06], [0, 0, -0.01], [0, 0.03, -0.01], [0, 0.03, 0.03]]))
    assert [laden for _, laden in visited] == [False, False, True, False]  # it is drawn slowly
    assert one.closing == 0.0 and (one.hand(0.0) == one.hand(2.0)).all()
    assert one.hand(0.0)[12:] == pytest.approx(THUMB_AWAY)


@pytest.mark.parametrize(
    ("comes", "begins", "drags"), [(1.0, 0.0, 1), (0.8, 0.0, 2), (0.5, 0.0, 3), (0.0, 0.0, 3), (0.0, 0.033, 0)]
)
def test_a_card_is_drawn_again_where_too_little_came_of_it(comes: float, begins: float, drags: int) -> None:
    """A careful person wants 38 mm over the edge, but does nothing for less than 6. Of what is missing there comes a
    share: with 0.8 of it, 7.6 and then 1.5 mm are missing; with half of it, 19, 9.5 and 4.75; and nobody draws more
    than three times."""
    one, drawn_m = someone(y=FLUSH_Y + begins), []
    for goal in goals(one, attempt(one)):
        if not np.array_equal(one.goal_rotation, OVER):
            break
        if one.laden:
            drawn_m.append(goal[1] - one.position[1])
            one.object_pose[1] += comes * drawn_m[-1]
    assert drawn_m == pytest.approx([0.038 * (1 - comes) ** k for k in range(drags)])
    assert one.log.attempts == ["patient"] and one.goal_rotation == pytest.approx(beside(0.4))


def test_what_stands_over_the_edge() -> None:
    assert edge(someone()) == pytest.approx(-0.14) and top(someone()) == pytest.approx(0.101)
    # Half of 85.6 mm on this side of -0.19 and of -0.16.
    assert overhang(someone(y=-0.19)) == pytest.approx(-0.0072)
    assert overhang(someone(y=-0.16)) == pytest.approx(0.0228)


@pytest.mark.parametrize(
    ("offset", "lies_on_it"),
    [
        ((0.049, 0.0, 0.0), True),
        ((-0.051, 0.0, 0.0), False),
        ((0.0, 0.059, 0.0), True),
        ((0.0, -0.061, 0.0), False),
        ((0.0, 0.0, -0.009), True),
        ((0.0, 0.0, 0.011), False),
        ((0.0, 0.0, -0.1), False),
    ],
)
def test_a_card_is_on_the_block_where_its_middle_is_over_it(offset: tuple[float, ...], lies_on_it: bool) -> None:
    assert on_block(someone(*(np.array([0.55, -0.20, 0.101]) + offset))) == lies_on_it


def test_at_the_edge_the_thumb_is_below_and_the_hand_hangs_back() -> None:
    frame, c = beside(np.pi / 6), np.sqrt(0.75)
    # Towards the fingers; along the edge; towards the palm, which is outside and 30 degrees higher.
    np.testing.assert_allclose(frame.T, [[0, -0.5, c], [1, 0, 0], [0, c, 0.5]], atol=1e-12)
    assert np.linalg.det(frame) == pytest.approx(1.0)
