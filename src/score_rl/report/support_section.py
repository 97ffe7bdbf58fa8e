"""The report's section on support: whether what was executed is something that the base policy could have done."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from score_rl.evaluation.results import policy_name
from score_rl.evaluation.support.measure import LATENTS, RANKS
from score_rl.report import charts


def support_section(records: Sequence[Mapping[str, Any]], traces: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """A table of violations and a picture of distances; empty where support was not measured."""
    measured = [record for record in records if "support_violation_rate" in record]
    if not measured:
        return ""
    shown = {record["policy"]: traces.get(record["policy"], {}) for record in measured}
    distances = {policy: trace[RANKS + "distance"] for policy, trace in shown.items() if RANKS + "distance" in trace}
    ranks = {policy: trace[RANKS + "chunk"] for policy, trace in shown.items() if RANKS + "chunk" in trace}
    picture = ""
    if distances:
        caption = (
            "Left: distance of every executed chunk to the nearest of the base policy's samples in its state; 1 is "
            "usual among these. Right: its rank among theirs; the base policy's own lie on the diagonal, chunks off "
            "the support at its right end, and chunks more central than any sample at its left."
        )
        picture = charts.figure(charts.support(distances, ranks), caption)
    return f"<h2>Support</h2>{_table(measured)}{picture}{_inversion(measured, shown)}"


def _table(records: Sequence[Mapping[str, Any]]) -> str:
    head = (
        "<tr><th>policy</th><th>chunks</th><th>off support</th><th>95 %</th><th>too central</th><th>typicality</th>"
        "<th>AUC</th><th>steered part<br>off</th><th>single actions<br>off</th></tr>"
    )
    rows = "".join(_row(record) for record in records)
    level = 100 * records[0]["support_level"]
    note = (
        f"Against chunks that the base policy draws in the same state, clipped and cut as executed. {level:g} % of "
        "its own count as off, and as many as too central. Typicality: 0.5 on average for the base policy, near 0 "
        "for chunks too far out or too central. AUC: against base samples. Intervals take episodes as clusters."
    )
    return f'<div class="scroll"><table>{head}{rows}</table></div><p class="note">{note}</p>'


def _row(record: Mapping[str, Any]) -> str:
    low, high = record["support_violation_95"]
    cells = [
        html.escape(policy_name(record["policy"])),
        str(record["support_n"]),
        _percent(record["support_violation_rate"]),
        f"{100 * low:.1f} – {100 * high:.1f} %",
        _percent(record["support_inside_rate"]),
        f"{record['support_typicality']:.2f}",
        f"{record['support_auc']:.2f}",
        _percent(record.get("support_steered_violation_rate")),
        _percent(record["support_step_violation_rate"]),
    ]
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _inversion(records: Sequence[Mapping[str, Any]], traces: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """What inverting the base policy says, and whether to believe it."""
    known = [record for record in records if record.get("support_latent_converged") is not None]
    if not known:
        return ""
    usable = [record for record in known if "support_latent_violation_rate" in record]
    converged = 100 * min(record["support_latent_converged"] for record in known)
    if not usable and converged >= 99:
        return ""  # too few whole chunks for a quantile
    if not usable:
        return (
            f'<p class="note">The base policy cannot be inverted reliably ({converged:.0f} % of its own samples come '
            "back): it is too precise. Only the comparison with samples above applies.</p>"
        )
    latents = {
        record["policy"]: (trace[LATENTS + "executed"], trace[LATENTS + "base"])
        for record in usable
        if LATENTS + "executed" in (trace := traces[record["policy"]])
    }
    rates = ", ".join(
        f"{html.escape(policy_name(record['policy']))} {_percent(record['support_latent_violation_rate'])}"
        for record in usable
    )
    note = (
        f'<p class="note">Inverting the flow, chunks beyond the 99 % quantile of the base policy\'s own: {rates}. '
        f"At least {converged:.0f} % of its own samples come back.</p>"
    )
    if not latents:
        return note
    caption = "Squared latents of executed chunks, found by inverting the flow, and of the base policy's own (grey)."
    return note + charts.figure(charts.inverted_latents(latents), caption)


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{100 * rate:.1f} %"
