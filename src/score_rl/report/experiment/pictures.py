"""Pictures of an experiment, as SVG text in the report's style: the method in its colour, rivals in ink and greys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from score_rl.core.statistics import wilson
from score_rl.pipeline.experiment.arms import Arm, our_arm, tasks_of
from score_rl.pipeline.experiment.summary import mean_field, mean_rate, pooled
from score_rl.report.charts import ACCENT, INK, STYLES, WIDTH, drawing, smooth
from score_rl.report.experiment.tables import sweep_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREY = STYLES["base"]["color"]
EVALUATION_STYLES = {
    "twin": ("twin", GREY, "--"),
    "proxy": ("proxy", ACCENT, "-"),
    "proxy_raw": ("without stop", INK, ":"),
}


def colour(arm: Arm) -> str:
    """Colour of an arm: accent for the method itself, grey for controls, ink for rivals."""
    return {"ours": ACCENT, "control": GREY}.get(arm.role, INK)


def success(all_arms: Sequence[Arm], evaluation: str = "proxy") -> str:
    """Success per task with Wilson intervals over the episodes of all robots; robots as small ticks."""
    shown = [arm for arm in all_arms if arm.of(evaluation)]
    tasks = tasks_of(record for arm in shown for record in arm.of(evaluation))
    with drawing(WIDTH, 0.8 + 0.27 * len(shown), len(tasks)) as (axes, svg):
        for column, (axis, task) in enumerate(zip(axes, tasks)):
            for y, arm in enumerate(shown):
                _interval(axis, y, arm.of(evaluation, task), colour(arm))
            labels = [arm.label for arm in shown] if column == 0 else [""] * len(shown)
            axis.set(xlim=(-0.02, 1.02), ylim=(len(shown) - 0.5, -0.5), title=task)
            axis.set_yticks(range(len(shown)), labels)
            axis.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
            axis.grid(axis="y", visible=False)
            axis.tick_params(axis="y", length=0, labelcolor=INK)
    return svg[0]


def _interval(axis: Axes, y: float, records: Sequence[Mapping[str, Any]], ink: str) -> None:
    if not records:
        return
    ends, n = pooled(records)
    axis.plot(wilson(ends, n), [y, y], color=ink, linewidth=2, solid_capstyle="round")
    axis.plot(ends / n, y, "o", color=ink, markersize=5)
    axis.plot(
        [r["successes_end"] / r["n"] for r in records], [y] * len(records), "|", color=ink, markersize=7, alpha=0.6
    )


def sweep(all_arms: Sequence[Arm], name: str) -> str:
    """Mean success against a swept number, in twin and proxy; the method itself and the base as lines.

    All on the tasks and robots of the sweep.
    """
    points = sweep_points(all_arms, name)
    cells = {(r["task"], r["robot_seed"]) for arm in points for r in arm.of("proxy")}
    lines = [arm for arm in all_arms if arm is our_arm(all_arms) or arm.variant == "base"]
    with drawing(WIDTH, 3.2) as ((axis,), svg):
        for evaluation, (label, ink, dash) in EVALUATION_STYLES.items():
            found = [(arm.sweep_value, mean_rate(arm.of(evaluation))) for arm in points if arm.of(evaluation)]
            if not found:
                continue
            x, y = [value for value, _ in found], [mean.value for _, mean in found]
            low, high = [mean.low for _, mean in found], [mean.high for _, mean in found]
            axis.errorbar(
                x, y, [np.subtract(y, low).clip(0), np.subtract(high, y).clip(0)],
                color=ink, linestyle=dash, marker="o", markersize=4, capsize=2, label=label,
            )  # fmt: skip
        for arm in lines:
            found = [r for r in arm.of("proxy") if (r["task"], r["robot_seed"]) in cells]
            if not found:
                continue
            height = mean_rate(found).value
            axis.axhline(height, color=colour(arm), linewidth=0.9, alpha=0.7)
            axis.annotate(
                f"{arm.label}, proxy", (1, height), xycoords=("axes fraction", "data"),
                ha="right", va="bottom", fontsize=8, color=colour(arm),
            )  # fmt: skip
        scale = "log" if all(arm.sweep_value > 0 for arm in points) else "linear"
        axis.set(xscale=scale, xlabel=name, ylabel="success", ylim=(-0.02, 1.05))
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axis.legend(loc="best")
    return svg[0]


def learning(curves: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> str:
    """Success in training against control steps: every run thin, the mean of each method thick; one panel per task.

    labels: variant -> role, of the variants to show.
    """
    shown = [curve for curve in curves if curve["variant"] in labels]
    tasks = list(dict.fromkeys(curve["task"] for curve in shown))
    variants = list(dict.fromkeys(curve["variant"] for curve in shown))
    dashes = dict(zip(variants, ("-", "--", ":", "-.", (0, (6, 2, 1, 2)), (0, (1, 3))) * len(variants)))
    with drawing(WIDTH, 3.4, len(tasks)) as (axes, svg):
        for axis, task in zip(axes, tasks):
            for variant in variants:
                runs = [c for c in shown if c["task"] == task and c["variant"] == variant]
                if runs:
                    ink = {"ours": ACCENT, "control": GREY}.get(labels[variant], INK)
                    _runs(axis, runs, ink, dashes[variant])
            axis.set(xlabel="control steps (thousands)", ylim=(0, 1), title=task)
            axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes[0].set_ylabel("success in training")
        axes[-1].legend(loc="lower right", fontsize=7)
    return svg[0]


def _runs(axis: Axes, runs: Sequence[Mapping[str, Any]], ink: str, dash: Any) -> None:
    steps = np.asarray(min((run["control_steps"] for run in runs), key=lambda s: s[-1]), float)
    smoothed = [np.interp(steps, run["control_steps"], smooth(run["success"])) for run in runs]
    for values in smoothed:
        axis.plot(steps / 1000, values, color=ink, linestyle=dash, linewidth=0.6, alpha=0.35)
    axis.plot(steps / 1000, np.mean(smoothed, 0), color=ink, linestyle=dash, label=runs[0]["label"])


def against_success(all_arms: Sequence[Arm], field: str, label: str, log: bool = False) -> str:
    """A measured quantity against success in the proxy: one point per task and robot, the mean of each arm larger.

    field: a field of the records, or a count (`hand_faults`), which is divided by n.
    """
    counts = {"hand_faults"}
    with drawing(WIDTH, 3.8) as ((axis,), svg):
        for arm in all_arms:
            found = [r for r in arm.of("proxy") if r.get(field) is not None]
            if not found:
                continue
            x = [r[field] / r["n"] if field in counts else r[field] for r in found]
            axis.plot(x, [r["success_rate"] for r in found], ".", color=colour(arm), markersize=4, alpha=0.45)
            mean = mean_rate(found, field).value if field in counts else mean_field(found, field)
            height = mean_rate(found).value
            axis.plot(mean, height, "o", color=colour(arm), markersize=7)
            axis.annotate(f" {arm.label}", (mean, height), fontsize=7.5, color=colour(arm), va="center")
        axis.set(xlabel=label, ylabel="success in the proxy", ylim=(-0.03, 1.05))
        if log:
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.xaxis.set_minor_formatter("")
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axis.margins(x=0.12)
    return svg[0]
