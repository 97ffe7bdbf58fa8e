import pytest

from score_rl.core.ranges import Range


@pytest.mark.parametrize(
    ("limits", "inside", "outside", "text"),
    [
        (Range(1), (1, 2, 1e300), (0, 0.999), ">= 1"),
        (Range(0, open="low"), (1e-9,), (0, -1), "> 0"),
        (Range(0, 1), (0, 1, 0.5), (-0.1, 1.1), "0 to 1"),
        (Range(0, 1, "high"), (0, 0.999), (1,), ">= 0 and < 1"),
        (Range(0, 1, "both"), (0.5,), (0, 1), "> 0 and < 1"),
        (Range(high=5), (-1e9, 5), (6,), "<= 5"),
        (Range(), (0,), (), "any finite number"),
    ],
)
def test_both_sides_of_every_end(limits, inside, outside, text):
    assert all(value in limits for value in inside) and not any(value in limits for value in outside)
    assert str(limits) == text
    assert float("nan") not in limits or text == "any finite number"
