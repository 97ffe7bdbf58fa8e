"""Tables of the hardware that shares nothing with the twin: what policies score, what calibration finds, the stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from score_rl.core.records import read_json
from score_rl.evaluation.results import read_results
from tables import Table, success

PLACES = {"twin": "calibrated twin", "proxy": "robot", "proxy_raw": "robot, no stop"}
POLICIES = {"base": "base", "base_z0": "z = 0", "score_det": "SCORE", "unconstrained_det": "unconstrained"}
AS_CLAIMED = ("references", "score", "unconstrained")
"""Variants with the settings of the claim; others are told in `twins_table`."""
READINGS = {
    "raw": "as it is",
    "filter": "10 ms filter",
    "pad_filter": "pad, 10 ms filter",
    "impulse_50ms": "mean of 50 ms",
}
Record = Mapping[str, Any]


def hardware_table(path: Path) -> Table:
    """One row per task, robot and world: success of every policy, and what stopped it."""
    rows: dict[tuple[str, int, str], dict[str, Record]] = {}
    for record in read_results(path):
        if record["variant"] in AS_CLAIMED:
            place = record["task"], record["robot_seed"], record["evaluation"]
            rows.setdefault(place, {})[record["policy"]] = record
    found = sorted(rows.items(), key=lambda row: (*row[0][:2], list(PLACES).index(row[0][2])))
    header = ("task, robot", "in", "n", *POLICIES.values(), "stops", "force p95 [N]")
    return header, [
        (f"{task}, {robot}", PLACES[place], *_cells(policies)) for (task, robot, place), policies in found
    ]


def twins_table(path: Path) -> Table:
    """One row per task, robot and training of a task that was also trained in another twin or in another way."""
    rows: dict[tuple[str, int, str], dict[str, Record]] = {}
    for record in read_results(path):
        if record["variant"] != "references":
            training = record["task"], record["robot_seed"], record["variant"]
            rows.setdefault(training, {})[record["evaluation"]] = record
    told = {(task, robot) for task, robot, variant in rows if variant not in AS_CLAIMED}
    found = sorted((cell, worlds) for cell, worlds in rows.items() if cell[:2] in told)
    header = ("task, robot", "trained", "control steps", *PLACES.values(), "stops")
    table = []
    for (task, robot, _), worlds in found:
        one = next(iter(worlds.values()))
        stops = ", ".join(str(worlds[place]["hand_faults"]) if place in worlds else "–" for place in PLACES)
        shares = (success(worlds.get(place)) for place in PLACES)
        trained = f"{one['control_steps_trained'] / 1000:.0f} k"
        table.append((f"{task}, {robot}", one["label"], trained, *shares, stops))
    return header, table


def effects_table(path: Path) -> Table:
    """One row per robot that is like the rough one but for an effect."""
    found = read_json(path)
    header = (f"{found['task']}, robot {found['robot_seed']}", "n", "SCORE", "stops")
    return header, [(row["robot"], str(row["n"]), success(row), str(row["stops"])) for row in found["rows"]]


def rough_table(path: Path) -> Table:
    """One row per figure, one column per task and robot: uncalibrated -> calibrated."""
    records = read_json(path)
    header = ("", *(f"{record['task']}, {record['robot_seed']}" for record in records))
    replay = [
        (
            f"replay of held-out motion, {part} [mrad]",
            *(_arrow(1e3 * r["replay"][f"{part}_before_rms_rad"], 1e3 * r["replay"][f"{part}_after_rms_rad"])
              for r in records),
        )
        for part in ("arm", "hand")
    ]  # fmt: skip
    place = [_arrow(*(r["camera_place_error_mm"][when] for when in ("before", "after"))) for r in records]
    rows = [
        (f"`{name}`", *(_arrow(r["parameters"][name]["rms_before"], r["parameters"][name]["rms_after"], 4)
                        for r in records))
        for name in records[0]["parameters"]
    ]  # fmt: skip
    return header, [*replay, ("place of the camera [mm]", *place), *rows]


def stop_table(path: Path) -> Table:
    """One row per engine and case: success without a stop, and how many episodes go beyond it by every reading."""
    found = read_json(path)["engines"]
    header = ("engine", "n", "success without stop", *(f"stops: {reading}" for reading in READINGS.values()))
    return header, [
        (
            f"{row['title']}, {1000 * row['timestep_s']:g} ms",
            str(row["n"]),
            "–" if row["successes"] is None else f"{100 * row['successes'] / row['n']:g} %",
            *(f"{row['readings'][name]['stops']} (p95 {row['readings'][name]['p95_n']:.0f} N)" for name in READINGS),
        )
        for row in found
    ]


def _cells(found: Mapping[str, Record]) -> tuple[str, ...]:
    known = [found.get(policy) for policy in POLICIES]
    n = str(next(iter(found.values()))["n"])
    stops, forces = (_listed(known, key) for key in ("hand_faults", "peak_force_p95_n"))
    return (n, *map(success, known), stops, forces)


def _listed(records: Sequence[Record | None], key: str) -> str:
    return ", ".join("–" if record is None else f"{record[key]:.0f}" for record in records)


def _arrow(before: float, after: float, digits: int = 1) -> str:
    return f"{before:.{digits}f} → {after:.{digits}f}"
