"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from score_rl.evaluation.charts import name
from score_rl.evaluation.report import STEERED, number, percent


def results_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """Success, interval, speed and force of every policy and world."""
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("policy", no_wrap=True)
    for column in ("success", "95 %", "vs base", "vs z = 0", "steps", "force p95", "stops"):
        table.add_column(column, justify="right", no_wrap=True)
    world = None
    for record in records:
        if record["world"] != world:
            world = record["world"]
            table.add_row(f"[dim]{world}, n = {record['n']}[/dim]")
        low, high = record["wilson95"]
        table.add_row(
            "  " + name(record["policy"]),
            percent(record),
            f"{100 * low:.0f}-{100 * high:.0f}",
            _paired(record, "base"),
            _paired(record, "base_z0"),
            number(record["steps_to_success_mean"]),
            number(record["peak_force_p95_n"]),
            str(record["hand_faults"]),
            style="bold cyan" if record["policy"] == STEERED else None,
        )
    return table


def _paired(record: Mapping[str, Any], reference: str) -> str:
    if f"vs_{reference}_difference" not in record:
        return "–"
    return f"{record[f'vs_{reference}_wins']}:{record[f'vs_{reference}_losses']}"
