"""PhysX's mean of two materials against MuJoCo's rules of friction, worked out by hand; needs no PhysX."""

from __future__ import annotations

import pytest

from score_rl.sim.engines.physx_friction import REST, materials, mixed


def contact(have: dict[str, float], one: str, other: str = REST) -> float:
    """What PhysX makes of two materials."""
    return max((have[one] + have[other]) / 2, 0)


def test_one_object_has_its_own_friction_everywhere() -> None:
    assert materials({"cube": 0.6}, ()) == {"cube": 0.6, REST: 0.6}
    assert materials({}, ()) == {REST: 1.0}


def test_the_larger_friction_rules_between_two() -> None:
    have = materials({"plate": 0.4, "rack": 0.8}, ())  # c = 0.4: the rack's is 2 * 0.8 - 0.4
    assert have == pytest.approx({"plate": 0.4, "rack": 1.2, REST: 0.4})
    assert [contact(have, "plate"), contact(have, "rack"), contact(have, "plate", "rack")] == pytest.approx(
        [0.4, 0.8, 0.8]
    )


@pytest.mark.parametrize(("card", "block"), [(0.5, 0.2), (0.7, 0.0), (0.9, -0.2)])
def test_a_smooth_block_rules_over_a_card_of_any_friction(card: float, block: float) -> None:
    have = materials({"card": card, "block": 0.35}, {"block"})  # 2 * 0.35 - card
    assert have == pytest.approx({"card": card, "block": block, REST: card})
    assert contact(have, "card") == pytest.approx(card)
    assert contact(have, "block") == contact(have, "card", "block") == pytest.approx(0.35)


def test_what_the_mean_cannot_meet_is_named() -> None:
    # 0.4, 0.6, 0.9 with c = 0.4: the last two have (0.8 + 1.4) / 2 = 1.1 on each other, where 0.9 rules.
    assert contact(materials({"a": 0.4, "b": 0.6, "c": 0.9}, ()), "b", "c") == pytest.approx(1.1)
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    every = ("a.friction on b", "a.friction on c", "b.friction on c")
    assert sorted(mixed({"a": None, "b": None, "c": None}, (), pairs)) == list(every)
    assert mixed({"a": None, "b": 0.8, "c": 0.8}, (), pairs[:2]) == ()
    assert mixed({"a": None, "b": 0.7, "c": 0.8}, (), pairs[:2]) == (
        "a.friction on c",
    )  # 0.9 on 0.8: with c = 0.7, 1.0
    # A smooth one suits any other; that of two others the larger rules it cannot keep.
    assert mixed({"a": 0.35, "b": None}, {"a"}, pairs[:1]) == ()
    assert sorted(mixed({"a": 0.35, "b": None, "c": None}, {"a"}, pairs)) == list(every)
