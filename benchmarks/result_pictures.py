"""Pictures of the committed result files, for the documents. See `render_results.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from score_rl.evaluation import charts
from score_rl.evaluation.results import read_results
from score_rl.foundation.files import read_json


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
    found = [grade for grade in found if grade["cells"] == max(grade["cells"] for grade in found)]
    dashes = cycle(("-", (0, (4, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1))))
    with charts.drawing(charts.WIDTH, 3.6) as ((axis,), svg):
        for grade in found:
            x = [cell["size"] for cell in grade["sizes"]]
            rates = [cell["success"] for cell in grade["sizes"]]
            style = charts.STYLES.get(grade["policy"]) or {"color": charts.INK, "linestyle": next(dashes)}
            label = charts.NAMES.get(grade["policy"], grade["label"])
            axis.plot(x, rates, marker="o", markersize=4, label=label, **style)
            low, high = zip(*(cell["wilson95"] for cell in grade["sizes"]))
            axis.fill_between(x, low, high, color=style["color"], alpha=0.1, linewidth=0)
        axis.set(xlabel="size of all mismatches together, in units of the panel", ylabel="success", ylim=(0, 1))
        axis.set_xticks(x)
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axis.legend(loc="upper right", fontsize=8)
    return svg[0]


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
    "mismatch": Picture(
        "audit.json",
        grades,
        "Success in the twin as it is made worse: every method, with 95 % intervals",
    ),
}
"""`<!-- picture NAME -->` -> docs/images/NAME.svg."""
