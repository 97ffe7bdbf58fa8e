"""The report's section on the twin before and after calibration."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from score_rl.core.checkpoints import load_tensors
from score_rl.real2sim.estimates import Estimate, read_estimates
from score_rl.real2sim.settings import REPLAY_FILE
from score_rl.report import charts


def calibration_section(calibration: Path | None, success: Sequence[tuple[str, str]] = ()) -> str:
    """Measured against replayed motion, and every estimate with its uncertainty.

    success: (what, how often) pairs of the base policy in the twin before and after, shown as a sentence.
    """
    if calibration is None:
        return ""
    found = read_estimates(Path(calibration))
    tensors, _ = load_tensors(Path(calibration) / REPLAY_FILE, "replay")
    motion = {key: value.numpy() for key, value in tensors.items()}
    replay = found.replay
    rms = {
        part: [1000 * getattr(replay, f"{part}_{when}_rms_rad") for when in ("before", "after")]
        for part in ("hand", "arm")
    }
    lines = [
        f"Replaying the commands of the demonstrations, the twin misses the measured joints by {rms['hand'][0]:.1f} "
        f"mrad (hand) and {rms['arm'][0]:.1f} mrad (arm) before calibration, {rms['hand'][1]:.1f} and "
        f"{rms['arm'][1]:.1f} mrad after it"
        + (f", on {replay.episodes} episodes that the fit has not seen." if replay.held_out else "."),
    ]
    if success:
        lines.append("The base policy succeeds in " + ", ".join(f"{rate} {where}" for where, rate in success) + ".")
    if found.not_estimated:
        left = (f"<code>{html.escape(name)}</code> ({html.escape(why)})" for name, why in found.not_estimated.items())
        lines.append(f"Not estimated: {', '.join(left)}.")
    pictures = "".join(
        charts.figure(svg, caption)
        for svg, caption in (
            (
                charts.joint_errors(replay.before_rms_rad, replay.after_rms_rad, found.joint_names),
                "Replay error of every joint, before (grey) and after calibration.",
            ),
            (
                charts.replayed(motion, found.joint_names),
                "Measured motion (dots) and the twin's, before (grey) and after, of the joints that changed most.",
            ),
        )
    )
    return f"<h2>Calibration</h2><p>{' '.join(lines)}</p>{pictures}{_estimates(found.estimates)}"


def _estimates(estimates: Mapping[str, Estimate]) -> str:
    rows = []
    for name, estimate in estimates.items():
        values, widths = (np.atleast_1d(np.asarray(given, float)) for given in (estimate.value, estimate.sd))
        if len(values) == 1:
            text = f"{values[0]:.4g} ± {widths[0]:.2g}"
        else:
            text = f"{values.min():.3g} … {values.max():.3g} ± {np.median(widths):.2g}"
        identified = "yes" if estimate.identified else "no, prior kept"
        cells = [f"<code>{html.escape(name)}</code>", text, identified, html.escape(estimate.meaning)]
        aligned = "".join(f'<td style="text-align:left;white-space:normal">{cell}</td>' for cell in cells[1:])
        rows.append(f"<tr><td>{cells[0]}</td>{aligned}</tr>")
    head = "".join(
        f'<th style="text-align:left">{h}</th>' for h in ("parameter", "estimate", "identified", "meaning")
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(rows)}</table></div>'
