"""Tables of the tasks, a row each: base policies beside the paper's, steering, deployment, speed. See `render.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from score_rl.core.records import read_json
from score_rl.evaluation.results import find_record, read_results
from score_rl.report.page import percent
from tables import PAPER, ROBOTS, Table, success, verdicts

ELSEWHERE = ("pinch_cube",)
"""Tasks whose result file of that name is older than this table, and told elsewhere."""
WHEN = ("uncalibrated", "earlier rule", "present rule")
REFERENCES = ("base", "base_z0", "base_ticket")
STEERED = ("task", "robot", "n", "control steps", "base", "z = 0", "best latent", "SCORE", "SCORE − z = 0", "stops")
BASES = ("task", "robot", "n", "base, paper", "base", "z = 0", "stops of base")


def bases_table(directory: Path) -> Table:
    """One row per task that has a result file of its name in the folder: base policy and z = 0 on one robot."""
    rows = []
    for task in PAPER:
        path = directory / f"{task}.json"
        if path.exists():
            records = read_results(path)
            rows.append(_base_row(task, *(find_record(records, policy=policy) for policy in ("base", "base_z0"))))
    return BASES, rows


def _base_row(task: str, base: Mapping[str, Any], zero: Mapping[str, Any]) -> tuple[str, ...]:
    """A task's base policy beside the paper's, and at z = 0."""
    shares = (f"{PAPER[task]} %", success(base), success(zero))
    return (f"`{task}`", str(base["robot_seed"]), str(base["n"]), *shares, str(base["hand_faults"]))


def bases_there_table(directory: Path) -> Table:
    """One row per task that has a result file of its name in the folder: base policy, z = 0 and the best constant
    latent on hardware, with the protective stop and without it."""
    rows = []
    for task, records in _results(directory):
        stopped, raw = ([r for r in records if r["evaluation"] == where] for where in ("proxy", "proxy_raw"))
        found = [find_record(stopped, policy=policy) for policy in REFERENCES]
        without = ", ".join(map(percent, raw)) or "–"
        stops = ", ".join(str(record["hand_faults"]) for record in found)
        base = found[0]
        cells = (f"{PAPER[task]} %", *map(success, found), stops, without)
        rows.append((f"`{task}`", str(base["robot_seed"]), str(base["n"]), *cells))
    header = ("task", "robot", "n", "base, paper", "base", "z = 0", "best latent", "stops", "without the stop")
    return header, rows


def steered_table(directory: Path) -> Table:
    """One row per robot in a result file of a task's name beside the folder: what steering gained there."""
    tasks = (task for task in PAPER if task not in ELSEWHERE)
    return STEERED, _steered_rows({task: directory.parent / f"{task}.json" for task in tasks})


def steered_there_table(directory: Path) -> Table:
    """The same of result files in the folder."""
    return STEERED, _steered_rows({task: directory / f"{task}.json" for task in PAPER})


def _steered_rows(paths: Mapping[str, Path]) -> list[tuple[str, ...]]:
    """Rows of the tasks' files, those that there are; a dash where no constant latent was searched."""
    rows = []
    for task, path in paths.items():
        records = read_results(path) if path.exists() else []
        for robot in sorted({record["robot_seed"] for record in records}):
            rows.append((f"`{task}`", *_steered({r["policy"]: r for r in records if r["robot_seed"] == robot})))
    return rows


def _steered(found: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Cells of one robot, from its records by policy."""
    base, steered = found["base"], found["score_det"]
    shares = (success(found[name]) if name in found else "–" for name in (*REFERENCES, "score_det"))
    low, high = (100 * bound for bound in steered["vs_base_z0_95"])
    gained = f"{100 * steered['vs_base_z0_difference']:+.1f} [{low:+.0f}, {high:+.0f}]".replace("-", "−")
    trained = f"{steered['control_steps_trained'] / 1000:.0f} k"
    stops = f"{base['hand_faults']} → {steered['hand_faults']}"
    return str(base["robot_seed"]), str(base["n"]), trained, *shares, gained, stops


def spread_table(directory: Path) -> Table:
    """One row per task and robot: how different the chunks are that a base policy draws in one state, beside what
    steering gained over it and over the best constant latent."""
    header = ("task", "robot", "spread, mrad", "spread, normalised", "base", "SCORE − base", "SCORE − best latent")
    rows = []
    for task in PAPER:
        for robot in ROBOTS:
            found = verdicts(directory.parent, task, robot)
            base, steered = found["base"], found["score_det"]
            spread = (f"{1000 * base['spread_action']:.0f}", f"{base['spread_normalized']:.2f}")
            gains = (steered["success_rate"] - found[name]["success_rate"] for name in ("base", "base_ticket"))
            cells = (percent(base), *(f"{100 * gain:+.1f}".replace("-", "−") for gain in gains))
            rows.append((f"`{task}`", str(robot), *spread, *cells))
    return header, rows


def rehearsals_table(directory: Path) -> Table:
    """One row per task that has a result file in the folder: deployed over the wire against in-process."""
    header = ("task", "robot", "n", "in-process", "deployed", "same commands", "missed deadlines", "command p50, p99")
    rows = []
    for task, found in _results(directory):
        n, steps = found["n"], found["control_steps"]
        rows.append(
            (
                f"`{task}`",
                str(found["robot_seed"]),
                str(n),
                f"{found['in_process_successes']} of {n}",
                f"{found['deployed_successes']} of {n}",
                f"{found['identical_episodes']} of {n}",
                f"{found['missed_deadlines']} of {steps} steps",
                f"{found['latency_p50_ms']:.1f}, {found['latency_p99_ms']:.1f} ms",
            )
        )
    return header, rows


def throughput_table(directory: Path) -> Table:
    """One row per task that has a result file in the folder: control steps a second of steering and of its parts."""
    header = ("task", "bare physics", "world", "rollout", "with the update", "rollout / bare physics", "load average")
    rows = []
    for task, found in _results(directory):
        parts = ("raw", "world", "rollout", "iteration")
        rates = (f"{found[f'{part}_steps_per_second']:,.0f}" for part in parts)
        rows.append((f"`{task}`", *rates, f"{found['rollout_ratio']:.2f}", f"{found['load_average']:.1f}"))
    return header, rows


def stages_table(path: Path) -> Table:
    """One row per task: wall clock of its stages, beside the load that the machine had."""
    found = read_json(path)
    stages = list(dict.fromkeys(_stage(record) for record in found["records"]))
    parts = len({record["stage"] for record in found["records"]})
    header = ("task", *stages, "sum", "load average")
    rows = []
    for task in dict.fromkeys(record["task"] for record in found["records"]):
        mine = [record for record in found["records"] if record["task"] == task]
        wall_s = {stage: sum(r["wall_s"] for r in mine if _stage(r) == stage) for stage in map(_stage, mine)}
        cells = (f"{wall_s[stage]:.0f} s" if stage in wall_s else "–" for stage in stages)
        whole = f"{sum(wall_s.values()) / 60:.1f} min" if len(mine) == parts else "–"
        low, high = mine[0]["load_average"]
        rows.append((f"`{task}`", *cells, whole, f"{low:g} to {high:g}"))
    return header, rows


def failures_table(directory: Path) -> Table:
    """One row per result file in the folder: what became of the episodes that SCORE lost."""
    rows = []
    for task in PAPER:
        for path in sorted(directory.glob(f"{task}_*.json")):
            found = read_json(path)
            told = ", ".join(f"{count} {what}" for what, count in _merged(found["failures"]).items())
            rows.append((f"`{task}`", str(found["robot_seed"]), f"{found['lost']} of {found['n']}", told))
    return ("task", "robot", "lost", "how"), rows


def _merged(failures: Mapping[str, int]) -> Mapping[str, int]:
    """Failures, the most frequent first, "what, of which" as "what (of which)"."""
    return {what.replace(", ", " (", 1) + (")" if ", " in what else ""): n for what, n in failures.items()}


def _stage(record: Mapping[str, Any]) -> str:
    """Column of a record: `score demo` evaluates more than once."""
    return "evaluations" if record["stage"].startswith("evaluation/") else record["stage"]


def people_table(path: Path) -> Table:
    """One row per task: how often careful people succeed, and how far things move that nobody touches."""
    records = read_json(path)["records"]
    found = {(record["task"], _world(record)): record for record in records}
    worlds = list(dict.fromkeys(world for _, world in found))
    header = ("task", *(f"careful, {world}" for world in worlds), *(f"moves in 10 s, {world}" for world in worlds))
    rows = []
    for task in dict.fromkeys(record["task"] for record in records):
        mine = [found.get((task, world)) for world in worlds]
        succeed = ["–" if r is None else f"{r['successes']} of {r['n']}" for r in mine]
        moves = ["–" if r is None else f"{1000 * r['moved_m']:.2f} mm" for r in mine]
        rows.append((f"`{task}`", *succeed, *moves))
    return header, rows


def _world(record: Mapping[str, Any]) -> str:
    """A world, and whose physics it has where they are not its own."""
    world, physics = record["world"], record.get("physics", record["world"])
    return world if physics == world else f"{world}, physics of {physics}"


def camera_of_tasks_table(directory: Path) -> Table:
    """One row per task and robot: errors of the camera's place and yaw, by the present and by an earlier rule."""
    place, yaw = "camera.position_bias_m", "camera.yaw_bias_rad"
    header = ("task", "robot", *(f"{what}, {when}" for what in ("place [mm]", "yaw [mrad]") for when in WHEN))
    rows = []
    for task, found in _results(directory):
        earlier = directory.parent / "history" / f"calibration_{task}.json"
        before = read_json(earlier) if earlier.exists() else []
        for robot in dict.fromkeys(record["robot_seed"] for record in found):
            cells = []
            for parameter in (place, yaw):
                (new,) = (r for r in found if (r["robot_seed"], r["parameter"]) == (robot, parameter))
                old = [r for r in before if (r["robot_seed"], r["parameter"]) == (robot, parameter)]
                errors = [new["rms_error_before"], *(r["rms_error_after"] for r in old), new["rms_error_after"]]
                told = [f"{1000 * error:.1f}" for error in errors]
                cells += told if old else [told[0], "–", told[1]]
            rows.append((f"`{task}`", str(robot), *cells))
    return header, rows


def _results(directory: Path) -> list[tuple[str, Any]]:
    """(task, what its file holds) of those tasks that have a file, in the table's order."""
    paths = {task: directory / f"{task}.json" for task in PAPER}
    return [(task, read_json(path)) for task, path in paths.items() if path.exists()]
