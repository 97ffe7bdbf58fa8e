"""The report: one HTML file that needs nothing else, made from the run directories of a whole loop."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import product
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from score_rl.core.errors import ScoreError
from score_rl.core.files import write_text
from score_rl.core.outputs import check_file, resolve_output
from score_rl.core.ranges import Natural
from score_rl.core.records import read_bytes, read_json_lines
from score_rl.core.run_record import METRICS, verify
from score_rl.evaluation.results import Episode, find_record, policy_name
from score_rl.evaluation.run import read_episodes, read_evaluation, read_traces
from score_rl.pipeline.loop import Loop
from score_rl.report import charts
from score_rl.report.calibration_section import calibration_section
from score_rl.report.spread_section import spread_section
from score_rl.report.support_section import support_section
from score_rl.report.video import render_videos

STEERED = "score_det"
"""The policy that the report is about."""


PAGE_MARK = b'<meta name="generator" content="score-rl">'
"""What every page of ours has in its head."""


@dataclass(frozen=True)
class ReportConfig:
    """What a report is made of."""

    evaluations: tuple[Path, ...]
    """Run directories of evaluations; the last one is the verdict, which the headline and the pictures show."""
    steering: Path | None = None
    """Run directory of the steering, for the learning curve."""
    calibration: Path | None = None
    """Run directory of the calibration, for the twin before and after."""
    uncalibrated: Path | None = None
    """Evaluation of the base policy in the twin as it was before calibration."""
    videos: Natural = 2
    """Episodes shown as videos, base against steered; 0 for none. At most as many as evaluation kept in full."""


@dataclass(frozen=True)
class Evaluated:
    """One evaluation, read."""

    records: list[dict[str, Any]]
    episodes: dict[str, list[Episode]]
    traces: dict[str, dict[str, np.ndarray]]
    action_names: list[str]

    def record(self, policy: str) -> dict[str, Any] | None:
        """The record of a policy, None where it was not evaluated."""
        return next((record for record in self.records if record["policy"] == policy), None)


def read(directory: Path) -> Evaluated:
    """Read an evaluation's run directory. Raises ScoreError where a file is missing or corrupt."""
    traces, names = read_traces(directory)
    arrays = {policy: {key: value.numpy() for key, value in trace.items()} for policy, trace in traces.items()}
    records, episodes = read_evaluation(directory), read_episodes(directory)
    if not records:
        raise ScoreError(f"{directory} holds no record of a policy")
    for record in records:
        if (found := len(episodes.get(record["policy"], ()))) != record["n"]:
            raise ScoreError(f"{directory} counts {record['n']} episodes of {record['policy']}, but holds {found}")
    return Evaluated(records, episodes, arrays, names)


def loop_report(loop: Loop) -> ReportConfig:
    """What the report of a whole loop is made of."""
    return ReportConfig(
        evaluations=(loop.twin.directory, loop.proxy.directory),
        steering=loop.steered.directory,
        calibration=loop.calibrated.directory,
        uncalibrated=loop.uncalibrated.directory,
    )


def is_report(path: Path) -> bool:
    """Whether a file is a page of ours."""
    return PAGE_MARK in read_bytes(path)[:1000]


def check_report(path: Path, config: ReportConfig, overwrite: bool) -> None:
    """Raise ScoreError where a report may not be written: over another file than a report, over a report without
    `overwrite`, and where it would lie in, or be, one of the things that it reports on."""
    if not config.evaluations:
        raise ScoreError("a report needs at least one evaluation")
    given = {"steering": config.steering, "calibration": config.calibration, "uncalibrated": config.uncalibrated}
    given |= {f"evaluation {number}": folder for number, folder in enumerate(config.evaluations, start=1)}
    check_page(path, {role: folder for role, folder in given.items() if folder is not None}, overwrite)


def check_page(path: Path, inputs: Mapping[str, Path], overwrite: bool) -> None:
    """Raise ScoreError where a page of ours may not be written: over another file than one, over one without
    `overwrite`, and where it would lie in, or be, one of the inputs (role -> path)."""
    check_file(resolve_output(path, inputs), overwrite, is_report, "report")


def write_report(path: Path, config: ReportConfig, overwrite: bool = False) -> list[str]:
    """Write the report; returns remarks for the terminal, e.g. why there are no videos.

    Raises ScoreError where there is no evaluation, a file is missing or corrupt, or the place is taken
    (`check_report`).
    """
    check_report(path, config, overwrite)
    evaluations = [read(directory) for directory in config.evaluations]
    verdict = evaluations[-1]
    sections = [
        headline(verdict),
        results_table(evaluations),
        success_section(evaluations),
        learning_section(config.steering),
        force_section(verdict),
        latent_section(verdict),
        spread_section(verdict.records, verdict.traces, verdict.action_names),
        support_section(verdict.records, verdict.traces),
        action_section(verdict),
        calibration_section(config.calibration, _base_success(config, evaluations[0])),
        provenance(verdict),
    ]
    videos, remark = _videos(verdict, config.videos)  # last, because it takes longest
    sections.insert(-1, videos)
    page = resources.files("score_rl.report").joinpath("templates/report.html").read_text(encoding="utf-8")
    title = f"SCORE · {verdict.records[0]['task']} · {verdict.records[0]['world']}"
    write_text(path, Template(page).substitute(title=html.escape(title), body="\n".join(sections)))
    return [remark] if remark else []


# ---- sections -------------------------------------------------------------------------------------------------


def headline(evaluated: Evaluated) -> str:
    """What came out, in one sentence and five figures."""
    base, score = evaluated.record("base"), evaluated.record(STEERED)
    first = evaluated.records[0]
    robot = "" if first["robot_seed"] is None else f" · robot {first['robot_seed']}"
    kicker = f'<p class="kicker">{html.escape(first["task"])} · {html.escape(first["world"])}{robot}</p>'
    if base is None or score is None:
        return f"{kicker}<h1>Evaluation</h1>"
    figures = [_figure(percent(score), "SCORE succeeds", accent=True), _figure(percent(base), "base policy")]
    if zero := evaluated.record("base_z0"):
        figures.append(_figure(percent(zero), "base at z = 0"))
    if (fewer := score.get("vs_base_steps_reduction")) is not None:
        figures.append(_figure(f"{100 * abs(fewer):.0f} %", f"{'fewer' if fewer >= 0 else 'more'} steps to success"))
    if score.get("protective_stop_n"):
        figures.append(_figure(f"{base['hand_faults']} → {score['hand_faults']}", "protective stops"))
    return (
        f"{kicker}<h1>SCORE succeeds in {percent(score)} of episodes, its base policy in {percent(base)}</h1>"
        f'<p class="lead">{_verdict(score)}</p><div class="figures">{"".join(figures)}</div>'
    )


def _verdict(score: Mapping[str, Any]) -> str:
    parts = [f"{score['n']} episodes for every policy, with the same objects, poses and disturbances."]
    for reference, called in (("base", "the base policy"), ("base_z0", "the base policy without noise (z = 0)")):
        if f"vs_{reference}_difference" in score:
            p = score[f"vs_{reference}_mcnemar_p"]
            verdict = "above" if score[f"vs_{reference}_difference"] > 0 else "below"
            clear = verdict if p < 0.05 else f"not clearly {verdict}"
            parts.append(f"SCORE is {clear} {called}: {_difference(score, reference)} points.")
    return " ".join(parts)


def results_table(evaluations: Sequence[Evaluated]) -> str:
    """Every policy in every world, with intervals and paired differences."""
    head = (
        "<tr><th>policy</th><th>success</th><th>95 %</th><th>against base,<br>points (won : lost)</th>"
        "<th>against z = 0</th><th>steps to<br>success</th><th>peak force<br>p95, N</th>"
        "<th>protective<br>stops</th></tr>"
    )
    parts = ["<h2>Results</h2>"]
    for evaluated in evaluations:
        rows = "".join(_row(record) for record in evaluated.records)
        world = html.escape(evaluated.records[0]["world"])
        parts.append(f'<p class="note" style="margin:22px 0 0">{world}, n = {evaluated.records[0]["n"]}</p>')
        if left_out := left_out_note(evaluated.records[0]):
            parts.append(f'<p class="note">{html.escape(left_out)}</p>')
        parts.append(f'<div class="scroll"><table>{head}{rows}</table></div>')
    parts.append(
        '<p class="note">Success: the task\'s condition holds when the episode ends, and no protective stop ended '
        "it. Intervals: Wilson; paired differences in percentage points with Newcombe's interval, and in brackets "
        "the seeds won : lost.</p>"
    )
    return "".join(parts)


def _row(record: Mapping[str, Any]) -> str:
    low, high = record["wilson95"]
    steered = ' class="steered"' if record["policy"] == STEERED else ""
    cells = [
        html.escape(policy_name(record["policy"])),
        percent(record),
        f"{100 * low:.0f} – {100 * high:.0f} %",
        _difference(record, "base"),
        _difference(record, "base_z0"),
        number(record["steps_to_success_mean"]),
        number(record["peak_force_p95_n"]),
        str(record["hand_faults"]) if record.get("protective_stop_n") else "–",
    ]
    return f"<tr{steered}>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def success_section(evaluations: Sequence[Evaluated]) -> str:
    """Intervals of all worlds, and success over time in the last one."""
    records = [record for evaluated in evaluations for record in evaluated.records]
    return (
        "<h2>Success</h2>"
        + charts.figure(charts.success(records), "Success at the end, with 95 % Wilson intervals.")
        + charts.figure(
            charts.success_over_time(evaluations[-1].episodes),
            "How many episodes have succeeded by a given control step: the height is the success rate, the slope "
            f"the speed.{_in(evaluations[-1])}",
        )
    )


def learning_section(steering: Path | None) -> str:
    """Success against control steps, from the steering's log."""
    if steering is None:
        return ""
    verify(steering, METRICS)
    records = [r for r in read_json_lines(steering / METRICS) if "success" in r and "control_steps" in r]
    if not records:
        return ""
    curve = charts.learning_curve([r["control_steps"] for r in records], [r["success"] for r in records])
    return "<h2>Learning</h2>" + charts.figure(
        curve,
        "Success of the training episodes in the twin, with sampled latents. The first point is the base policy "
        "itself, since steering starts from it exactly; it is of the episodes of one iteration, so less certain than "
        "the tables' figure.",
    )


def force_section(evaluated: Evaluated) -> str:
    """How hard the hand touches things."""
    forces = {
        policy: episodes
        for policy, episodes in evaluated.episodes.items()
        if any(e.peak_force_n is not None for e in episodes)
    }
    if not forces:
        return ""
    return "<h2>Contact forces</h2>" + charts.figure(
        charts.forces(forces, evaluated.records[0].get("protective_stop_n")),
        "Largest filtered contact force on any link of the hand, per episode. Curves further left are gentler; "
        f"a policy that exploited the simulator would show here first.{_in(evaluated)}",
    )


def latent_section(evaluated: Evaluated) -> str:
    """Where steering goes in the latent space."""
    traces = {policy: trace for policy, trace in evaluated.traces.items() if "first_latent" in trace}
    if len(traces) < 2:
        return ""
    norm2 = {policy: trace["latent_norm2"].ravel() for policy, trace in traces.items()}
    picture = charts.latents(norm2, {policy: trace["first_latent"] for policy, trace in traces.items()})
    return "<h2>Latents</h2>" + charts.figure(
        picture,
        "Left: squared norm of the latent of every decision, per dimension; the prior's is close to 1. "
        "Right: latents of the first decision of every episode, projected on the direction in which steering moves "
        f"on average and the one in which it varies most.{_in(evaluated)}",
    )


def action_section(evaluated: Evaluated) -> str:
    """What the steered policy does differently, on the same episodes."""
    shown = {p: evaluated.traces[p] for p in ("base", STEERED) if "action" in evaluated.traces.get(p, {})}
    if not shown:
        return ""
    key = "observation.palm_pose"
    parts = ["<h2>Actions</h2>"]
    if all(key in trace for trace in shown.values()):
        palms = {policy: trace[key][:, :, :3] for policy, trace in shown.items()}
        parts.append(charts.figure(charts.paths(palms), f"Paths of the palm in the same episodes.{_in(evaluated)}"))
    sent = {policy: trace["action"] for policy, trace in shown.items()}
    caption = f"The most active commands in the same episodes.{_in(evaluated)}"
    parts.append(charts.figure(charts.actions(sent, evaluated.action_names), caption))
    return "".join(parts)


def _base_success(config: ReportConfig, first: Evaluated) -> list[tuple[str, str]]:
    """The base policy in the twin before and after calibration, where the former was evaluated."""
    after = first.record("base")
    if config.uncalibrated is None or after is None:
        return []
    before = find_record(read_evaluation(config.uncalibrated), policy="base")
    return [
        (f"of {before['n']} episodes in the twin before calibration", percent(before)),
        (f"of {after['n']} after it", percent(after)),
    ]


def provenance(evaluated: Evaluated) -> str:
    """Where the numbers come from."""
    record = evaluated.record(STEERED) or evaluated.records[-1]
    facts = {
        "commit": record["commit"],
        "command": record["command"],
        "machine": record["machine"],
        "seeds": f"{first} to {first + record['n'] - 1}" if (first := record.get("first_seed")) is not None else "–",
        "trained": f"{record['control_steps_trained']:,} control steps in {number(record['train_wall_s'])} s",
    }
    items = "".join(f"<dt>{key}</dt><dd>{html.escape(str(value))}</dd>" for key, value in facts.items())
    return f"<footer><dl>{items}</dl></footer>"


def _videos(evaluated: Evaluated, count: int) -> tuple[str, str]:
    """(section, remark): episodes of base and SCORE side by side, or a line that says why not."""
    kept = [p for p in ("base", STEERED) if "qpos" in evaluated.traces.get(p, {})]
    if not kept or count < 1:
        return "", ""
    clips, captions = {}, {}
    episodes = range(min(count, *(len(evaluated.traces[policy]["qpos"]) for policy in kept)))
    for k, policy in product(episodes, kept):
        path, episode = evaluated.traces[policy]["qpos"][k], evaluated.episodes[policy][k]
        clips[f"{k}-{policy}"] = path[np.isfinite(path).all(1)]
        captions[f"{k}-{policy}"] = html.escape(f"{policy_name(policy)}, seed {episode.seed}: {_outcome(episode)}")
    films, reason = render_videos(evaluated.records[0]["task"], clips)
    if reason:
        remark = f"Videos are skipped on this machine ({reason})."
        return f'<h2>Videos</h2><p class="note">{html.escape(remark)}</p>', remark
    shown = {
        name: f'<div><video src="data:video/mp4;base64,{base64.b64encode(films[name]).decode()}" autoplay loop muted '
        f'playsinline controls aria-label="{captions[name]}"></video><p>{captions[name]}</p></div>'
        for name in clips
    }
    pairs = "".join(
        f'<div class="films">{"".join(shown[f"{k}-{policy}"] for policy in kept)}</div>' for k in episodes
    )
    note = f'<p class="note">The same episodes side by side, twice as fast as real.{_in(evaluated)}</p>'
    return f"<h2>Videos</h2>{note}{pairs}", ""


# ---- small pieces ---------------------------------------------------------------------------------------------


def percent(record: Mapping[str, Any]) -> str:
    """Success at the end in percent; one decimal only where it says something."""
    rate = 100 * record["successes_end"] / record["n"]
    return f"{rate:.0f} %" if abs(rate - round(rate)) < 0.05 else f"{rate:.1f} %"


def share(value: float | None) -> str:
    """A rate in percent with one decimal, or a dash where there is none."""
    return "–" if value is None else f"{100 * value:.1f} %"


def number(value: float | None) -> str:
    """One decimal, or a dash where there is no such figure."""
    return "–" if value is None else f"{value:.1f}"


def left_out_note(record: Mapping[str, Any]) -> str:
    """What of its domain the world of a record does without; empty where that is nothing."""
    names = record.get("not_applied") or ()
    return f"left out, since the engine cannot represent it: {', '.join(map(str, names))}" if names else ""


def _difference(record: Mapping[str, Any], reference: str) -> str:
    if f"vs_{reference}_difference" not in record:
        return "–"
    low, high = record[f"vs_{reference}_95"]
    wins, losses = record[f"vs_{reference}_wins"], record[f"vs_{reference}_losses"]
    difference = 100 * record[f"vs_{reference}_difference"]
    text = f"{difference:+.1f} [{100 * low:+.0f}, {100 * high:+.0f}] <small>({wins} : {losses})</small>"
    return text.replace("-", "−")


def _outcome(episode: Episode) -> str:
    if episode.fault:
        return f"protective stop after {episode.steps} steps"
    return f"success in {episode.steps_to_success} steps" if episode.success_end else "no success"


def _figure(value: str, caption: str, accent: bool = False) -> str:
    return f'<div class="figure{" accent" if accent else ""}"><b>{value}</b><span>{caption}</span></div>'


def _in(evaluated: Evaluated) -> str:
    """Where a picture's episodes were played."""
    return f" In {html.escape(evaluated.records[0]['world'])}."
