"""Tables of the claim's experiment, of audits and of mismatches, for the documents. See `render.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from score_rl.core.records import read_json
from score_rl.core.statistics import wilson
from score_rl.evaluation.audit.panel import mismatches
from score_rl.evaluation.results import policy_name, read_results
from score_rl.pipeline.experiment.arms import Arm, arms, complete, tasks_of
from score_rl.pipeline.experiment.definition import REFERENCE_POLICIES
from score_rl.report.experiment import tables
from score_rl.sim.task import get_task
from tables import Table, audited

PARTLY_CALIBRATED = ("_half", "_uncalibrated", "_uncalibrated_long")
"""Ends of the names of methods that were trained in a twin without all of its calibration."""


def main_arms(found: Sequence[Arm]) -> list[Arm]:
    """The arms that were run on every task and robot."""
    return [arm for arm in found if complete(arm, found, "proxy")]


def forms(found: Sequence[Arm]) -> tables.Table:
    """Every arm on the task that all of them were run on, robot by robot: other twins, other forms, other stops."""
    tasks = [tasks_of(arm.of("proxy")) for arm in found if arm.of("proxy")]
    task = next(task for task in tasks[0] if all(task in others for others in tasks))
    robots = sorted({r["robot_seed"] for arm in found for r in arm.of("proxy", task)})
    columns = (*(f"robot {robot}" for robot in robots), "stops %", "force p95 N", "off support %")
    rows = []
    shown = [arm for arm in found if arm.of("proxy", task) and arm.sweep is None]
    for arm in shown:
        cells = {r["robot_seed"]: r for r in arm.of("proxy", task)}
        by_robot = (tables.pooled_text([cells[robot]]) if robot in cells else tables.DASH for robot in robots)
        body = (show(arm.of("proxy", task)) for _, show in tables.BODY)
        rows.append((arm.label, tables.mean_text(arm.of("twin", task)), *by_robot, *body))
    return tables.Table(("method", "twin", *columns), rows, tuple(arm.ours for arm in shown))


def twins(found: Sequence[Arm]) -> tables.Table:
    """Success by how well the twin was calibrated, in the twin that a method was trained in and on the robots."""
    partly = [arm for arm in found if arm.variant.endswith(PARTLY_CALIBRATED)]
    policies = {arm.policy for arm in partly}
    shown = [arm for arm in main_arms(found) if arm.policy in policies and arm not in partly] + partly
    tasks = tasks_of(r for arm in partly for r in arm.of("proxy"))
    evaluations = {"twin": "in its twin", "proxy": "on the robots"}
    rows = [
        (arm.label, *(tables.pooled_text(arm.of(name, task)) for task in tasks for name in evaluations))
        for arm in shown
    ]
    header = ("method", *(f"{task}, {where}" for task in tasks for where in evaluations.values()))
    return tables.Table(header, rows, tuple(arm.ours for arm in shown))


PARTS: Mapping[str, Callable[[Sequence[Arm]], tables.Table]] = {
    "means": lambda found: tables.headline(main_arms(found)),
    "tasks": lambda found: tables.by_task(main_arms(found), "proxy"),
    "tasks_raw": lambda found: tables.by_task(main_arms(found), "proxy_raw"),
    "tasks_twin": lambda found: tables.by_task(main_arms(found), "twin"),
    "differences": lambda found: tables.against(main_arms(found)),
    "forms": forms,
    "twins": twins,
    "sweep": lambda found: tables.sweep(found, "bc_sweep"),
    "support": lambda found: tables.measured(main_arms(found), tables.SUPPORT, "proxy"),
    "support_twin": lambda found: tables.measured(main_arms(found), tables.SUPPORT, "twin"),
    "hand": lambda found: tables.measured(main_arms(found), tables.HAND, "proxy"),
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


def grades_table(path: Path) -> Table:
    """Success in the twin, and with all mismatches together, size by size, of the methods with the most policies."""
    grades = _main_grades(read_json(path))
    sizes = [cell["size"] for cell in grades[0]["sizes"]]
    header = ("method", "policies", "the twin itself", *(f"all at size {size:g}" for size in sizes if size))
    return header, [
        (_named(grade), str(grade["cells"]), *(audited(cell) for cell in grade["sizes"])) for grade in grades
    ]


def grades_by_task_table(path: Path) -> Table:
    """The same, task by task."""
    found = read_json(path)
    grades = _main_grades(found)
    sizes = [cell["size"] for cell in grades[0]["sizes"]]
    rows = []
    for task in dict.fromkeys(policy["task"] for policy in found["policies"]):
        for grade in grades:
            same = ("label", "policy")
            audits = [p for p in found["policies"] if p["task"] == task and all(p[k] == grade[k] for k in same)]
            rows.append((task, _named(grade), *(_pooled(audits, size) for size in sizes)))
    return ("task", "method", "the twin itself", *(f"all at size {size:g}" for size in sizes if size)), rows


def _main_grades(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Grades by all mismatches together, of the methods with the most policies."""
    grades = [grade for grade in found["grades"] if grade["mismatch"] == "joint"]
    most = max(grade["cells"] for grade in grades)
    return [grade for grade in grades if grade["cells"] == most]


def _pooled(audits: Sequence[Mapping[str, Any]], size: float) -> str:
    """Success of several audits with all mismatches at a size, 0: the twin itself."""
    successes = episodes = 0
    for audit in audits:
        curve = next(curve for curve in audit["curves"] if curve["mismatch"] == "joint")
        rate, n = (curve[f"{size:g}"], curve["n"]) if size else (audit["nominal"], audit["nominal_n"])
        successes, episodes = successes + round(rate * n), episodes + n
    return audited({"success": successes / episodes, "wilson95": wilson(successes, episodes)})


def single_table(path: Path) -> Table:
    """Success by mismatch: one row each, the worst at the largest size first; one column per method and size."""
    grades = [grade for grade in read_json(path)["grades"] if grade["mismatch"] != "joint"]
    methods = list(dict.fromkeys(_named(grade) for grade in grades))
    columns = [(method, i) for method in methods for i in range(len(grades[0]["sizes"]))]
    found = {(grade["mismatch"], _named(grade)): grade["sizes"] for grade in grades}
    titles = [f"{method}, {found[grades[0]['mismatch'], method][i]['size']:g}" for method, i in columns]
    names = dict.fromkeys(grade["mismatch"] for grade in grades)
    return ("mismatch, size", *titles), [
        (f"`{name}`", *(f"{100 * found[name, method][i]['success']:.0f}" for method, i in columns))
        for name in sorted(names, key=lambda name: sum(found[name, method][-1]["success"] for method in methods))
    ]


def mismatch_table(path: Path) -> Table:
    """What lies between twins and robots, in units of the panel: one row per mismatch, means over robots."""
    rows = read_json(path)["distances"]

    def mean(name: str, twin: str) -> str:
        return f"{np.mean([row[name] for row in rows if row['twin'] == twin]):.2f}"

    panel = mismatches(get_task("pinch_cube").parameters)
    units = {m.parameter: m.text(1.0).removeprefix("sd ").removeprefix("+").removeprefix("-") for m in panel}
    return ("mismatch", "size 1 is", "uncalibrated twin", "calibrated twin"), [
        (f"`{name}`", unit, mean(name, "uncalibrated"), mean(name, "calibrated")) for name, unit in units.items()
    ]


def _named(grade: Mapping[str, Any]) -> str:
    return policy_name(grade["policy"]) if grade["policy"] in REFERENCE_POLICIES else grade["label"]
