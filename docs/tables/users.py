"""Tables of what users bring and run: newcomers' scripts, hand-over between chunks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from score_rl.core.records import read_json
from tables import Table


def newcomer_table(path: Path) -> Table:
    """What somebody brings, how much of it is theirs to write, and what steering makes of it."""
    header = ("script", "lines", "n", "base", "z = 0", "SCORE", "wall", "processor", "load average")
    rows = []
    for name, record in read_json(path)["scripts"].items():
        policies = record["policies"]
        shares = tuple(_share(policies[policy]) for policy in ("base", "base_z0", "score_det"))
        spent = (f"{record['wall_s'] / 60:.1f} min", f"{record['processor_s'] / 60:.1f} min")
        load = f"{record['load_average']:.1f}"
        rows.append((f"`{name}.py`", str(record["lines"]), str(policies["base"]["n"]), *shares, *spent, load))
    return header, rows


def handover_table(path: Path) -> Table:
    """Plain execution against hand-overs among more and more latents."""
    found = read_json(path)
    header = ("latents to choose from", "n", "success", "steps", "seam, mean", "seam, p95", "jerk, rms")
    rows = [
        (
            str(record["samples"]) if record["samples"] else "plain",
            str(found["n"]),
            _share(record),
            f"{record['steps_mean']:.0f}",
            f"{1000 * record['seam_mean']:.0f} mrad",
            f"{1000 * record['seam_p95']:.0f} mrad",
            f"{record['jerk_rms_mean']:.0f} rad/s³",
        )
        for record in found["records"]
    ]
    return header, rows


def _share(record: Mapping[str, Any]) -> str:
    low, high = record["wilson95"]
    return f"{100 * record['success_rate']:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
