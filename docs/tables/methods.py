"""Tables of the methods' pages: one method of a comparison, and what its tuning took. See `render.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from score_rl.core.statistics import wilson
from score_rl.evaluation.results import find_record, read_results
from score_rl.pipeline.experiment.summary import pooled
from tables import Table, success

METHOD_HEADER = ("task", "world", "robots", "episodes", "policy", "success", "steps", "stops", "peak force, 95 %")
TUNING_HEADER = ("method", "settings, where not the default", "control steps", "success in the twin", "stops")


def method_table(path: Path, method: str) -> Table:
    """One row per task, world and policy of a method, over all its robots and training seeds.

    A variant of the method (other settings, another twin) is a row of its own, under the name that it has there.
    Points of a sweep and the robots without their stop are left out: `claim.py` has tables of both.
    """
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for record in read_results(path):
        left_out = record.get("sweep") is not None or record.get("evaluation") == "proxy_raw"
        if record["method"] == method and not left_out:
            variant = record.get("variant", method)
            shown = f"`{record['policy']}`" + (f", {record['label']}" if variant != method else "")
            groups.setdefault((record["task"], record.get("evaluation", record["world"]), shown), []).append(record)
    rows = []
    for (task, world, policy), records in groups.items():
        robots = {record["robot_seed"] for record in records} - {None}
        episodes = sum(record["n"] for record in records)
        steps = _mean([r["steps_to_success_mean"] for r in records if r["steps_to_success_mean"] is not None])
        force = _mean([r["peak_force_p95_n"] for r in records if r["peak_force_p95_n"] is not None])
        shown = (str(len(robots) or len(records)), str(episodes), policy, _success(records), steps)
        rows.append((task, world, *shown, str(sum(record["hand_faults"] for record in records)), f"{force} N"))
    return METHOD_HEADER, rows


def tuning_table(path: Path) -> Table:
    """One row per method and setting: what the policy at its mean (or the search) reached in the twin."""
    rows = []
    for record in read_results(path):
        if not record["policy"].endswith("_stoch"):
            budget, settings = f"{record['control_steps_trained']:,}", record["settings"] or "–"
            rows.append((f"`{record['method']}`", settings, budget, _success([record]), str(record["hand_faults"])))
    return TUNING_HEADER, rows


def ranked_table(directory: Path) -> Table:
    """One row per world and file `TASK_ROBOT.json` of the folder: SCORE, sampled, and the best of its draws."""
    policies = ("base", "score_det", "score_stoch", "score_best_of_n")
    rows = []
    for path in sorted(directory.glob("*.json")):
        records = read_results(path)
        for world in dict.fromkeys(record["world"] for record in records):
            found = [find_record(records, world=world, policy=policy) for policy in policies]
            about = (f"`{found[0]['task']}`", str(found[0]["robot_seed"]), world, str(found[0]["n"]))
            rows.append((*about, *map(success, found)))
    return ("task", "robot", "world", "n", "base", "SCORE", "SCORE, sampled", "best of n of SCORE's draws"), rows


def _success(records: Sequence[Mapping[str, Any]]) -> str:
    """Pooled success with its 95 % interval."""
    won, n = pooled(records)
    low, high = wilson(won, n)
    return f"{100 * won / n:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.0f}" if values else "–"
