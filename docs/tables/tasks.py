"""The table of the tasks: how often their base policies succeed, beside the paper's. See `render.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from score_rl.evaluation.results import find_record, read_results
from tables import Table

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


def bases_table(directory: Path) -> Table:
    """One row per task that has a result file of its name in the folder: base policy and z = 0 on one robot."""
    header = ("task", "robot", "n", "base, paper", "base", "z = 0", "stops of base")
    rows = []
    for task, paper in PAPER.items():
        path = directory / f"{task}.json"
        if path.exists():
            records = read_results(path)
            base, zero = (find_record(records, policy=policy) for policy in ("base", "base_z0"))
            shares = (f"{paper} %", _success(base), _success(zero))
            rows.append((f"`{task}`", str(base["robot_seed"]), str(base["n"]), *shares, str(base["hand_faults"])))
    return header, rows


def _success(record: Mapping[str, Any]) -> str:
    low, high = record["wilson95"]
    return f"{100 * record['success_rate']:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
