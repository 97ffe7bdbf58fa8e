"""Audits of an experiment's policies, taken together: how each method bears a worse twin, and how well the audits
foretell success in the proxy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from score_rl.core.statistics import wilson
from score_rl.evaluation.audit.panel import JOINT
from score_rl.evaluation.audit.prediction import rank_correlation
from score_rl.evaluation.audit.run import AuditConfig

OUTCOMES = {"proxy": "success under the protective stop", "proxy_raw": "success without it"}
Row = Mapping[str, Any]
"""One policy: labels, `nominal` success, `curves`, and success in every evaluation by its name."""


def audit_results(
    audits: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]],
    records: Sequence[Mapping[str, Any]],
    panel: AuditConfig,
) -> dict[str, Any]:
    """{panel, correlations, grades, policies} of audits of the same panel.

    audits: of every policy its audit's record and the labels of its job; records: those of the evaluations.
    """
    rows = [audited(found, labels, records) for found, labels in audits]
    sizes = panel.sizes
    return {
        "panel": panel, "correlations": correlations(rows, sizes), "grades": grades(rows, sizes), "policies": rows
    }  # fmt: skip


def audited(found: Mapping[str, Any], labels: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> Row:
    """A policy's success in the twin itself, by mismatch and size, and in the evaluations."""
    curves = [
        {
            "mismatch": f"{curve['mismatch']} {curve['direction']}".strip(),
            **{f"{cell['size']:g}": round(cell["success"], 4) for cell in curve["cells"]},
            "n": curve["cells"][0]["n"],
            "stops": [cell["faults"] for cell in curve["cells"]],
            "force_p95_n": [cell["peak_force_p95_n"] for cell in curve["cells"]],
        }
        for curve in found["curves"]
    ]
    place = {key: labels.get(key) for key in ("recipe", "robot_seed", "training_seed", "variant")}
    place["policy"] = found["policy"]
    same = [record for record in records if all(record[key] == value for key, value in place.items())]
    return {
        "task": found["task"],
        **{key: value for key, value in place.items() if key != "recipe"},
        "label": labels["label"],
        "nominal": found["nominal"]["success"],
        "nominal_n": found["nominal"]["n"],
        "curves": curves,
        **{record["evaluation"]: record["success_rate"] for record in same},
    }


def predictions(row: Row, sizes: Sequence[float]) -> dict[str, float]:
    """What an audit foretells: success in the twin itself, and with all mismatches together, by size."""
    joint = next((curve for curve in row["curves"] if curve["mismatch"] == JOINT), None)
    graded = {f"joint_{size:g}": joint[f"{size:g}"] for size in sizes} if joint else {}
    return {"nominal": row["nominal"], **graded}


def correlations(rows: Sequence[Row], sizes: Sequence[float]) -> list[dict[str, Any]]:
    """Every prediction against every outcome, over all policies and over those of each task."""
    found = []
    for task in ("all", *dict.fromkeys(row["task"] for row in rows)):
        chosen = [row for row in rows if task in ("all", row["task"])]
        for prediction in predictions(rows[0], sizes):
            for outcome in OUTCOMES:
                known = [row for row in chosen if row.get(outcome) is not None]
                foretold = [predictions(row, sizes)[prediction] for row in known]
                clusters = [(row["task"], row["robot_seed"]) for row in known]
                if len(known) > 2 and (r := rank_correlation(foretold, [row[outcome] for row in known], clusters)):
                    found.append({"task": task, "prediction": prediction, "outcome": outcome, **vars(r)})
    return found


def grades(rows: Sequence[Row], sizes: Sequence[float]) -> list[dict[str, Any]]:
    """Success of every method by mismatch and size, episodes of all its tasks and robots together."""
    found = []
    names = list(dict.fromkeys(curve["mismatch"] for row in rows for curve in row["curves"]))
    for variant, policy in dict.fromkeys((row["variant"], row["policy"]) for row in rows):
        mine = [row for row in rows if (row["variant"], row["policy"]) == (variant, policy)]
        nominal = [round(row["nominal"] * row["nominal_n"]) for row in mine]
        labels = {"variant": variant, "policy": policy, "label": mine[0]["label"], "cells": len(mine)}
        for name in names:
            curves = [curve for row in mine for curve in row["curves"] if curve["mismatch"] == name]
            n = sum(curve["n"] for curve in curves)
            by_size = [_grade(0.0, sum(nominal), sum(row["nominal_n"] for row in mine))]
            for size in sizes:
                by_size.append(_grade(size, sum(round(c[f"{size:g}"] * c["n"]) for c in curves), n))
            found.append({**labels, "mismatch": name, "sizes": by_size})
    return found


def _grade(size: float, successes: int, n: int) -> dict[str, Any]:
    return {"size": size, "n": n, "success": round(successes / n, 4), "wilson95": wilson(successes, n)}
