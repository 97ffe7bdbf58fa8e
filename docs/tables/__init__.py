"""Tables of the documents, made from result files; see `render.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def success(record: Mapping[str, Any] | None) -> str:
    """Success with its 95 % interval, as cells show it; a dash for no record."""
    if record is None:
        return "–"
    low, high = record["wilson95"]
    return f"{percent(record)} [{100 * low:.0f}, {100 * high:.0f}]"


def audited(cell: Mapping[str, Any]) -> str:
    """Success of a cell of an audit in per cent, with its 95 % interval."""
    low, high = cell["wilson95"]
    return f"{100 * cell['success']:.0f} [{100 * low:.0f}, {100 * high:.0f}]"
