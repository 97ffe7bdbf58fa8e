"""Write the tables and pictures of the documents from the committed result files.

    python docs/render.py            # rewrite README.md, docs/*.md and the pictures in docs/images
    python docs/render.py --check    # exit with 1 where a document differs from the result files

A table stands between `<!-- results FILE -->` and `<!-- end results -->`, with FILE in benchmarks/results/ (or
FILE:METHOD for one method of a comparison, claim.json:PART for a part of the experiment, or a folder of files); a
picture between `<!-- picture NAME -->` and `<!-- end picture -->`; the table of the domains' parameters between
`<!-- parameters -->` and `<!-- end parameters -->`; the strips of frames that `strips.py` drew, one per task, between
`<!-- strips -->` and `<!-- end strips -->`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from pictures import PICTURES, on_white
from tables.claim import (
    PARTS,
    audit_table,
    claim_table,
    grades_by_task_table,
    grades_table,
    mismatch_table,
    single_table,
)
from tables.clouds import (
    augmented_table,
    clouds_table,
    clouds_there_table,
    cost_table,
    free_table,
    hand_built_table,
    longer_table,
    recipes_table,
    searches_table,
    sights_table,
)
from tables.comparisons import calibration_table, camera_table, success_table, support_table, variant_table
from tables.deployment import latency_table, rehearsal_table, runtime_table, server_table
from tables.engines import engines_table, speed_table
from tables.hardware import effects_table, hardware_table, rough_table, stop_table, twins_table
from tables.levers import (
    cloud_means_table,
    further_table,
    hand_built_means_table,
    levers_table,
    limit_table,
    lost_table,
    means_table,
    rival_means_table,
    rivals_table,
)
from tables.methods import method_table, ranked_table, tuning_table
from tables.recipe import audits_table, hinge_table, limits_table, supports_table
from tables.targets import targets_table
from tables.tasks import (
    bases_table,
    bases_there_table,
    camera_of_tasks_table,
    failures_table,
    people_table,
    rehearsals_table,
    spread_table,
    stages_table,
    steered_table,
    steered_there_table,
    throughput_table,
)
from tables.users import handover_table, newcomer_table

from score_rl.core.files import write_text
from score_rl.sim.task import get_task, task_names

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
HISTORY = RESULTS / "history.md"
IMAGES = ROOT / "docs" / "images"
MARKED = re.compile(r"(<!-- results (\S+) -->\n).*?(<!-- end results -->)", re.DOTALL)
PARAMETER_TABLE = re.compile(r"(<!-- parameters -->\n).*?(<!-- end parameters -->)", re.DOTALL)
STRIP_LIST = re.compile(r"(<!-- strips -->\n).*?(<!-- end strips -->)", re.DOTALL)
MARKED_PICTURE = re.compile(r"(<!-- picture (\S+) -->\n).*?(<!-- end picture -->)", re.DOTALL)


def documents() -> list[Path]:
    """The documents that may hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), HISTORY]


def rendered(text: str, document: Path) -> str:
    """The document's text with every table made anew."""

    def replaced(match: re.Match[str]) -> str:
        return f"{match[1]}{table(match[2], document)}\n{match[3]}"

    text = MARKED.sub(replaced, text)
    text = PARAMETER_TABLE.sub(lambda match: f"{match[1]}{parameters()}\n{match[2]}", text)
    text = STRIP_LIST.sub(lambda match: f"{match[1]}{strips(document)}{match[2]}", text)
    return MARKED_PICTURE.sub(lambda match: f"{match[1]}{shown(match[2], document)}{match[3]}", text)


def shown(name: str, document: Path) -> str:
    """Markdown of a picture; nothing where it was not drawn yet."""
    path = IMAGES / f"{name}.svg"
    link = Path(os.path.relpath(path, document.parent)).as_posix()
    return f"![{PICTURES[name].caption}]({link})\n" if path.exists() else ""


def strips(document: Path) -> str:
    """Markdown of the strips of frames of all tasks that were drawn."""
    lines = []
    for name in task_names():
        path = IMAGES / "tasks" / f"{name}.jpg"
        if path.exists():
            link = Path(os.path.relpath(path, document.parent)).as_posix()
            lines.append(f"`{name}`: {get_task(name).description}\n\n![Frames of {name}]({link})\n")
    return "\n".join(lines)


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
    link = Path(os.path.relpath(path, document.parent)).as_posix()
    return "\n".join([*lines, "", f"Every figure, with seeds, command and commit: [{path.name}]({link})."])


TABLES = {
    "support.json": support_table,
    "representation.json": variant_table,
    "calibration.json": calibration_table,
    "camera.json": camera_table,
    "tuning.json": tuning_table,
    "tuning_rivals.json": tuning_table,
    "tickets.json": rivals_table,
    "best_of_steered": ranked_table,
    "claim.json": claim_table,
    "audit.json": audit_table,
    "audit.json:grades": grades_table,
    "audit.json:grades_by_task": grades_by_task_table,
    "audit_single.json": single_table,
    "recipe_audit": audits_table,
    "recipe_audit_clouds": audits_table,
    "recipe_audit_longer": audits_table,
    "recipe_audit_hand_built": audits_table,
    "recipe_support": supports_table,
    "recipe_support_clouds": supports_table,
    "recipe_support_longer": supports_table,
    "latent_limits.json": limits_table,
    "history/without_hinge": hinge_table,
    "mismatch.json": mismatch_table,
    "reliability_server.json": server_table,
    "reliability_runtime.json": runtime_table,
    "rehearsal.json": rehearsal_table,
    "latency.json": latency_table,
    "latency_clouds.json": latency_table,
    "engines.json": engines_table,
    "engines_speed.json": speed_table,
    "hardware.json": hardware_table,
    "hardware_bases": bases_there_table,
    "hardware_calibration.json": rough_table,
    "hardware.json:twins": twins_table,
    "rough.json": hardware_table,
    "rough.json:twins": twins_table,
    "history/rough_every_eight.json": hardware_table,
    "history/rough_every_eight.json:twins": twins_table,
    "rough_calibration.json": rough_table,
    "rough_effects.json": effects_table,
    "stop.json": stop_table,
    "clouds.json": clouds_table,
    "clouds.json:hand_built": hand_built_table,
    "clouds.json:means": cloud_means_table,
    "clouds.json:hand_built_means": hand_built_means_table,
    "clouds.json:free": free_table,
    "clouds.json:longer": longer_table,
    "clouds.json:searches": searches_table,
    "clouds_others.json": clouds_table,
    "augmented.json": augmented_table,
    "clouds_physx.json:means": cloud_means_table,
    "clouds_physx.json": clouds_there_table,
    "history/clouds_every_eight.json": sights_table,
    "clouds_cost.json": cost_table,
    "cloud_recipes.json": recipes_table,
    "newcomer.json": newcomer_table,
    "handover.json": handover_table,
    "tasks:spread": spread_table,
    "levers_further.json": further_table,
    "levers_often.json": further_table,
    "levers_left.json": further_table,
    "levers_beginnings.json": further_table,
    "levers_clouds.json": further_table,
    "levers_rack.json": further_table,
    "levers_screens.json": further_table,
    "levers_hand_built.json": levers_table,
    "levers_calibrated.json": levers_table,
    "candidates_hand_built.json": levers_table,
    "candidates_hand_built.json:means": means_table,
    "candidates_calibrated.json": levers_table,
    "candidates_calibrated.json:means": means_table,
    "rivals.json": rivals_table,
    "rivals.json:means": rival_means_table,
    "rivals_calibrated.json": rivals_table,
    "rivals_calibrated.json:means": rival_means_table,
    "latent_limit.json": limit_table,
    "lost_states.json": lost_table,
    "failures": failures_table,
    "calibration_tasks": camera_of_tasks_table,
    "tasks": bases_table,
    "tasks:steered": steered_table,
    "hardware_steered": steered_there_table,
    "rehearsal": rehearsals_table,
    "throughput": throughput_table,
    "people.json": people_table,
    "people_physx.json": people_table,
    "stages.json": stages_table,
    ".:targets": targets_table,
}
"""Result files, or parts of them, with a table of their own; all others hold comparisons of policies."""


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
            print(f"{document.relative_to(ROOT)} differs from the result files: python docs/render.py")
    return int(bool(stale) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
