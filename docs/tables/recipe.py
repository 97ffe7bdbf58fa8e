"""Tables of the tasks' recipe: audit and support of what it trains, robot by robot. See `render.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from score_rl.core.records import read_json
from score_rl.evaluation.results import find_record, read_results
from score_rl.report.page import percent
from tables import COMPARED, PAPER, ROBOTS, Table, audited, success, verdicts

VIEWS = {"off": "violation_rate", "steered part": "steered_violation_rate", "single actions": "step_violation_rate"}


def audits_table(directory: Path) -> Table:
    """One row per audit in the folder, `TASK_ROBOT.json`: success in the twin itself, and with all mismatches.

    Below the compared tasks, which come first, stands their mean, and below the others that of all.
    """
    rows, found = [], []
    for path in _cells_of(directory):
        (task, robot), audit = _cell(path), read_json(path)
        found.append(cells := [audit["nominal"], *joint_cells(audit)])
        stops = f"{100 * cells[-1]['faults']:.0f} %"
        rows.append((f"`{task}`", robot, str(cells[-1]["n"]), *map(audited, cells), stops))
    count = sum(_cell(path)[0] in COMPARED for path in _cells_of(directory))
    rows.insert(count, _mean("mean", found[:count]))
    if count < len(found):
        rows.append(_mean("mean of all", found))
    sizes = (f"all at size {cell['size']:g}" for cell in found[0][1:])
    return ("task", "robot", "n", "the twin itself", *sizes, "stops there"), rows


def _mean(label: str, found: Sequence[Sequence[Mapping[str, Any]]]) -> tuple[str, ...]:
    """The row of the means of audits."""
    means = (f"{100 * sum(cell['success'] for cell in column) / len(found):.1f}" for column in zip(*found))
    return label, "", "", *means, ""


def _cells_of(directory: Path) -> list[Path]:
    """Files `TASK_ROBOT.json` of a folder, task by task as the tables have them."""
    return [path for task in PAPER for path in sorted(directory.glob(f"{task}_*.json"))]


def supports_table(directory: Path) -> Table:
    """One row per result file in the folder, `TASK_ROBOT.json`: shares off support, base policy and SCORE."""
    rows = []
    for path in _cells_of(directory):
        records, (task, robot) = read_results(path), _cell(path)
        base, steered = (find_record(records, policy=policy) for policy in ("base", "score_det"))
        shares = (_shares(base, steered, f"support_{view}") for view in VIEWS.values())
        rows.append((f"`{task}`", robot, f"{base['support_n']}, {steered['support_n']}", *shares))
    return ("task", "robot", "chunks of base, SCORE", *VIEWS), rows


def limits_table(path: Path) -> Table:
    """One row per limit of the latent and twin: SCORE's success, and shares off support where they were measured."""
    rows = []
    for entry in read_json(path)["records"]:
        base, steered = entry.get("base"), entry["steered"]
        shares = [_shares(base, steered, f"support_{view}") if base else "–" for view in VIEWS.values()]
        played = entry["evaluated"]
        where = (f"`{played['task']}`", played["world"], entry["limit"], str(played["n"]))
        rows.append((*where, success(played), str(played["hand_faults"]), *shares))
    return ("task", "in", "limit", "n", "success", "stops", *VIEWS), rows


def hinge_table(directory: Path) -> Table:
    """One row per task and robot: SCORE without and with the recipe's hinge, in its twin, in the proxy, in the audit
    with all mismatches at size 2, and its single actions off support. directory: of results without it, laid out as
    those with it two levels above."""
    header = ("task", "robot", "twin", "proxy", "stops in the proxy", "all at size 2", "single actions off support")
    rows = []
    for task in PAPER:
        for robot in ROBOTS:
            before, now = (_told(results, task, robot) for results in (directory, directory.parents[1]))
            rows.append((f"`{task}`", str(robot), *(f"{old} → {new}" for old, new in zip(before, now))))
    return header, rows


def _told(results: Path, task: str, robot: int) -> tuple[str, ...]:
    """Cells of SCORE on one robot; a dash for what was not measured."""
    twin, proxy = (verdicts(results, task, robot, where)["score_det"] for where in ("twin", "proxy"))
    audit, support = (results / kind / f"{task}_{robot}.json" for kind in ("recipe_audit", "recipe_support"))
    wrong = off = "–"
    if audit.exists():
        wrong = f"{100 * joint_cells(read_json(audit))[-1]['success']:.0f} %"
    if support.exists():
        off = f"{100 * find_record(read_results(support), policy='score_det')['support_step_violation_rate']:.1f} %"
    return percent(twin), percent(proxy), str(proxy["hand_faults"]), wrong, off


def joint_cells(audit: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Cells of all mismatches at once, by size."""
    return next(curve["cells"] for curve in audit["curves"] if curve["mismatch"] == "joint")


def _cell(path: Path) -> Sequence[str]:
    """Task and robot of a file's name."""
    return path.stem.rsplit("_", 1)


def _shares(base: Mapping[str, Any], steered: Mapping[str, Any], name: str) -> str:
    return f"{100 * base[name]:.1f} → {100 * steered[name]:.1f} %"
