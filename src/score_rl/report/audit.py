"""The audit for people: Markdown, and a page with a heat map of success over mismatches and sizes."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from score_rl.core.extras import optional
from score_rl.core.files import write_text
from score_rl.evaluation.audit.verdict import Cell, Curve, Verdict
from score_rl.report.charts import ACCENT, ACCENT_LIGHT, INK, WIDTH, drawing, figure

PAGE, TEXT = "audit.html", "audit.md"
CAPTION = "Success in variations of the calibrated twin, which is the column 0. The bar marks where success halves."
HEADER = ("mismatch", "halves success at", "95 %", "success by size", "stops %", "force p95 N", "off support %")


def write_audit(directory: Path, verdict: Verdict, labels: Mapping[str, Any]) -> Path:
    """Write audit.md and audit.html, and return the latter's path; labels: task, policy and provenance."""
    write_text(directory / TEXT, markdown(verdict, labels))
    page = resources.files("score_rl.report").joinpath("templates/report.html").read_text(encoding="utf-8")
    title = f"Transfer audit · {labels['task']} · {labels['policy']}"
    write_text(directory / PAGE, Template(page).substitute(title=html.escape(title), body=body(verdict, labels)))
    return directory / PAGE


def rows(verdict: Verdict) -> list[tuple[str, ...]]:
    """One row per mismatch and direction, the joint panel last."""
    curves = [*verdict.curves, *([verdict.joint] if verdict.joint else [])]
    return [_row(curve) for curve in curves]


def _row(curve: Curve) -> tuple[str, ...]:
    last = curve.cells[-1]
    bounds = " to ".join(curve.physical(bound) for bound in curve.critical_95)
    return (
        curve.name,
        curve.physical(curve.critical),
        bounds if curve.critical is not None or curve.critical_95[0] is not None else "–",
        ", ".join(f"{100 * cell.success:.0f}" for cell in curve.cells),
        "–" if last.faults is None else ", ".join(f"{100 * (cell.faults or 0):.0f}" for cell in curve.cells),
        "–" if last.peak_force_p95_n is None else f"{last.peak_force_p95_n:.0f}",
        "–" if last.off_support is None else ", ".join(f"{100 * (c.off_support or 0):.1f}" for c in curve.cells),
    )


def markdown(verdict: Verdict, labels: Mapping[str, Any]) -> str:
    """The audit as Markdown."""
    nominal = verdict.nominal
    lines = [
        f"# Transfer audit: {labels['policy']}, {labels['task']}",
        "",
        *(f"- {line}" for line in verdict.recommendation),
        "",
        f"In the calibrated twin itself: {_nominal(nominal)}.",
        "",
        f"| {' | '.join(HEADER)} |",
        "|" + "---|" * len(HEADER),
        *(f"| {' | '.join(row)} |" for row in rows(verdict)),
        "",
        note(verdict),
    ]
    return "\n".join(lines) + "\n"


def _nominal(cell: Cell) -> str:
    """The twin itself in words."""
    text = f"success in {100 * cell.success:.0f} % of {cell.n} episodes"
    if cell.faults is not None:
        text += f", protective stops in {100 * cell.faults:.0f} %"
    return text if cell.off_support is None else f"{text}, {100 * cell.off_support:.1f} % of decisions off support"


def note(verdict: Verdict) -> str:
    """What the table's columns are."""
    sizes = ", ".join(f"{cell.size:g}" for cell in (verdict.joint or verdict.curves[0]).cells)
    return (
        f"Sizes are {sizes} units of a mismatch; success and protective stops are in percent, size by size; force is "
        "the 95th percentile of the largest contact force at the largest size. Bounds are of a bootstrap over "
        "virtual robots and episodes."
    )


def body(verdict: Verdict, labels: Mapping[str, Any]) -> str:
    """Sections of the page."""
    first = verdict.recommendation[0] if verdict.recommendation else "Transfer audit"
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in HEADER)
    table = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows(verdict))
    rest = "".join(f'<p class="lead">{html.escape(line)}</p>' for line in verdict.recommendation[1:])
    facts = "".join(
        f"<dt>{html.escape(str(key))}</dt><dd>{html.escape(str(labels[key]))}</dd>"
        for key in ("commit", "command", "machine")
        if key in labels
    )
    return (
        f'<p class="kicker">Transfer audit · {html.escape(labels["task"])} · {html.escape(labels["policy"])}</p>'
        f"<h1>{html.escape(first)}</h1>{rest}"
        f"<h2>Success by mismatch and size</h2>{figure(heat_map(verdict), CAPTION)}"
        f'<h2>Figures</h2><div class="scroll"><table><tr>{head}</tr>{table}</table></div>'
        f'<p class="note">{html.escape(note(verdict))}</p><footer><dl>{facts}</dl></footer>'
    )


def heat_map(verdict: Verdict) -> str:
    """SVG: one row per mismatch and direction, one column per size; success in numbers and colour."""
    with optional("a picture"):
        from matplotlib.colors import LinearSegmentedColormap

    curves = [*verdict.curves, *([verdict.joint] if verdict.joint else [])]
    sizes = sorted({cell.size for curve in curves for cell in curve.cells})
    colours = LinearSegmentedColormap.from_list("success", ["#f1e3d3", "#ffffff", ACCENT_LIGHT, ACCENT])
    with drawing(WIDTH, 0.9 + 0.27 * len(curves)) as ((axis,), svg):
        axis.pcolormesh(
            np.arange(len(sizes) + 2) - 0.5, np.arange(len(curves) + 1) - 0.5, _grid(verdict, curves, sizes),
            cmap=colours, vmin=0, vmax=1, edgecolors="white", linewidth=1.5,
        )  # fmt: skip
        for y, curve in enumerate(curves):
            axis.text(0, y, f"{100 * verdict.nominal.success:.0f}", ha="center", va="center", fontsize=8)
            for cell in curve.cells:
                text = f"{100 * cell.success:.0f}   {cell.text}"
                ink = "white" if cell.success > 0.8 else INK
                axis.text(1 + sizes.index(cell.size), y, text, ha="center", va="center", fontsize=7.5, color=ink)
            if curve.critical is not None:
                x = np.interp(curve.critical, [0, *sizes], range(len(sizes) + 1))
                axis.plot([x, x], [y - 0.42, y + 0.42], color=INK, linewidth=2)
        axis.set_xticks(range(len(sizes) + 1), ["0", *(f"{size:g}" for size in sizes)])
        axis.set_yticks(range(len(curves)), [curve.name for curve in curves])
        axis.set(xlabel="size, in units of the mismatch", ylim=(len(curves) - 0.5, -0.5))
        axis.grid(visible=False)
        axis.tick_params(length=0, labelcolor=INK)
    return svg[0]


def _grid(verdict: Verdict, curves: Sequence[Curve], sizes: Sequence[float]) -> np.ndarray:
    """Success (curves, 1 + sizes); NaN where a size was not asked for."""
    grid = np.full((len(curves), 1 + len(sizes)), np.nan)
    grid[:, 0] = verdict.nominal.success
    for y, curve in enumerate(curves):
        for cell in curve.cells:
            grid[y, 1 + sizes.index(cell.size)] = cell.success
    return grid
