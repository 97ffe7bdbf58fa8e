"""Table of the engines against theory and against each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from score_rl.core.records import read_json
from tables import Table

Figures = Mapping[str, Any]


def engines_table(path: Path) -> Table:
    """One row a measurement, one column an engine."""
    engines = read_json(path)["engines"]
    rows = [(title, theory(next(iter(engines.values()))), *(show(figures) for figures in engines.values()))
            for title, theory, show in ROWS]  # fmt: skip
    return ("", "theory", *engines), rows


def speed_table(path: Path) -> Table:
    """One row a task, one column an engine at its step: control steps a second on all cores."""
    found = read_json(path)
    titles = {r["world"]: f"{r['engine']}, {1000 * r['timestep_s']:g} ms" for r in found["records"]}
    rates = {(r["task"], r["world"]): r["control_steps_per_second"] for r in found["records"]}
    tasks = dict.fromkeys(r["task"] for r in found["records"])
    rows = [(f"`{task}`", *(f"{rates[task, world]:,.0f}" for world in titles)) for task in tasks]
    return ("task", *titles.values()), rows


def _text(form: str) -> Callable[[Figures], str]:
    return lambda figures: form.format_map(figures)


def _nothing(_: Figures) -> str:
    return "–"


def _mm(key: str) -> Callable[[Figures], str]:
    return lambda figures: f"{1000 * figures[key] + 0.0:.1f} mm".replace("-0.0", "0.0")


def _percent(key: str) -> Callable[[Figures], str]:
    return lambda figures: f"{100 * figures[key]:.1f} %"


ROWS: tuple[tuple[str, Callable[[Figures], str], Callable[[Figures], str]], ...] = (
    ("physics step", _nothing, lambda f: f"{1000 * f['timestep_s']:g} ms"),
    ("4 s of waving in free space, from MuJoCo's path: arm, hand", _nothing,
     lambda f: f"{1000 * f['arm_apart_rad']:.2f}, {1000 * f['hand_apart_rad']:.2f} mrad"),
    ("block at 1 m/s comes to rest on the table after", _mm("slide_theory_m"), _mm("slide_m")),
    ("block on a slope of 30° goes in 0.5 s", _mm("steep_slope_theory_m"), _mm("steep_slope_m")),
    ("block on a slope of 18°, which friction bears, goes in 10 s", _mm("flat_slope_theory_m"), _mm("flat_slope_m")),
    ("ball at 0.5 m/s rolls out after", _mm("roll_theory_m"), _mm("roll_m")),
    ("ball dropped from 0.3 m bounces to a share of", lambda f: "0.0 % (none is set)", _percent("bounce_of_drop")),
    ("energy of a frictionless pendulum changes in 10 s by", lambda f: "0.0 %", _percent("energy_change")),
    ("cube held for 10 s slips by", lambda f: "0.0 mm",
     lambda f: f"{1000 * f['slip_m']:.1f} mm, {1000 * f['slip_rad']:.0f} mrad ({f['held']} of {f['episodes']} held)"),
    ("thumb's force in that grasp", _nothing, _text("{thumb_force_n:.1f} N")),
    ("a fingertip taps the table: 10 ms filter, mean of 50 ms", _nothing,
     _text("{tap_stop_n:.0f}, {tap_50ms_n:.0f} N")),
    ("the palm hits the table: 10 ms filter, mean of 50 ms", _nothing,
     _text("{crash_stop_n:.0f}, {crash_50ms_n:.0f} N")),
)  # fmt: skip
"""(title, theory, measured)."""
