"""Tables of the tasks' recipe: audit and support of what it trains, robot by robot. See `render.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from score_rl.core.records import read_json
from score_rl.evaluation.results import find_record, read_results
from tables import Table, success

VIEWS = {"off": "violation_rate", "steered part": "steered_violation_rate", "single actions": "step_violation_rate"}


def audits_table(directory: Path) -> Table:
    """One row per audit in the folder, `TASK_ROBOT.json`: success in the twin itself, and with all mismatches."""
    found = [(*_cell(path), read_json(path)) for path in sorted(directory.glob("*.json"))]
    sizes = [cell["size"] for cell in _joint(found[0][2])]
    header = ("task", "robot", "n", "the twin itself", *(f"all at size {size:g}" for size in sizes), "stops there")
    rows = []
    for task, robot, audit in found:
        cells = [audit["nominal"], *_joint(audit)]
        stops = f"{100 * cells[-1]['faults']:.0f} %"
        rows.append((f"`{task}`", robot, str(cells[-1]["n"]), *(_rate(cell) for cell in cells), stops))
    audits = [[audit["nominal"], *_joint(audit)] for *_, audit in found]
    means = [sum(cell["success"] for cell in column) / len(audits) for column in zip(*audits)]
    return header, [*rows, ("mean", "", "", *(f"{100 * mean:.1f} %" for mean in means), "")]


def supports_table(directory: Path) -> Table:
    """One row per result file in the folder, `TASK_ROBOT.json`: shares off support, base policy and SCORE."""
    rows = []
    for path in sorted(directory.glob("*.json")):
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
        where = (f"`{steered['task']}`", steered["world"], entry["limit"])
        rows.append((*where, success(entry["evaluated"]), str(entry["evaluated"]["hand_faults"]), *shares))
    return ("task", "in", "limit", "success, n = 200", "stops", *VIEWS), rows


def _cell(path: Path) -> Sequence[str]:
    """Task and robot of a file's name."""
    return path.stem.rsplit("_", 1)


def _joint(audit: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Cells of all mismatches together, the smallest first."""
    return next(curve["cells"] for curve in audit["curves"] if curve["mismatch"] == "joint")


def _rate(cell: Mapping[str, Any]) -> str:
    low, high = cell["wilson95"]
    return f"{100 * cell['success']:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"


def _shares(base: Mapping[str, Any], steered: Mapping[str, Any], name: str) -> str:
    return f"{100 * base[name]:.1f} → {100 * steered[name]:.1f} %"
