"""Tables of policies that are compared, robot by robot or variant by variant, and of calibration and support."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from score_rl.core.records import read_json
from score_rl.evaluation.results import read_results
from tables import Table, success

SUCCESS = ("base", "z = 0", "SCORE, sampled", "SCORE", "SCORE − base", "SCORE − (z = 0)")
VARIANT_HEADER = ("variant", "n", "base", "z = 0", "action error, sampled", "at z = 0")
HEADER = ("world", "robot", "seed", "n", *SUCCESS, "fewer steps", "stops")


def success_table(path: Path) -> Table:
    """One row per world, robot and training seed."""
    return HEADER, [_row(*key, policies) for key, policies in grouped(read_results(path)).items()]


def variant_table(path: Path) -> Table:
    """One row per variant of the base policy: success, and the held-out action error in mrad."""
    records = read_results(path)
    by_variant: dict[str, dict[str, Mapping[str, Any]]] = {}
    for record in records:
        by_variant.setdefault(record.get("label", record["variant"]), {})[record["policy"]] = record
    return VARIANT_HEADER, [
        (
            name,
            str(policies["base"]["n"]),
            success(policies["base"]),
            success(policies["base_z0"]),
            f"{1000 * policies['base']['action_error']:.0f} mrad",
            f"{1000 * policies['base']['action_error_z0']:.0f} mrad",
        )
        for name, policies in by_variant.items()
    ]


def calibration_table(path: Path) -> Table:
    """One row per parameter: root mean square error before -> after calibration, robot by robot."""
    records = read_json(path)
    robots = list(dict.fromkeys(record["robot_seed"] for record in records))
    cells: dict[str, list[str]] = {}
    for record in records:
        before, after = (_small(record[key]) for key in ("rms_error_before", "rms_error_after"))
        cells.setdefault(record["parameter"], []).append(f"{before} → {after}")
    header = ("root mean square error", *(f"robot {robot}" for robot in robots))
    return header, [(f"`{name}`", *values) for name, values in cells.items()]


def camera_table(path: Path) -> Table:
    """One row per figure: where camera and table are taken to be, robot by robot."""
    records = read_json(path)
    rows = [
        (f"camera, {label} [mm]", *(f"{record['place_error_mm'][way]:.2f}" for record in records))
        for label, way in (
            ("uncalibrated", "uncalibrated"),
            ("from poses", "poses"),
            ("from clouds", "clouds"),
            ("from clouds, joints as measured", "clouds_raw_joints"),
            ("from clouds in which nothing flies", "clouds_nothing_flies"),
        )
    ]
    rows += [
        (
            f"table, {label} [mm]",
            *(f"{record['table_error_mm'][way]:+.2f} ± {record['table_sd_mm'][way]:.2f}" for record in records),
        )
        for label, way in (("prior", "uncalibrated"), ("from poses", "poses"), ("from clouds", "clouds"))
    ]
    return ("error of", *(f"robot {record['robot_seed']}" for record in records)), rows


def support_table(path: Path) -> Table:
    """One row per policy and planted violation: what each test of support finds."""
    columns = {
        "off": "violation_rate",
        "AUC": "auc",
        "typicality": "typicality",
        "steered off": "steered_violation_rate",
        "actions off": "step_violation_rate",
        "latents off": "latent_violation_rate",
        "latent AUC": "latent_auc",
        "come back": "latent_converged",
    }

    def cell(record: Mapping[str, Any], field: str) -> str:
        value = record.get(f"support_{field}")
        plain = field.endswith(("auc", "typicality"))
        return "–" if value is None else f"{value:.2f}" if plain else f"{100 * value:.1f} %"

    return ("policy", "planted", "n", *columns), [
        (record["policy"], record["planted"], str(record["support_n"]), *(cell(record, f) for f in columns.values()))
        for record in read_json(path)
    ]


def _small(value: float) -> str:
    return f"{value:.4f}" if value < 0.1 else f"{value:.3f}"


def grouped(records: Sequence[Mapping[str, Any]]) -> dict[tuple[Any, Any, Any], dict[str, Mapping[str, Any]]]:
    """(world, robot seed, training seed) -> policy -> record; an untrained policy belongs to all training seeds."""
    seeds: dict[tuple[Any, Any], list[Any]] = {}
    for record in records:
        known = seeds.setdefault((record["world"], record["robot_seed"]), [])
        if record["training_seed"] is not None and record["training_seed"] not in known:
            known.append(record["training_seed"])
    groups: dict[tuple[Any, Any, Any], dict[str, Mapping[str, Any]]] = {}
    for record in records:
        place, seed = (record["world"], record["robot_seed"]), record["training_seed"]
        for key in [seed] if seed is not None else seeds[place] or [None]:
            groups.setdefault((*place, key), {})[record["policy"]] = record
    return groups


def _row(world: str, robot: Any, seed: Any, policies: Mapping[str, Mapping[str, Any]]) -> list[str]:
    steered = policies.get("score_det", {})
    cells = [world, *("–" if value is None else str(value) for value in (robot, seed))]
    cells.append(str(next(iter(policies.values()))["n"]))
    cells += [success(policies.get(name)) for name in ("base", "base_z0", "score_stoch", "score_det")]
    cells += [_difference(steered, "base"), _difference(steered, "base_z0")]
    fewer = steered.get("vs_base_steps_reduction")
    cells.append("–" if fewer is None else f"{100 * fewer:.0f} %")
    stops = [str(policies[name]["hand_faults"]) for name in ("base", "score_det") if name in policies]
    return [*cells, " → ".join(stops)]


def _difference(record: Mapping[str, Any], reference: str) -> str:
    if f"vs_{reference}_difference" not in record:
        return "–"
    low, high = record[f"vs_{reference}_95"]
    p = record[f"vs_{reference}_mcnemar_p"]
    text = f"{100 * record[f'vs_{reference}_difference']:+.1f} [{100 * low:+.0f}, {100 * high:+.0f}]"
    return text.replace("-", "−") + (" p < 0.001" if p < 0.001 else f" p = {p:.3f}")
