"""Tables of the documents, made from result files; see `render.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from score_rl.evaluation.results import read_results
from score_rl.pipeline.experiment.summary import mean_rate
from score_rl.report.page import percent

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Header and rows."""
PAPER = {
    "pinch_cube": 30,
    "grasp_bottle": 92,
    "push_ball": 13,
    "grasp_cup": 47,
    "pick_card": 10,
    "pour_ball": 11,
    "screw_lightbulb": 50,
    "place_dishrack": 50,
}
"""Success of the paper's base policies on its robot, in per cent (arXiv 2606.27475)."""
ROBOTS = (101, 201)
"""Development robots of the recipe."""
COMPARED = ("pinch_cube", "grasp_bottle", "push_ball")
"""Tasks whose verdicts are those of experiments/rivals_calibrated.toml; others have a result file of their own."""
RECIPE = ("references", "score_calibrated", "ticket_calibrated")
"""Variants there that are the recipe and its controls."""
FROM_CLOUDS = ("references", "score", "ticket")
"""The same of experiments/clouds.toml and experiments/clouds_physx.toml."""


def verdicts(results: Path, task: str, robot: int, evaluation: str = "proxy") -> dict[str, Mapping[str, Any]]:
    """Records of the recipe and its controls on one robot, by policy, from result files in the folder `results`; the
    twin's (`evaluation="twin"`) of tasks with a result file of their own are in its folder recipe_twins."""
    if task in COMPARED:
        found = [r for r in read_results(results / "rivals_calibrated.json") if r["variant"] in RECIPE]
        found = [r for r in found if (r["task"], r["robot_seed"], r["evaluation"]) == (task, robot, evaluation)]
    elif evaluation == "twin":
        found = read_results(results / "recipe_twins" / f"{task}_{robot}.json")
    else:
        found = [r for r in read_results(results / f"{task}.json") if r["robot_seed"] == robot]
    return {record["policy"]: record for record in found}


def success(record: Mapping[str, Any] | None) -> str:
    """Success with its 95 % interval, as cells show it; a dash for no record."""
    if record is None:
        return "–"
    low, high = record["wilson95"]
    return f"{percent(record)} [{100 * low:.0f}, {100 * high:.0f}]"


def mean_success(records: Sequence[Mapping[str, Any]]) -> str:
    """Mean success over tasks and robots, with an interval that knows both."""
    rate = mean_rate(records)
    return f"{100 * rate.value:.1f} % [{100 * rate.low:.0f}, {100 * rate.high:.0f}]"


def audited(cell: Mapping[str, Any]) -> str:
    """Success of a cell of an audit in per cent, with its 95 % interval."""
    low, high = cell["wilson95"]
    return f"{100 * cell['success']:.0f} [{100 * low:.0f}, {100 * high:.0f}]"
