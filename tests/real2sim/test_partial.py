"""A calibration applied in part: values worked out by hand, both ends exact."""

from __future__ import annotations

import pytest

from score_rl.core.errors import ScoreError
from score_rl.real2sim.partial import partly_calibrated
from score_rl.sim.domain import Domain, parse_domain
from score_rl.sim.task import get_task

PARAMETERS = get_task("pinch_cube").parameters
FRICTION = {"distribution": "uniform", "low": 0.4, "high": 0.8}
START = parse_domain({"name": "twin", "object.friction": {"episode": FRICTION}})
CALIBRATED = parse_domain(
    {
        "name": "twin_calibrated",
        "protective_stop": {"force_n": 30.0},
        "object.friction": {"episode": {**FRICTION, "low": 0.6}},
        "robot.delay_s": {
            "robot": {"distribution": "constant", "value": 0.04},
            "episode": {"distribution": "normal", "mean": 0.0, "sd": 0.004},
        },
        "hand.gain_scale": {"episode": {"distribution": "normal", "mean": 0.9, "sd": 0.1}},
        "camera.position_bias_m": {"robot": {"distribution": "constant", "value": [0.004, -0.002, 0.0]}},
    }
)


def values(domain: Domain) -> dict[str, object]:
    table = domain.describe()
    return {
        "friction": table["object"]["friction"]["episode"]["low"],
        "delay": table["robot"]["delay_s"]["robot"]["value"],
        "delay sd": table["robot"]["delay_s"]["episode"]["sd"],
        "gain": table["hand"]["gain_scale"]["episode"]["mean"],
        "camera": table["camera"]["position_bias_m"]["robot"]["value"],
    }


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        # Where the first twin says nothing its values are the nominal ones: no delay, a gain of 1, no bias.
        (0.0, {"friction": 0.4, "delay": 0.0, "delay sd": 0.0, "gain": 1.0, "camera": [0.0, 0.0, 0.0]}),
        (0.5, {"friction": 0.5, "delay": 0.02, "delay sd": 0.002, "gain": 0.95, "camera": [0.002, -0.001, 0.0]}),
        (1.0, {"friction": 0.6, "delay": 0.04, "delay sd": 0.004, "gain": 0.9, "camera": [0.004, -0.002, 0.0]}),
    ],
)
def test_every_value_and_width_lies_in_between(share: float, expected: dict[str, object]) -> None:
    domain = partly_calibrated(START, CALIBRATED, share, PARAMETERS)
    found = values(domain)
    assert found.pop("camera") == pytest.approx(expected.pop("camera"))
    assert found == pytest.approx(expected)
    assert domain.protective_stop.force_n == 30


def test_all_of_it_is_the_calibrated_twin() -> None:
    assert partly_calibrated(START, CALIBRATED, 1.0, PARAMETERS).describe() == CALIBRATED.describe()


def test_what_has_nothing_in_between_is_refused() -> None:
    with pytest.raises(ScoreError, match=r"1\.5 is outside \[0, 1\]"):
        partly_calibrated(START, CALIBRATED, 1.5, PARAMETERS)
    other = parse_domain({"object.friction": {"episode": {"distribution": "constant", "value": 0.5}}})
    with pytest.raises(ScoreError, match=r"object\.friction\.episode is constant in one twin and uniform"):
        partly_calibrated(other, CALIBRATED, 0.5, PARAMETERS)
