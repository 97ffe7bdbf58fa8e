"""Tables of policies that see point clouds beside those that see poses, and of what the clouds cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from score_rl.core.records import read_json
from score_rl.evaluation.results import find_record, read_results
from tables import FROM_CLOUDS, Table, success, verdicts

PLACES = {"twin": "calibrated twin", "proxy": "proxy, seen by its depth camera"}
ELSEWHERE = {"twin": "calibrated twin", "proxy": "robot in PhysX"}
NAMES = {"base": "base", "base_z0": "z = 0", "base_ticket": "best latent", "score_det": "SCORE"}
POLICIES = ("base", "base_z0", "score_det")
CONTROLLED = ("base", "base_z0", "base_ticket", "score_det")
LONGER = {"score_long": "score", "score_hand_built_long": "score_hand_built"}
"""Variants with three times the budget -> the same with the recipe's."""
SEARCHES = {
    "ticket_hundredth": "4 k",
    "ticket_tenth": "40 k",
    "ticket_tenth_varied": "40 k, three",
    "ticket": "200 k",
    "ticket_varied": "200 k, three",
    "ticket_whole_varied": "400 k, three",
}
"""Searches for one constant latent -> their control steps, and whether in three generations."""


def clouds_table(path: Path) -> Table:
    """One row per task, robot and world: the policies that see clouds, and beside them SCORE that sees poses."""
    header = ("task, robot", "in", "n", "base", "z = 0", "best latent", "SCORE", "SCORE, from poses", "stops")
    rows = []
    for (task, robot, place), seen in _controlled(path).items():
        poses = verdicts(path.parent, task, robot, place)["score_det"]
        found = [success(record) for record in (*(seen.get(policy) for policy in CONTROLLED), poses)]
        stops = f"{seen['score_det']['hand_faults']}, {poses['hand_faults']}"
        rows.append((f"`{task}`, {robot}", PLACES[place], str(seen["score_det"]["n"]), *found, stops))
    return header, rows


def clouds_there_table(path: Path) -> Table:
    """One row per task, robot and world, of robots in PhysX: the policies that see clouds, and their stops."""
    header = ("task, robot", "in", "n", "base", "z = 0", "best latent", "SCORE", "stops")
    rows = []
    for (task, robot, place), seen in _controlled(path).items():
        found = [seen[policy] for policy in CONTROLLED]
        stops = ", ".join(str(record["hand_faults"]) for record in found)
        rows.append((f"`{task}`, {robot}", ELSEWHERE[place], str(found[0]["n"]), *map(success, found), stops))
    return header, rows


def hand_built_table(path: Path) -> Table:
    """One row per task and robot: SCORE of a hand-built twin, from clouds and from poses, in the proxy."""
    poses = read_results(path.parent / "rivals.json")
    rows = []
    for record in read_results(path):
        if record["variant"] == "score_hand_built" and record["evaluation"] == "proxy":
            cell = {key: record[key] for key in ("task", "robot_seed", "evaluation", "policy")}
            pair = record, find_record(poses, **cell, variant="score")
            stops = ", ".join(str(one["hand_faults"]) for one in pair)
            rows.append((f"`{record['task']}`, {record['robot_seed']}", str(record["n"]), *map(success, pair), stops))
    return ("task, robot", "n", "SCORE", "SCORE, from poses", "stops"), rows


def free_table(path: Path) -> Table:
    """One row per task, robot and twin: SCORE and free RL that learned in it, in the proxy."""
    records = [record for record in read_results(path) if record["evaluation"] == "proxy"]
    rows = []
    for free in records:
        if free["method"] == "unconstrained":
            variant = free["variant"].replace("unconstrained", "score")
            cell = {key: free[key] for key in ("task", "robot_seed")}
            pair = find_record(records, **cell, variant=variant, policy="score_det"), free
            twin = "calibrated" if variant == "score" else "hand-built"
            steps = ", ".join(f"{one['steps_to_success_mean']:.0f}" for one in pair)
            forces = ", ".join(f"{one['peak_force_p95_n']:.0f}" for one in pair)
            stops = ", ".join(str(one["hand_faults"]) for one in pair)
            where = (f"`{free['task']}`, {free['robot_seed']}", twin, str(free["n"]))
            rows.append((*where, *map(success, pair), steps, forces, stops))
    header = ("task, robot", "twin", "n", "SCORE", "unconstrained", "steps", "force p95 (N)", "stops")
    return header, sorted(rows, key=lambda row: row[1])


def longer_table(path: Path) -> Table:
    """One row per task, robot and twin: SCORE with the recipe's budget and with three times as many control steps."""
    records = read_results(path)
    rows = []
    for longer in (one for one in records if one["variant"] in LONGER and one["evaluation"] == "proxy"):
        cell = {key: longer[key] for key in ("task", "robot_seed", "policy")}
        variants, shown = (LONGER[longer["variant"]], longer["variant"]), []
        for place in ("twin", "proxy"):
            pair = [find_record(records, **cell, variant=variant, evaluation=place) for variant in variants]
            shown += map(success, pair)
        steps = ", ".join(f"{one['steps_to_success_mean']:.0f}" for one in pair)
        stops = ", ".join(str(one["hand_faults"]) for one in pair)
        twin = "calibrated" if longer["variant"] == "score_long" else "hand-built"
        rows.append((f"`{longer['task']}`, {longer['robot_seed']}", twin, str(longer["n"]), *shown, steps, stops))
    asked = ("twin, 400 k", "twin, 1.2 M", "proxy, 400 k", "proxy, 1.2 M")
    return ("task, robot", "twin", "n", *asked, "steps", "stops"), sorted(rows, key=lambda row: row[1])


def searches_table(path: Path) -> Table:
    """One row per task, robot and world: the best constant latent of every budget, and of three generations."""
    latents = [record for record in read_results(path) if record["policy"] == "base_ticket"]
    rows = [
        (f"`{task}`, {robot}", PLACES[place], *(success(found.get(variant)) for variant in SEARCHES))
        for (task, robot, place), found in _by_cell(latents, "variant").items()
    ]
    return ("task, robot", "in", *SEARCHES.values()), rows


def augmented_table(path: Path) -> Table:
    """One row per policy and world: whose base policy saw clouds as they are, and whose saw them moved."""
    plain = read_results(path.parent / "clouds.json")
    rows = []
    for record in read_results(path):
        cell = {key: record[key] for key in ("task", "robot_seed", "evaluation", "variant", "policy")}
        pair = find_record(plain, **cell), record
        stops = ", ".join(str(one["hand_faults"]) for one in pair)
        name, place = NAMES[record["policy"]], PLACES[record["evaluation"]]
        if record["variant"] == "score_hand_built":
            name, place = f"{name} of a hand-built twin", place.replace("calibrated", "hand-built")
        rows.append((name, place, str(record["n"]), *map(success, pair), stops))
    return ("policy", "in", "n", "as they are", "moved", "stops"), rows


def _controlled(path: Path) -> dict[tuple[str, int, str], dict[str, Mapping[str, Any]]]:
    """(task, robot, world) -> policy -> record, of the recipe and what it is controlled by."""
    return _by_cell([one for one in read_results(path) if one["variant"] in FROM_CLOUDS], "policy")


def _by_cell(
    records: Sequence[Mapping[str, Any]], name: str
) -> dict[tuple[str, int, str], dict[str, Mapping[str, Any]]]:
    """(task, robot, world) -> what a record has by that name -> the record."""
    cells: dict[tuple[str, int, str], dict[str, Mapping[str, Any]]] = {}
    for record in records:
        key = (record["task"], record["robot_seed"], record["evaluation"])
        cells.setdefault(key, {})[record[name]] = record
    return cells


def sights_table(path: Path) -> Table:
    """One row per task, robot, world and sight: base policy, z = 0 and SCORE."""
    rows: dict[tuple[str, int, str, bool], dict[str, Mapping[str, Any]]] = {}
    for record in read_results(path):
        seen = record["variant"].startswith("cloud")
        key = (record["task"], record["robot_seed"], record["evaluation"], seen)
        rows.setdefault(key, {})[record["policy"]] = record
    order = sorted(rows, key=lambda key: (*key[:2], list(PLACES).index(key[2]), key[3]))
    header = ("task, robot", "in", "sees", "n", "base", "z = 0", "SCORE", "stops of SCORE")
    return header, [
        (f"`{task}`, {robot}", PLACES[place], "clouds" if seen else "poses", *_cells(rows[task, robot, place, seen]))
        for task, robot, place, seen in order
    ]


def cost_table(path: Path) -> Table:
    """One row per measurement: microseconds of one core."""
    return ("", "points", "core-µs"), [
        (record["what"], str(record["points"] or "–"), f"{record['core_us']:.0f}") for record in read_json(path)
    ]


def recipes_table(path: Path) -> Table:
    """One row per recipe: how it was trained, how well it fits held-out demonstrations, and what its policy does."""
    mrad = ("held out, sampled", "held out, z = 0", "spread")
    acting = ("n", "base", "z = 0", "stops", "SCORE")
    header = ("recipe", "steps", "trained in", *(f"{name} (mrad)" for name in mrad), *acting)
    rows = []
    for record in read_json(path):
        acts = {one["policy"]: one for one in record["evaluations"]}
        base = acts.get("base")
        fits = [f"{1000 * record[key]:.1f}" for key in ("action_error", "action_error_z0")]
        fits.append(f"{1000 * base['spread_action']:.1f}" if base else "–")
        n, stops = (str(base["n"]), str(base["hand_faults"])) if base else ("–", "–")
        does = (n, success(base), success(acts.get("base_z0")), stops, success(acts.get("score_det")))
        rows.append((record["label"], f"{record['steps']:,}", f"{record['wall_s']:.0f} s", *fits, *does))
    return header, rows


def _cells(found: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    steered = found.get("score_det")
    stops = "–" if steered is None else str(steered["hand_faults"])
    n = str(next(iter(found.values()))["n"])
    return (n, *(success(found.get(policy)) for policy in POLICIES), stops)
