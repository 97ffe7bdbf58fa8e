"""Write the tables and pictures of the documents from the committed result files.

    python benchmarks/render_results.py            # rewrite README.md, docs/*.md and the pictures in docs/images
    python benchmarks/render_results.py --check    # exit with 1 where a document differs from the result files

A table stands between `<!-- results FILE -->` and `<!-- end results -->`, with FILE in benchmarks/results/ (or
FILE:METHOD for one method of a comparison, claim.json:PART for a part of the experiment); a picture between
`<!-- picture NAME -->` and `<!-- end picture -->`; the table of the domains' parameters between `<!-- parameters -->`
and `<!-- end parameters -->`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from claim_tables import (
    PARTS,
    audit_table,
    claim_table,
    grades_by_task_table,
    grades_table,
    mismatch_table,
    single_table,
)
from deployment_tables import latency_table, rehearsal_table, runtime_table, server_table
from method_tables import method_table, tuning_table
from result_pictures import PICTURES, on_white

from score_rl.core.files import read_json, write_text
from score_rl.evaluation.results import read_results
from score_rl.report.page import percent
from score_rl.sim.task import get_task

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
IMAGES = ROOT / "docs" / "images"
MARKED = re.compile(r"(<!-- results (\S+) -->\n).*?(<!-- end results -->)", re.DOTALL)
PARAMETER_TABLE = re.compile(r"(<!-- parameters -->\n).*?(<!-- end parameters -->)", re.DOTALL)
MARKED_PICTURE = re.compile(r"(<!-- picture (\S+) -->\n).*?(<!-- end picture -->)", re.DOTALL)
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Header and rows."""
SUCCESS = ("base", "z = 0", "SCORE, sampled", "SCORE", "SCORE − base", "SCORE − (z = 0)")
VARIANT_HEADER = ("variant", "n", "base", "z = 0", "action error, sampled", "at z = 0")
HEADER = ("world", "robot", "seed", "n", *SUCCESS, "fewer steps", "stops")


def documents() -> list[Path]:
    """The documents that may hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def rendered(text: str, document: Path) -> str:
    """The document's text with every table made anew."""

    def replaced(match: re.Match[str]) -> str:
        return f"{match[1]}{table(match[2], document)}\n{match[3]}"

    text = MARKED.sub(replaced, text)
    text = PARAMETER_TABLE.sub(lambda match: f"{match[1]}{parameters()}\n{match[2]}", text)
    return MARKED_PICTURE.sub(lambda match: f"{match[1]}{shown(match[2], document)}{match[3]}", text)


def shown(name: str, document: Path) -> str:
    """Markdown of a picture; nothing where it was not drawn yet."""
    path = IMAGES / f"{name}.svg"
    link = Path(os.path.relpath(path, document.parent)).as_posix()
    return f"![{PICTURES[name].caption}]({link})\n" if path.exists() else ""


def parameters() -> str:
    """Markdown table of everything that a domain can say."""
    lines = ["| parameter | values | nominal | bounds | meaning |", "|---|---|---|---|---|"]
    lines += [
        f"| `{name}` | {p.size} | {p.nominal:g} | {p.low:g} to {p.high:g} | {p.meaning} |"
        for name, p in get_task("pinch_cube").parameters.general.items()
    ]
    return "\n".join(lines)


def table(name: str, document: Path) -> str:
    """Markdown table of a result file, or of one method or part in it (`FILE:METHOD`, `claim.json:PART`)."""
    file, _, part = name.partition(":")
    path = RESULTS / file
    if not path.exists():
        return "No result file yet."
    if name in TABLES or not part:
        header, rows = TABLES.get(name, success_table)(path)
    else:
        header, rows = claim_table(path, part) if part in PARTS else method_table(path, part)
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    depth = len(document.relative_to(ROOT).parts) - 1
    link = "../" * depth + f"benchmarks/results/{file}"
    return "\n".join([*lines, "", f"Every figure, with seeds, command and commit: [{file}]({link})."])


def success_table(path: Path) -> Table:
    """One row per world, robot and training seed."""
    return HEADER, [_row(*key, policies) for key, policies in grouped(read_results(path)).items()]


def variant_table(path: Path) -> Table:
    """One row per variant of the base policy: success, and the held-out action error in mrad."""
    records = read_results(path)
    by_variant: dict[str, dict[str, Mapping[str, Any]]] = {}
    for record in records:
        by_variant.setdefault(record["variant"], {})[record["policy"]] = record
    return VARIANT_HEADER, [
        (
            name,
            str(policies["base"]["n"]),
            _success(policies["base"]),
            _success(policies["base_z0"]),
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


TABLES = {
    "support.json": support_table,
    "representation.json": variant_table,
    "calibration.json": calibration_table,
    "tuning.json": tuning_table,
    "claim.json": claim_table,
    "audit.json": audit_table,
    "audit.json:grades": grades_table,
    "audit.json:grades_by_task": grades_by_task_table,
    "audit_single.json": single_table,
    "mismatch.json": mismatch_table,
    "reliability_server.json": server_table,
    "reliability_runtime.json": runtime_table,
    "rehearsal.json": rehearsal_table,
    "latency.json": latency_table,
}
"""Result files, or parts of them, with a table of their own; all others hold comparisons of policies."""


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
    cells += [_success(policies.get(name)) for name in ("base", "base_z0", "score_stoch", "score_det")]
    cells += [_difference(steered, "base"), _difference(steered, "base_z0")]
    fewer = steered.get("vs_base_steps_reduction")
    cells.append("–" if fewer is None else f"{100 * fewer:.0f} %")
    stops = [str(policies[name]["hand_faults"]) for name in ("base", "score_det") if name in policies]
    return [*cells, " → ".join(stops)]


def _success(record: Mapping[str, Any] | None) -> str:
    if record is None:
        return "–"
    low, high = record["wilson95"]
    return f"{percent(record)} [{100 * low:.0f}, {100 * high:.0f}]"


def _difference(record: Mapping[str, Any], reference: str) -> str:
    if f"vs_{reference}_difference" not in record:
        return "–"
    low, high = record[f"vs_{reference}_95"]
    p = record[f"vs_{reference}_mcnemar_p"]
    text = f"{100 * record[f'vs_{reference}_difference']:+.1f} [{100 * low:+.0f}, {100 * high:+.0f}]"
    return text.replace("-", "−") + (" p < 0.001" if p < 0.001 else f" p = {p:.3f}")


def main(arguments: Sequence[str]) -> int:
    """Render everything, or with --check only compare."""
    for name, picture in PICTURES.items():
        if "--check" not in arguments and (RESULTS / picture.file).exists():
            write_text(IMAGES / f"{name}.svg", on_white(picture.draw(RESULTS / picture.file)))
    stale = []
    for document in documents():
        text = document.read_text(encoding="utf-8")
        new = rendered(text, document)
        if new != text:
            stale.append(document)
            if "--check" not in arguments:
                write_text(document, new)
    if "--check" in arguments:
        for document in stale:
            print(f"{document.relative_to(ROOT)} differs from the result files: python benchmarks/render_results.py")
    return int(bool(stale) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
