"""What demonstrations are like: lines and a table for the terminal, a page with pictures."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np
from rich.console import RenderableType
from rich.table import Table

from score_rl.core.files import write_text
from score_rl.data.proposal import Proposal
from score_rl.data.quality import Entry
from score_rl.pipeline.datasets import Checked, Repaired
from score_rl.report.charts import ACCENT, ACCENT_LIGHT, WIDTH, drawing, figure

COLUMNS = ("feature", "entry", "min", "max", "mean", "std", "largest step")

RANGES = "Light: from the least to the largest value. Dark: the middle nine tenths. Line: the mean."


def check_lines(checked: Checked) -> Iterator[RenderableType]:
    """The dataset in a line, its warnings, a table of every entry, and options to start from."""
    yield overview(checked)
    if checked.dataset.skipped:
        yield f"  not read, since only arrays are: {', '.join(checked.dataset.skipped)}"
    for line in checked.warnings:
        yield f"  warning: {line}"
    yield _table(checked)
    if checked.proposal is not None:
        yield from proposal_lines(checked.proposal)


def repair_lines(repaired: Repaired) -> Iterator[str]:
    """What was kept and why the rest was not."""
    repair = repaired.repair
    yield f"  {repair.episodes} whole episodes, {repair.frames} frames: {repair.root!s}"
    yield f"  left behind: {repair.fault}" if repair.fault else "  nothing was left behind"


def proposal_lines(proposal: Proposal) -> Iterator[str]:
    """Options that the motion suggests."""
    pretrain, steer = proposal.options()
    yield "  options that the demonstrations suggest, to start from (what the motion has, not what the task needs):"
    yield f"    pretrain  {pretrain}"
    yield f"    steer     {steer}"


def overview(checked: Checked) -> str:
    """Episodes, lengths, rate, success."""
    dataset, lengths = checked.dataset, checked.dataset.lengths
    text = (
        f"  {dataset.root}: {dataset.num_episodes} episodes of {lengths.min()} to {lengths.max()} frames "
        f"(median {np.median(lengths):g}) at {dataset.fps:g} Hz, {dataset.num_frames} frames"
    )
    if checked.success is None:
        return f"{text}; nothing says which succeed"
    return f"{text}; {int(checked.success.sum())} of {len(checked.success)} succeed"


def write_check(path: Path, checked: Checked) -> None:
    """A page with the same and with every feature's ranges as a picture; `check_page` says whether it may be."""
    warnings = "".join(f"<li>{html.escape(line)}</li>" for line in checked.warnings) or "<li>none</li>"
    sections = [
        f'<p class="kicker">demonstrations</p><h1>{html.escape(checked.dataset.robot_type)}</h1>',
        f'<p class="lead">{html.escape(overview(checked).strip())}</p>',
        f"<h2>What is suspicious</h2><ul>{warnings}</ul>",
        f"<h2>Lengths</h2>{figure(lengths_picture(checked), 'Frames of every episode.')}",
        *(
            f"<h2>{html.escape(name)}</h2>{figure(ranges_picture(name, found), RANGES)}"
            for name, found in checked.entries.items()
        ),
    ]
    page = resources.files("score_rl.report").joinpath("templates/report.html").read_text(encoding="utf-8")
    title = html.escape(f"Demonstrations · {checked.dataset.robot_type}")
    write_text(path, Template(page).substitute(title=title, body="\n".join(sections)))


def ranges_picture(name: str, found: Sequence[Entry]) -> str:
    """One row per entry: range, middle nine tenths, mean."""
    with drawing(WIDTH, 0.7 + 0.16 * len(found)) as ((axes,), svg):
        rows = np.arange(len(found))
        axes.hlines(rows, [one.low for one in found], [one.high for one in found], color=ACCENT_LIGHT, linewidth=4)
        axes.hlines(
            rows, [one.span_low for one in found], [one.span_high for one in found], color=ACCENT, linewidth=4
        )
        axes.plot([one.mean for one in found], rows, "|", color="white")
        axes.set_yticks(rows, [one.name or str(one.index) for one in found], fontsize=6)
        axes.invert_yaxis()
        axes.set_title(name)
    return svg[0]


def lengths_picture(checked: Checked) -> str:
    """Frames of every episode; those that succeed dark."""
    lengths = checked.dataset.lengths
    good = np.ones(len(lengths), bool) if checked.success is None else checked.success
    with drawing(WIDTH, 2.0) as ((axes,), svg):
        axes.bar(np.arange(len(lengths)), lengths, color=np.where(good, ACCENT, ACCENT_LIGHT).tolist())
        axes.set_xlabel("episode")
        axes.set_title("frames" + (", light where the episode fails" if checked.success is not None else ""))
    return svg[0]


def _table(checked: Checked) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if number < 2 else "right", no_wrap=True)
    for name, found in checked.entries.items():
        for one in found:
            figures = (one.low, one.high, one.mean, one.std, one.largest_step)
            table.add_row(name, one.name or str(one.index), *(f"{value:.4g}" for value in figures))
    return table
