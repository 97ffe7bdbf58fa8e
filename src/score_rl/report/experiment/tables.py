"""Tables of an experiment, as Markdown and as HTML."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from score_rl.core.statistics import wilson
from score_rl.evaluation.results import policy_name
from score_rl.pipeline.experiment.arms import Arm, complete, our_arm, tasks_of
from score_rl.pipeline.experiment.definition import REFERENCE_POLICIES
from score_rl.pipeline.experiment.summary import Difference, Mean, mean_difference, mean_field, mean_rate, pooled

DASH = "–"
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """Header, rows of text, and which rows are those of the method itself."""

    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    strong: tuple[bool, ...] = ()
    """Per row."""

    def markdown(self) -> str:
        """The table in GitHub's Markdown; strong rows have a bold first cell."""
        lines = [f"| {' | '.join(self.header)} |", "|" + "---|" * len(self.header)]
        for row, strong in zip(self.rows, self.strong or (False,) * len(self.rows)):
            first = f"**{row[0]}**" if strong else row[0]
            lines.append(f"| {' | '.join((first, *row[1:]))} |")
        return "\n".join(lines)

    def html(self) -> str:
        """The table in the report's style."""
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in self.header)
        body = "".join(
            f"<tr{' class=steered' * strong}>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>"
            for row, strong in zip(self.rows, self.strong or (False,) * len(self.rows))
        )
        return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


Column = tuple[str, Callable[[Sequence[Record]], str]]


def headline(all_arms: Sequence[Arm]) -> Table:
    """One row per arm: means over tasks, and what it costs the hand."""
    ours = our_arm(all_arms)
    header = (
        "method",
        "proxy",
        "without stop",
        "twin",
        f"{ours.label} − it" if ours else "difference",
        *(name for name, _ in BODY),
    )
    rows = []
    for arm in all_arms:
        proxy = arm.of("proxy")
        difference = mean_difference(proxy, "ours", flipped=True) if proxy else None
        partial = "" if complete(arm, all_arms, "proxy") else " (in part)"
        rows.append(
            (
                arm.label + partial,
                *(mean_text(arm.of(evaluation)) for evaluation in ("proxy", "proxy_raw", "twin")),
                difference_text(difference),
                *(show(proxy) for _, show in BODY),
            )
        )
    return Table(header, rows, tuple(arm.ours for arm in all_arms))


def by_task(all_arms: Sequence[Arm], evaluation: str) -> Table:
    """One row per arm, one column per task: success of all robots together, with Wilson's interval."""
    tasks = tasks_of(r for arm in all_arms for r in arm.of(evaluation))
    shown = [arm for arm in all_arms if arm.of(evaluation)]
    rows = [(arm.label, *(pooled_text(arm.of(evaluation, task)) for task in tasks)) for arm in shown]
    return Table(("method", *tasks), rows, tuple(arm.ours for arm in shown))


def against(all_arms: Sequence[Arm], evaluation: str = "proxy") -> Table:
    """Paired differences to the base policy, to z = 0 and to the method itself, over all tasks."""
    shown = [arm for arm in all_arms if arm.of(evaluation)]
    header = ("method", "− base", "− (z = 0)", "− ours", "steps saved")
    rows = []
    for arm in shown:
        found = arm.of(evaluation)
        cells = [difference_text(mean_difference(found, reference)) for reference in ("base", "base_z0", "ours")]
        rows.append((arm.label, *cells, _percent(mean_field(found, "vs_base_steps_reduction"))))
    return Table(header, rows, tuple(arm.ours for arm in shown))


def sweep(all_arms: Sequence[Arm], name: str) -> Table:
    """One row per value of a swept setting: success in twin and proxy, support and force."""
    points = sweep_points(all_arms, name)
    header = ("value", "twin", "proxy", "without stop", *(title for title, _ in BODY))
    rows = [
        (
            f"{arm.sweep_value:g}" if isinstance(arm.sweep_value, float) else f"{arm.sweep_value}",
            *(mean_text(arm.of(evaluation)) for evaluation in ("twin", "proxy", "proxy_raw")),
            *(show(arm.of("proxy")) for _, show in BODY),
        )
        for arm in points
    ]
    return Table(header, rows)


def sweep_points(all_arms: Sequence[Arm], name: str) -> list[Arm]:
    """The arms of a sweep: by their value where it is a number, otherwise in the order of the experiment."""
    points = [arm for arm in all_arms if arm.sweep == name]
    return sorted(points, key=lambda arm: arm.sweep_value if isinstance(arm.sweep_value, float) else 0.0)


def measured(all_arms: Sequence[Arm], columns: Sequence[Column], evaluation: str) -> Table:
    """One row per arm: means of measured quantities; empty where none was measured."""
    shown = [arm for arm in all_arms if arm.of(evaluation)]
    rows = [(arm.label, *(show(arm.of(evaluation)) for _, show in columns)) for arm in shown]
    if all(cell == DASH for row in rows for cell in row[1:]):
        return Table((), [])
    return Table(("method", *(name for name, _ in columns)), rows, tuple(arm.ours for arm in shown))


def every_cell(all_arms: Sequence[Arm], evaluation: str) -> Table:
    """One row per task, robot, training seed and arm."""
    header = ("task", "robot", "method", "seed", "n", "success", "− base", "− ours", *(name for name, _ in BODY))
    cells = [(record, arm) for arm in all_arms for record in arm.of(evaluation)]
    order = tasks_of(record for record, _ in cells)
    cells.sort(key=lambda cell: (order.index(cell[0]["task"]), cell[0]["robot_seed"]))
    rows = [
        (
            record["task"],
            str(record["robot_seed"]),
            arm.label,
            DASH if record["training_seed"] is None else str(record["training_seed"]),
            str(record["n"]),
            pooled_text([record]),
            _paired(record, "base"),
            _paired(record, "ours"),
            *(show([record]) for _, show in BODY),
        )
        for record, arm in cells
    ]
    return Table(header, rows, tuple(arm.ours for _, arm in cells))


def audit_grades(grades: Sequence[Mapping[str, Any]]) -> Table:
    """One row per method and mismatch: success in the twin itself, and by size."""
    if not grades:
        return Table((), [])
    header = ("method", "mismatch", "policies", *(f"{cell['size']:g}" for cell in grades[0]["sizes"]))
    rows = [
        (
            grade["label"] if grade["policy"] not in REFERENCE_POLICIES else policy_name(grade["policy"]),
            grade["mismatch"],
            str(grade["cells"]),
            *(f"{100 * cell['success']:.0f}" for cell in grade["sizes"]),
        )
        for grade in grades
    ]
    return Table(header, rows)


def cost_rows(costs: Sequence[Mapping[str, Any]]) -> Table:
    """What the stages cost."""
    rows = [(c["stage"], str(c["jobs"]), f"{c['median_s']:.0f} s", f"{c['total_s'] / 3600:.2f} h") for c in costs]
    total = sum(c["total_s"] for c in costs)
    rows.append(("all", str(sum(c["jobs"] for c in costs)), "", f"{total / 3600:.2f} h"))
    return Table(("stage", "jobs", "median", "total"), rows)


# ---- cells ----------------------------------------------------------------------------------------------------


def mean_text(records: Sequence[Record]) -> str:
    """Mean success with its interval, in percent."""
    return interval_text(mean_rate(records)) if records else DASH


def interval_text(mean: Mean) -> str:
    """`91.3 [88, 94]`."""
    return f"{100 * mean.value:.1f} [{100 * mean.low:.0f}, {100 * mean.high:.0f}]"


def difference_text(difference: Difference | None) -> str:
    """`+30.1 [+25, +35], p < 0.001, 9 of 9`: points, interval, McNemar over all episodes, cells above."""
    if difference is None:
        return DASH
    d = difference
    p = "p < 0.001" if d.p_value < 0.001 else f"p = {d.p_value:.3f}"
    text = f"{100 * d.value:+.1f} [{100 * d.low:+.0f}, {100 * d.high:+.0f}]".replace("-", "−")
    return f"{text}, {p}, {d.cells_above} of {d.cells}"


def pooled_text(records: Sequence[Record]) -> str:
    """Success of the episodes of all records with Wilson's interval, in percent."""
    if not records:
        return DASH
    ends, n = pooled(records)
    low, high = wilson(ends, n)
    return f"{100 * ends / n:.1f} [{100 * low:.0f}, {100 * high:.0f}]"


def _paired(record: Record, reference: str) -> str:
    if f"vs_{reference}_difference" not in record:
        return DASH
    p = record[f"vs_{reference}_mcnemar_p"]
    text = f"{100 * record[f'vs_{reference}_difference']:+.1f}".replace("-", "−")
    return f"{text}, " + ("p < 0.001" if p < 0.001 else f"p = {p:.3f}")


def _percent(value: float | None) -> str:
    return DASH if value is None else f"{100 * value:.1f}"


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.1f}"


def _fraction(value: float | None) -> str:
    return DASH if value is None else f"{value:.2f}"


def _field(name: str, show: Callable[[float | None], str] = _number) -> Callable[[Sequence[Record]], str]:
    return lambda records: show(mean_field(records, name))


def _share(count: str) -> Callable[[Sequence[Record]], str]:
    return lambda records: _percent(mean_rate(records, count).value) if records else DASH


BODY: tuple[Column, ...] = (
    ("stops %", _share("hand_faults")),
    ("force p95 N", _field("peak_force_p95_n")),
    ("off support %", _field("support_violation_rate", _percent)),
)
"""What a policy does to the hand and to its support, in short; from records of one evaluation."""
SUPPORT: tuple[Column, ...] = (
    ("off support %", _field("support_violation_rate", _percent)),
    ("steered part %", _field("support_steered_violation_rate", _percent)),
    ("single steps %", _field("support_step_violation_rate", _percent)),
    ("episodes with any %", _field("support_episode_violation_rate", _percent)),
    ("too central %", _field("support_inside_rate", _percent)),
    ("typicality", _field("support_typicality", _fraction)),
    ("AUC", _field("support_auc", _fraction)),
)
"""Support of what was executed."""
HAND: tuple[Column, ...] = (
    ("stops %", _share("hand_faults")),
    ("fingertip force p95 N", _field("peak_fingertip_force_p95_n")),
    ("impulse above 15 N, N s", _field("impulse_mean_ns", _fraction)),
    ("jump p95", _field("jump_p95", _fraction)),
    ("jerk rms", _field("jerk_rms_mean")),
    ("at torque limit %", _field("torque_limit_share_mean", _percent)),
    ("at joint limit %", _field("joint_limit_share_mean", _percent)),
)
"""Force and continuity."""
