"""What the benchmarks of the audit sum up, on figures worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from score_rl.evaluation.audit.panel import Mismatch
from score_rl.pipeline.experiment.audits import correlations, grades

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.mark.parametrize(
    ("mismatch", "robot", "twin", "expected"),
    [
        (Mismatch("robot.delay_s", "more", 0.010), [0.03], [0.01], 2.0),
        # Two joints, one unit and seven units apart: sqrt((1 + 49) / 2).
        (Mismatch("hand.joint_bias_rad", "shift", 0.01), [0.01, -0.07], [0.0, 0.0], 5.0),
        (Mismatch("hand.gain_scale", "factor", 0.1), [1.21], [1.0], 2.0),
        (Mismatch("hand.gain_scale", "factor", 0.1), [1.0], [1.21], 2.0),
        (Mismatch("physics_step", "finer", 1.0), [0.0025], [0.01], 3.0),
    ],
)
def test_the_size_of_a_mismatch(mismatch: Mismatch, robot: list[float], twin: list[float], expected: float) -> None:
    from mismatch import size

    assert math.isclose(size(mismatch, np.array(robot), np.array(twin)), expected)


def row(robot: int, nominal: float, worse: float, proxy: float) -> dict[str, Any]:
    labels = {"task": "debug", "robot_seed": robot, "variant": "score", "label": "SCORE", "policy": "score_det"}
    curve = {"mismatch": "joint", "2": worse, "n": 10}
    return {**labels, "nominal": nominal, "nominal_n": 20, "curves": [curve], "proxy": proxy, "proxy_raw": None}


def test_grades_pool_the_episodes_of_a_method() -> None:
    (found,) = grades([row(1, 0.5, 0.3, 0.9), row(2, 1.0, 0.6, 0.8)], [2.0])
    assert (found["variant"], found["mismatch"], found["cells"]) == ("score", "joint", 2)
    nominal, worse = found["sizes"]
    assert (nominal["size"], nominal["n"], nominal["success"]) == (0.0, 40, 0.75)
    assert (worse["size"], worse["n"], worse["success"]) == (2.0, 20, 0.45)
    assert worse["wilson95"] == pytest.approx((0.258, 0.658), abs=1e-3)


@pytest.mark.slow
def test_predictions_are_ranked_against_what_happened() -> None:
    rows = [row(1, 0.5, 0.1, 0.3), row(2, 0.9, 0.2, 0.5), row(3, 0.7, 0.3, 0.9)]
    found = {(c["task"], c["prediction"]): c for c in correlations(rows, [2.0])}
    assert set(found) == {(task, name) for task in ("all", "debug") for name in ("nominal", "joint_2")}
    assert found["all", "joint_2"]["rho"] == 1.0
    assert found["all", "nominal"]["rho"] == 0.5  # ranks 1 3 2 against 1 2 3: 1 - 6 * 2 / (3 * 8)
    assert all(c["outcome"] == "proxy" and c["n"] == 3 for c in found.values())
