"""Pictures of the committed result files, for the documents. See `render.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from score_rl.core.records import read_json
from score_rl.core.statistics import wilson
from score_rl.evaluation.results import policy_name, read_results
from score_rl.pipeline.experiment.arms import Arm, arms, tasks_of
from score_rl.pipeline.experiment.definition import REFERENCE_POLICIES
from score_rl.pipeline.experiment.summary import pooled
from score_rl.report import charts

GRADED = {
    "SCORE": ({"score_uncalibrated": 0.0, "score_half": 0.5, "score": 1.0}, charts.ACCENT, "o"),
    "unconstrained": (
        {"unconstrained_uncalibrated": 0.0, "unconstrained_half": 0.5, "unconstrained": 1.0},
        charts.INK,
        "o",
    ),
    "unconstrained, 2.4 M steps": ({"unconstrained_uncalibrated_long": 0.0}, charts.INK, "s"),
}
"""Lines of `transfer`: methods of the claim's experiment and how much of the calibration their twins had."""


@dataclass(frozen=True)
class Picture:
    """One picture and where it comes from."""

    file: str
    """Result file, in benchmarks/results/."""
    draw: Callable[[Path], str]
    """Result file -> SVG text."""
    caption: str


def success(path: Path) -> str:
    """Success with intervals of every policy and robot in the proxy."""
    records = read_results(path)
    named = [{**record, "world": f"{record['world']}, robot {record['robot_seed']}"} for record in records]
    return charts.success([record for record in named if record["world"].startswith("proxy")] or named)


def grades(path: Path) -> str:
    """Success with all mismatches together, over their size, with Wilson's intervals.

    Of the methods with the most policies: those of a part of the tasks and robots would not be comparable.
    """
    found = [grade for grade in read_json(path)["grades"] if grade["mismatch"] == "joint"]
    most = max(grade["cells"] for grade in found)
    found = [grade for grade in found if grade["cells"] == most]
    dashes = cycle(("-", (0, (4, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (8, 3))))
    styles = dict(charts.STYLES)  # taken by the first of a policy's name; others with it are told apart by dashes
    with charts.drawing(charts.WIDTH, 3.6) as ((axis,), svg):
        for grade in found:
            x = [cell["size"] for cell in grade["sizes"]]
            rates = [cell["success"] for cell in grade["sizes"]]
            style = styles.pop(grade["policy"], None) or {"color": charts.INK, "linestyle": next(dashes)}
            reference = grade["policy"] in REFERENCE_POLICIES
            label = policy_name(grade["policy"]) if reference else grade["label"]
            axis.plot(x, rates, marker="o", markersize=4, label=label, **style)
            low, high = zip(*(cell["wilson95"] for cell in grade["sizes"]))
            axis.fill_between(x, low, high, color=style["color"], alpha=0.1, linewidth=0)
        axis.set(xlabel="size of all mismatches together, in units of the panel", ylabel="success", ylim=(0, 1))
        axis.set_xticks(x)
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axis.legend(loc="upper right", fontsize=8)
    return svg[0]


def transfer(path: Path) -> str:
    """Success over how much of the calibration the twin had, with Wilson's intervals; one panel per task.

    On the robots (the proxy), and dashed: of the same policies in the twin that they were trained in.
    """
    found = {arm.variant: arm for arm in arms(read_results(path))}
    tasks = tasks_of(found["score_uncalibrated"].of("proxy"))
    with charts.drawing(charts.WIDTH, 3.0, len(tasks)) as (axes, svg):
        for axis, task in zip(axes, tasks):
            for label, (shares, ink, marker) in GRADED.items():
                graded = [(share, found[variant]) for variant, share in shares.items()]
                in_twin = {"linestyle": "--", "marker": marker, "markersize": 3, "alpha": 0.5}
                _rates(axis, graded, "twin", task, color=ink, label=f"{label}: in its twin", **in_twin)
                _rates(axis, graded, "proxy", task, color=ink, label=f"{label}: on the robot", marker=marker)
            axis.set(title=task, xlim=(-0.1, 1.1), ylim=(0, 1.02), xlabel="share of the calibration")
            axis.set_xticks([0.0, 0.5, 1.0], ["none", "half", "all"])
            axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes[0].set_ylabel("success")
        axes[0].legend(loc="lower right", fontsize=6.5)
    return svg[0]


def _rates(axis: Axes, graded: Sequence[tuple[float, Arm]], evaluation: str, task: str, **style: Any) -> None:
    """Success of arms (share of the calibration, arm) on one task, all robots together."""
    records = [(share, arm.of(evaluation, task)) for share, arm in graded if arm.of(evaluation, task)]
    counts = [pooled(cell) for _, cell in records]
    if not counts:
        return
    rates = [successes / n for successes, n in counts]
    errors = [(rate - low, high - rate) for rate, (low, high) in zip(rates, (wilson(*count) for count in counts))]
    axis.errorbar([share for share, _ in records], rates, list(zip(*errors)), capsize=2, elinewidth=1, **style)


def on_white(svg: str) -> str:
    """The picture with a background, for pages that may be dark."""
    start = svg.index(">") + 1
    return f'{svg[:start]}<rect width="100%" height="100%" fill="white"/>{svg[start:]}'


PICTURES: Mapping[str, Picture] = {
    "results": Picture(
        "pinch_cube.json",
        success,
        "Success in the hardware proxy, with 95 % intervals: base policy, z = 0 and SCORE, robot by robot",
    ),
    "transfer": Picture(
        "claim.json",
        transfer,
        "Success over how well the twin was calibrated: SCORE and unconstrained RL, with 95 % intervals",
    ),
    "mismatch": Picture(
        "audit.json",
        grades,
        "Success in the twin as it is made worse: every method, with 95 % intervals",
    ),
}
"""`<!-- picture NAME -->` -> docs/images/NAME.svg."""
