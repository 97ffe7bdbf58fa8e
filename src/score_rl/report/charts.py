"""Charts of the report, as SVG text: one accent colour for SCORE, greys for what it is compared with."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import chi2

from score_rl.core.extras import optional
from score_rl.evaluation.results import Episode, policy_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 8.8
"""Width of every picture (inches); the page scales it to its column."""
INK, MUTED, RULE, ACCENT, ACCENT_LIGHT = "#1c2024", "#6b7280", "#e3e6ea", "#0b6e75", "#7fb8bc"
STYLES: dict[str, dict[str, Any]] = {
    "base": {"color": "#8a919b", "linestyle": "-"},
    "base_z0": {"color": "#8a919b", "linestyle": (0, (4, 2))},
    "score_stoch": {"color": ACCENT, "linestyle": (0, (4, 2))},
    "score_det": {"color": ACCENT, "linestyle": "-"},
}
"""Colour and dash of each policy; any other policy is drawn in ink."""
PARAMETERS = {
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.titlecolor": MUTED,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "lines.linewidth": 1.7,
    "legend.frameon": False,
    "svg.hashsalt": "score",
}


def figure(svg: str, caption: str) -> str:
    """A picture on a page with its caption (HTML), which stands for it where it cannot be seen."""
    words = html.escape(html.unescape(re.sub(r"<[^>]*>", "", caption)))
    picture = svg.replace("<svg ", f'<svg role="img" aria-label="{words}" ', 1)
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def style(policy: str) -> dict[str, Any]:
    """Line style of a policy."""
    return STYLES.get(policy, {"color": INK, "linestyle": ":"})


@contextmanager
def drawing(width: float, height: float, columns: int = 1) -> Iterator[tuple[list[Axes], list[str]]]:
    """Axes to draw on, and a list that holds the picture's SVG text once the block is left."""
    with optional("a picture"):
        import matplotlib
        from matplotlib.figure import Figure

    with matplotlib.rc_context(PARAMETERS):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = list(figure.subplots(1, columns, squeeze=False)[0])
        svg: list[str] = []
        yield axes, svg
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        text = buffer.getvalue()
        svg.append(text[text.index("<svg") :])


def success(records: Sequence[Mapping[str, Any]]) -> str:
    """Success at the end with Wilson intervals, one row per policy and world."""
    worlds = list(dict.fromkeys(record["world"] for record in records))
    with drawing(WIDTH, 0.7 + 0.3 * len({r["policy"] for r in records}), len(worlds)) as (axes, svg):
        for axis, world in zip(axes, worlds):
            rows = [record for record in records if record["world"] == world]
            for y, record in enumerate(rows):
                rate, (low, high) = record["successes_end"] / record["n"], record["wilson95"]
                colour = style(record["policy"])["color"]
                filled = style(record["policy"])["linestyle"] == "-"
                axis.plot([low, high], [y, y], color=colour, linewidth=2, solid_capstyle="round")
                face = colour if filled else "white"
                # A marker at 0 % or 100 % is as round as any other.
                axis.plot(rate, y, "o", color=colour, markerfacecolor=face, markersize=6, clip_on=False, zorder=3)
            axis.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5), title=world)
            axis.set_yticks(range(len(rows)), [policy_name(record["policy"]) for record in rows])
            axis.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
            axis.grid(axis="y", visible=False)
            axis.tick_params(axis="y", length=0, labelcolor=INK)
    return svg[0]


def success_over_time(episodes: Mapping[str, Sequence[Episode]]) -> str:
    """Share of episodes that have reached their success by a control step: how often, and how fast."""
    with drawing(WIDTH, 3.0) as ((axis,), svg):
        longest = max(e.steps for policy in episodes.values() for e in policy)
        for policy, records in episodes.items():
            times = np.sort([e.steps_to_success for e in records if e.steps_to_success is not None])
            x = np.concatenate(([0], times, [longest]))
            y = np.concatenate(([0], np.arange(1, len(times) + 1), [len(times)])) / len(records)
            axis.step(x, y, where="post", label=policy_name(policy), **style(policy))
        axis.set(xlabel="control step", ylabel="episodes succeeded", xlim=(0, longest), ylim=(0, 1))
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axis.legend(loc="upper left")
    return svg[0]


def learning_curve(steps: Sequence[float], rates: Sequence[float]) -> str:
    """Success of training episodes (sampled latents) against control steps; the first point is the base policy."""
    with drawing(WIDTH, 3.0) as ((axis,), svg):
        axis.plot(np.asarray(steps) / 1000, rates, color=ACCENT_LIGHT, linewidth=1)
        axis.plot(np.asarray(steps) / 1000, smooth(rates), color=ACCENT, label="moving average of 5")
        axis.axhline(rates[0], label="first iteration, which is the base policy's", **style("base"))
        axis.set(xlabel="control steps (thousands)", ylabel="success", ylim=(0, 1))
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axis.legend(loc="lower right")
    return svg[0]


def smooth(values: Sequence[float], window: int = 5) -> np.ndarray:
    """Centred moving average; at the ends over what there is."""
    kernel = np.ones(min(window, len(values)))
    array = np.asarray(values, float)
    return np.convolve(array, kernel, "same") / np.convolve(np.ones_like(array), kernel, "same")


def forces(episodes: Mapping[str, Sequence[Episode]], stop_n: float | None) -> str:
    """Share of episodes whose largest contact force on the hand stays below a value."""
    with drawing(WIDTH, 3.0) as ((axis,), svg):
        for policy, records in episodes.items():
            peaks = np.sort([max(e.peak_force_n, 0.5) for e in records if e.peak_force_n is not None])
            axis.step(
                peaks,
                np.arange(1, len(peaks) + 1) / len(peaks),
                where="post",
                label=policy_name(policy),
                **style(policy),
            )
        if stop_n:
            axis.axvline(stop_n, color=INK, linewidth=0.8)
            axis.annotate("protective stop ", (stop_n, 0.03), ha="right", color=INK, fontsize=8)
        axis.set(
            xscale="log", xlim=(0.5, 100), xlabel="largest force of the episode (N)", ylabel="episodes", ylim=(0, 1)
        )
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.xaxis.set_minor_formatter("")
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axis.legend(loc="upper left")
    return svg[0]


def latents(norm2: Mapping[str, np.ndarray], first: Mapping[str, np.ndarray]) -> str:
    """Left: |z|^2 / (h a) of all decisions, with the prior's density. Right: first latents, seen along the
    direction in which steering moves most and the one that varies most across it.

    norm2: policy -> (decisions,); first: policy -> (n, h, a).
    """
    with drawing(WIDTH, 3.1, columns=2) as ((left, right), svg):
        width = int(np.prod(next(iter(first.values())).shape[1:]))
        moving = {policy: values[np.isfinite(values)] for policy, values in norm2.items() if policy != "base_z0"}
        top = max(np.percentile(values, 99.5) for values in moving.values()) * 1.1
        highest = 1.3 * chi2.pdf(max(width - 2, 0), width) * width
        for policy, values in moving.items():
            heights, *_ = left.hist(values, bins=np.linspace(0, top, 60), density=True, histtype="step",
                                    linewidth=1.5, label=policy_name(policy), **style(policy))  # fmt: skip
            highest = max(highest, heights.max())
        x = np.linspace(0, top, 300)
        left.plot(x, chi2.pdf(x * width, width) * width, color=INK, linewidth=0.8, label="prior N(0, I)")
        left.set(xlabel="|z|² / (h a) of a decision", ylabel="density")
        left.set_ylim(0, 1.08 * highest)
        left.legend(loc="upper center")
        axes = principal_axes(first)
        for policy, values in first.items():
            if policy in ("base", "score_stoch", "score_det"):
                points = values.reshape(len(values), -1) @ axes
                right.plot(*points.T, "o", markersize=3, alpha=0.6, color=style(policy)["color"],
                           markerfacecolor="none" if policy == "score_stoch" else style(policy)["color"],
                           label=policy_name(policy))  # fmt: skip
        right.set(xlabel="along the steering", ylabel="across", title="latents of the first decision")
        right.legend(loc="upper left", fontsize=8)
    return svg[0]


def support(distances: Mapping[str, np.ndarray], ranks: Mapping[str, np.ndarray]) -> str:
    """Share of executed chunks below a distance to the base policy's samples (1: usual among these), and below a
    rank among them; both policy -> (decisions,)."""
    with drawing(WIDTH, 3.0, columns=2) as ((left, right), svg):
        for policy, values in distances.items():
            x = np.sort(np.clip(values, 0.3, 100))
            left.step(x, np.arange(1, len(x) + 1) / len(x), where="post", label=policy_name(policy), **style(policy))
        for policy, values in ranks.items():
            x = np.sort(values)
            right.step(x, np.arange(1, len(x) + 1) / len(x), where="post", **style(policy))
        left.set(xscale="log", xlim=(0.3, 100), ylim=(0, 1), ylabel="chunks", xlabel="distance to the nearest sample")
        left.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        left.xaxis.set_minor_formatter("")
        right.plot([0, 1], [0, 1], color=INK, linewidth=0.8)
        right.set(xlim=(0, 1), ylim=(0, 1), xlabel="rank among the base policy's samples")
        for axis in (left, right):
            axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        left.legend(loc="lower right")
    return svg[0]


def inverted_latents(norm2: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """|z|^2 / (h a) of executed chunks and of base samples in the same states; policy -> ((q,), (q,))."""
    finite = [values[np.isfinite(values)] for pair in norm2.values() for values in pair]
    top = max((np.percentile(values, 95) for values in finite if len(values)), default=2.0) * 1.2
    bins = np.linspace(0, top, 50)
    with drawing(WIDTH, 2.8) as ((axis,), svg):
        base = np.concatenate([pair[1] for pair in norm2.values()])
        axis.hist(np.clip(base, 0, top), bins=bins, density=True, color=RULE, label="base samples, clipped")
        for policy, (executed, _) in norm2.items():
            axis.hist(np.clip(executed, 0, top), bins=bins, density=True, histtype="step", linewidth=1.5,
                      label=policy_name(policy), **style(policy))  # fmt: skip
        axis.set(xlabel="|z|² / (h a), larger ones at the right end", ylabel="density")
        axis.legend(loc="upper right")
    return svg[0]


def principal_axes(first: Mapping[str, np.ndarray]) -> np.ndarray:
    """(h a, 2) orthonormal: the mean of the steered latents, and the first principal axis orthogonal to it."""
    steered = first.get("score_det", next(iter(first.values()))).reshape(len(next(iter(first.values()))), -1)
    mean = steered.mean(0)
    along = mean / np.linalg.norm(mean) if np.linalg.norm(mean) > 1e-9 else np.eye(len(mean))[0]
    rest = steered - steered.mean(0)
    rest = rest - np.outer(rest @ along, along)
    across = np.linalg.svd(rest, full_matrices=False)[2][0]
    across = across - (across @ along) * along
    return np.stack((along, across / max(np.linalg.norm(across), 1e-9)), axis=1)


def paths(palms: Mapping[str, np.ndarray]) -> str:
    """Paths of the palm seen from above and from the side; policy -> (k, T, 3) metres, NaN behind the end."""
    with drawing(WIDTH, 3.3, columns=2) as (axes, svg):
        for axis, (i, j), labels in zip(axes, ((1, 0), (0, 2)), (("y", "x"), ("x", "z"))):
            for policy, positions in palms.items():
                for k, path in enumerate(positions):
                    axis.plot(path[:, i], path[:, j], linewidth=1.1, alpha=0.75, color=style(policy)["color"],
                              label=policy_name(policy) if k == 0 else None)  # fmt: skip
            axis.set(xlabel=f"{labels[0]} (m)", ylabel=f"{labels[1]} (m)", aspect="equal")
            axis.set_adjustable("datalim")
        axes[0].set_title("from above")
        axes[1].set_title("from the side")
        axes[1].legend(loc="upper left")
    return svg[0]


def actions(sent: Mapping[str, np.ndarray], names: Sequence[str], channels: int = 3) -> str:
    """The most active action dimensions over time; policy -> (k, T, a), NaN behind the end."""
    spread = np.nanstd(np.concatenate([values.reshape(-1, values.shape[-1]) for values in sent.values()]), axis=0)
    chosen = np.argsort(spread)[::-1][:channels]
    with drawing(WIDTH, 2.6, columns=len(chosen)) as (axes, svg):
        for axis, channel in zip(axes, chosen):
            for policy, values in sent.items():
                for k, row in enumerate(values):
                    axis.plot(row[:, channel], linewidth=0.9, alpha=0.7, color=style(policy)["color"],
                              label=policy_name(policy) if k == 0 else None)  # fmt: skip
            axis.set(xlabel="control step", title=names[channel] if names else f"action {channel}")
        axes[0].legend(loc="best", fontsize=8)
    return svg[0]


def joint_errors(before: Sequence[float], after: Sequence[float], names: Sequence[str]) -> str:
    """Replay error of every joint (rad, drawn in mrad) before and after calibration."""
    with drawing(WIDTH, 2.6) as ((axis,), svg):
        x = np.arange(len(names))
        axis.vlines(x, 1000 * np.asarray(after), 1000 * np.asarray(before), color=RULE, linewidth=3)
        axis.plot(x, 1000 * np.asarray(before), "o", color=STYLES["base"]["color"], markersize=5, label="before")
        axis.plot(x, 1000 * np.asarray(after), "o", color=ACCENT, markersize=5, label="after")
        axis.set_xticks(x, names, rotation=60, ha="right", fontsize=7.5)
        axis.set(ylabel="RMS error (mrad)", ylim=(0, None))
        axis.grid(axis="x", visible=False)
        axis.legend(loc="upper left", ncols=2)
    return svg[0]


def replayed(motion: Mapping[str, np.ndarray], names: Sequence[str], joints: int = 3) -> str:
    """Measured joints of one episode and the twin's replay before and after; motion as in calibration's file."""
    valid = motion["valid"].astype(bool)
    change = np.abs(motion["after"] - motion["before"])[valid].mean(0)
    with drawing(WIDTH, 2.5, columns=joints) as (axes, svg):
        for axis, joint in zip(axes, np.argsort(change)[::-1][:joints]):
            episode = int(np.argmax(valid.sum(1)))
            frames = valid[episode]
            for key, colour in (("before", STYLES["base"]["color"]), ("after", ACCENT), ("measured", INK)):
                dots = {"marker": ".", "linestyle": "none", "markersize": 4} if key == "measured" else {}
                axis.plot(motion[key][episode, frames, joint], color=colour, label=key, **dots)
            axis.set(xlabel="control step", title=f"{names[joint]} (rad)")
        axes[0].legend(loc="best", fontsize=8)
    return svg[0]
