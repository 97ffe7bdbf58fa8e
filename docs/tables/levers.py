"""Tables of the levers: every change of the method beside the recipe, task by task. See `render.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from score_rl.core.records import read_json
from score_rl.core.statistics import wilson
from score_rl.evaluation.results import read_results
from score_rl.pipeline.experiment.definition import REFERENCES
from score_rl.pipeline.experiment.summary import mean_difference, pooled
from tables import FROM_CLOUDS, Table, mean_success

HEADER = ("task", "lever", "trainings", "control steps", "twin", "− SCORE", "proxy", "− SCORE", "steps", "stops")

CONTROLS = {"base_z0": ", z = 0", "base_tiled": ", one vector repeated", "most_supported_of_n": ", most typical of n"}
"""What the base policy's controls are called behind it."""

Records = Sequence[Mapping[str, Any]]


def levers_table(path: Path) -> Table:
    """One row per task, lever and budget, over robots and seeds: success in twin and proxy, paired differences.

    No difference where the references play another twin than SCORE.
    """
    return _by_task(read_results(path))


def means_table(path: Path) -> Table:
    """One row per lever: means over tasks and robots, with intervals that know both, and the least of them.

    Whole roll-outs fit into a budget, so that it differs a little between tasks; the largest is said.
    """
    return _means_of(read_results(path))


def rivals_table(path: Path) -> Table:
    """`levers_table` of methods, over the tasks and robots that all of them have."""
    return _of_methods(_by_task(_shared(read_results(path))))


def rival_means_table(path: Path) -> Table:
    """`means_table` of methods, over the tasks and robots that all of them have."""
    return _of_methods(_means_of(_shared(read_results(path))))


def cloud_means_table(path: Path) -> Table:
    """`means_table` of the recipe, its controls and free RL in calibrated twins, where policies see clouds."""
    return _of_variants(path, *FROM_CLOUDS, "score_long", "ticket_varied", "ticket_whole_varied", "unconstrained")


def hand_built_means_table(path: Path) -> Table:
    """`means_table` of the recipe and free RL in hand-built twins, where policies see clouds."""
    return _of_variants(path, "score_hand_built", "score_hand_built_long", "unconstrained_hand_built")


def further_table(path: Path) -> Table:
    """One row per record: single trainings that no experiment's file holds."""
    header = ("task", "lever", "control steps", "in", "success", "stops")
    rows = []
    for record in read_json(path)["records"]:
        trained = f"{budget / 1000:.0f} k" if (budget := record["control_steps_trained"]) else "–"
        where = (trained, record["world"], _success([record]), str(record["hand_faults"]))
        rows.append((f"`{record['task']}`", record["lever"], *where))
    return header, rows


def _of_variants(path: Path, *variants: str) -> Table:
    """`means_table` of these variants, rivals beside the one of role ours, which is beside none."""
    chosen = [record for record in read_results(path) if record["variant"] in variants]
    return _of_methods(_means_of([_alone(one) if one["role"] == "ours" else one for one in chosen]))


def _alone(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if not name.startswith("vs_ours")}


def _by_task(records: Records) -> Table:
    """See `levers_table`."""
    found = _grouped(records, lambda record: (record["task"], _label(record), record["control_steps_trained"]))
    return HEADER, [_row(task, label, some) for (task, label, _), some in found.items()]


def _means_of(records: Records) -> Table:
    """See `means_table`."""
    header = ("lever", "control steps", "cells", "twin", "− SCORE", "proxy", "− SCORE", "least in the proxy", "stops")
    found = _grouped(records, lambda record: (_label(record), record["variant"]))
    return header, [_mean_row(label, some) for (label, _), some in found.items()]


def _of_methods(table: Table) -> Table:
    header, rows = table
    return tuple("method" if name == "lever" else name for name in header), rows


def _grouped(
    records: Records, key: Callable[[Mapping[str, Any]], Any]
) -> dict[Any, dict[str, list[Mapping[str, Any]]]]:
    """Key -> world -> records of policies at their means, in their order."""
    groups: dict[Any, dict[str, list[Mapping[str, Any]]]] = {}
    worlds = {(r["task"], r["evaluation"]): r["world"] for r in records if r["role"] == "ours"}
    for record in records:
        if worlds.get((record["task"], record["evaluation"])) != record["world"]:
            record = _alone(record)
        if not record["policy"].endswith("_stoch"):
            groups.setdefault(key(record), {"twin": [], "proxy": []})[record["evaluation"]].append(record)
    return groups


def _shared(records: Records) -> Records:
    """Those of tasks and robots that every variant has, so that all rows are of the same cells.

    The references are left out where the base policy has a variant of its own, which plays the others' twin.
    """
    if any(record["variant"] != REFERENCES.name and record["policy"] == "base" for record in records):
        records = [record for record in records if record["variant"] != REFERENCES.name]
    cells: dict[str, set[tuple[str, int]]] = {}
    for record in records:
        cells.setdefault(record["variant"], set()).add((record["task"], record["robot_seed"]))
    common = set.intersection(*cells.values())
    return [record for record in records if (record["task"], record["robot_seed"]) in common]


def _mean_row(label: str, found: Mapping[str, Records]) -> tuple[str, ...]:
    """Cells of one lever over all tasks and robots."""
    some = [*found["twin"], *found["proxy"]]
    cells = {(record["task"], record["robot_seed"]) for record in some}
    budget = max(record["control_steps_trained"] for record in some)
    least = min((record["success_rate"] for record in found["proxy"]), default=None)
    return (
        label,
        f"{budget / 1000:.0f} k" if budget else "–",
        str(len(cells)),
        *(text for world in ("twin", "proxy") for text in _means(found[world])),
        "–" if least is None else f"{100 * least:.1f} %",
        str(sum(record["hand_faults"] for record in found["proxy"])) if found["proxy"] else "–",
    )


def _means(records: Records) -> tuple[str, str]:
    """Mean success, and mean paired difference to SCORE in points."""
    if not records:
        return "–", "–"
    success, paired = mean_success(records), mean_difference(records, "ours")
    if paired is None:
        return success, "–"
    return success, f"{100 * paired.value:+.1f} [{100 * paired.low:+.0f}, {100 * paired.high:+.0f}]".replace("-", "−")


def _label(record: Mapping[str, Any]) -> str:
    """What a row is called; the references are those of the calibrated twin."""
    label = record["label"] + CONTROLS.get(record["policy"], "")
    return f"{label}, calibrated twin" if record["variant"] == REFERENCES.name else label


def _row(task: str, label: str, found: Mapping[str, Records]) -> tuple[str, ...]:
    """Cells of one lever on one task."""
    twin, proxy = found["twin"], found["proxy"]
    some = twin or proxy
    budget = max(record["control_steps_trained"] for record in some)
    steps = [r["steps_to_success_mean"] for r in proxy if r["steps_to_success_mean"] is not None]
    return (
        f"`{task}`",
        label,
        str(len(some)) if budget else "–",
        f"{budget / 1000:.0f} k" if budget else "–",
        _success(twin),
        _difference(twin),
        _success(proxy),
        _difference(proxy),
        f"{sum(steps) / len(steps):.0f}" if steps else "–",
        str(sum(record["hand_faults"] for record in proxy)) if proxy else "–",
    )


def _success(records: Records) -> str:
    """Pooled success with its 95 % interval."""
    if not records:
        return "–"
    won, n = pooled(records)
    low, high = wilson(won, n)
    return f"{100 * won / n:.1f} % [{100 * low:.0f}, {100 * high:.0f}] of {n}"


def _difference(records: Records) -> str:
    """Mean of the paired differences to SCORE in points, with the interval where it is one training's."""
    paired = [record for record in records if "vs_ours_difference" in record]
    if not paired:
        return "–"
    mean = 100 * sum(record["vs_ours_difference"] for record in paired) / len(paired)
    if len(paired) > 1:
        return f"{mean:+.1f}".replace("-", "−")
    low, high = paired[0]["vs_ours_95"]
    return f"{mean:+.1f} [{100 * low:+.0f}, {100 * high:+.0f}]".replace("-", "−")


def limit_table(path: Path) -> Table:
    """What constant latents and the steered policy reach in the same states of a twin, and how the latter failed."""
    found = read_json(path)
    low, high = found["any_latent_95"]
    failures = ", ".join(f"{number} x {how}" for how, number in found["failures"].items())
    shares = (found["share_of_latents_where_steered_won"], found["share_of_latents_where_steered_lost"])
    return ("in the same states of the twin", "", "of"), [
        ("the prior: one draw for the whole episode", _percent(found["prior"]), f"{found['latents']} latents"),
        ("z = 0", _percent(found["zero"]), f"{found['states']} states"),
        ("the best of the latents for all states", _percent(found["best_constant"]), f"{found['states']} states"),
        ("SCORE", _percent(found["steered"]), f"{found['states']} states"),
        ("any of the latents", f"{_percent(found['any_latent'])} [{100 * low:.0f}, {100 * high:.0f}]", "states"),
        (
            "lost by SCORE, won by some latent",
            str(found["steered_lost_any_latent"]),
            f"{found['steered_lost']} states",
        ),
        ("latents that win where SCORE wins, loses", ", ".join(map(_percent, shares)), "latents"),
        ("how SCORE failed", failures, "–"),
    ]


def lost_table(path: Path) -> Table:
    """Whether policies of different trainings lose the same episodes, and where these begin."""
    found = read_json(path)
    counts = ", ".join(str(count) for count in found["episodes_lost_by"])
    rows = [
        ("lost, by policy", ", ".join(map(_percent, found["lost"])), "–"),
        ("lost by both of two policies", _percent(found["lost_by_both_of_two"]), "–"),
        ("the same, if they lost by chance", _percent(found["lost_by_both_if_independent"]), "–"),
        (f"episodes of {found['episodes']} lost by 0, 1, ... {found['policies']} policies", counts, "–"),
    ]
    for place in (place for place in found["bins"] if place["episodes"]):
        where = f"lost where x of the object is {place['from_m']:.1f} to {place['to_m']:.1f} m"
        shares = (_percent(place["lost"]), _percent(place["lost_by_base"]))
        rows.append((f"{where} ({place['episodes']} episodes)", *shares))
    return ("the same episodes of the twin", "steered policies", "base policy"), rows


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
