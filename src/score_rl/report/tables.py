"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from score_rl.core.terminal import visible
from score_rl.evaluation.audit.verdict import Verdict
from score_rl.evaluation.results import policy_name
from score_rl.report.audit import HEADER, rows
from score_rl.report.page import STEERED, number, percent, share


def results_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """Success, interval, speed and force of every policy and world."""
    table = plain_table("policy")
    for column in ("success", "95 %", "vs base", "vs z = 0", "steps", "force p95", "stops"):
        table.add_column(column, justify="right", overflow="fold")
    world = None
    for record in records:
        if record["world"] != world:
            world = record["world"]
            table.add_row(Text(visible(f"{world}, n = {record['n']}"), style="dim"))
        low, high = record["wilson95"]
        table.add_row(
            "  " + policy_name(record["policy"]),
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


def support_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """How often (%) every policy is off the base policy's support, or too central in it: whole chunks, their part
    along the steered directions, single actions, and inverted latents."""

    def bare(rate: float | None) -> str:
        return share(rate).removesuffix(" %")

    table = plain_table("support")
    columns = ("chunks", "off", "95 %", "central", "typical", "AUC", "steered", "actions", "latent")
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    for record in (record for record in records if "support_violation_rate" in record):
        low, high = record["support_violation_95"]
        table.add_row(
            "  " + policy_name(record["policy"]),
            str(record["support_n"]),
            bare(record["support_violation_rate"]),
            f"{100 * low:.1f}-{100 * high:.1f}",
            bare(record["support_inside_rate"]),
            f"{record['support_typicality']:.2f}",
            f"{record['support_auc']:.2f}",
            bare(record.get("support_steered_violation_rate")),
            bare(record["support_step_violation_rate"]),
            bare(record.get("support_latent_violation_rate")),
            style="bold cyan" if record["policy"] == STEERED else None,
        )
    return table


def audit_table(verdict: Verdict) -> Table:
    """At what size every mismatch halves success, and success by size."""
    table = plain_table(*HEADER[:2], HEADER[3])
    for row in rows(verdict):
        table.add_row(*row[:2], row[3])
    return table


def plain_table(*columns: str) -> Table:
    """A table without lines, whose cells fold where the terminal is narrow."""
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _paired(record: Mapping[str, Any], reference: str) -> str:
    if f"vs_{reference}_difference" not in record:
        return "–"
    return f"{record[f'vs_{reference}_wins']}:{record[f'vs_{reference}_losses']}"
