"""Tables of the claim's experiment and of the audits' predictions, for the documents. See `render_results.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from score_rl.evaluation.results import read_results
from score_rl.experiment import tables
from score_rl.experiment.arms import Arm, arms
from score_rl.foundation.files import read_json

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
PARTS: Mapping[str, Callable[[Sequence[Arm]], tables.Table]] = {
    "means": tables.headline,
    "tasks": lambda found: tables.by_task(found, "proxy"),
    "tasks_raw": lambda found: tables.by_task(found, "proxy_raw"),
    "tasks_twin": lambda found: tables.by_task(found, "twin"),
    "differences": tables.against,
    "sweep": lambda found: tables.sweep(found, "bc_sweep"),
    "support": lambda found: tables.measured(found, tables.SUPPORT, "proxy"),
    "support_twin": lambda found: tables.measured(found, tables.SUPPORT, "twin"),
    "hand": lambda found: tables.measured(found, tables.HAND, "proxy"),
    "cells": lambda found: tables.every_cell(found, "proxy"),
}
"""`<!-- results claim.json:PART -->` -> the table of that part."""
PREDICTIONS = {"nominal": "the twin itself"}


def claim_table(path: Path, part: str = "means") -> Table:
    """A part of an experiment's result file."""
    table = PARTS[part](arms(read_results(path)))
    strong = table.strong or (False,) * len(table.rows)
    rows = [(f"**{row[0]}**" if bold else row[0], *row[1:]) for row, bold in zip(table.rows, strong)]
    return table.header, rows


def audit_table(path: Path) -> Table:
    """Rank correlation of audits with the proxy: one row per task and prediction."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for c in read_json(path)["correlations"]:
        text = f"{c['rho']:.2f} [{c['low']:.2f}, {c['high']:.2f}], n = {c['n']}".replace("-", "−")
        cells.setdefault((c["task"], c["prediction"]), {})[c["outcome"]] = text
    rows = [
        (task, _prediction(name), found.get("proxy", "–"), found.get("proxy_raw", "–"))
        for (task, name), found in cells.items()
    ]
    return ("tasks", "prediction", "rank correlation with success in the proxy", "without the stop"), rows


def _prediction(name: str) -> str:
    return PREDICTIONS.get(name) or f"all mismatches at size {name.removeprefix('joint_')}"
