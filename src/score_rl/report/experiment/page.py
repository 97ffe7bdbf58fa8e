"""The report of an experiment: results, curves and audits as JSON, report.md and a self-contained report.html."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from score_rl.core.errors import ScoreError
from score_rl.core.files import write_json, write_text
from score_rl.core.process import describe_process
from score_rl.evaluation.results import write_results
from score_rl.pipeline.experiment.arms import Arm, arms, best_rival, complete, our_arm
from score_rl.pipeline.experiment.definition import Experiment
from score_rl.pipeline.experiment.gather import Findings
from score_rl.pipeline.experiment.summary import mean_difference, mean_field, mean_rate
from score_rl.report.charts import figure
from score_rl.report.experiment import pictures, tables
from score_rl.report.page import is_report

Section = tuple[str, str, tables.Table]
"""Title, note and table."""
PAGE = "report.html"
SUPPORT_FIELD, FORCE_FIELD = "support_violation_rate", "peak_force_p95_n"
NOTES = (
    "Success: the task's condition holds when the episode ends, and no protective stop ended it. Percent. Means are "
    "over tasks, robots and training seeds; in brackets the 95 % interval of a bootstrap over robots, seeds and "
    "episodes (the tasks are fixed). *Without stop*: the same proxy with its protective stop switched off. *Twin*: "
    "the calibrated twin that the method was trained in. Differences are paired by episode: points, interval, exact "
    "McNemar p of all episodes together, and in how many cells (task x robot x seed) the first is above.",
    "Success of the episodes of all robots together, with Wilson's interval.",
)

FORCE = "Success in the proxy against how hard the hand presses."
STOPS = "Success in the proxy against how often the protective stop ends an episode."
AUDITED = "Success in the calibrated twin, and with it made worse, size by size, in units of the audit's panel."
MEASURED = {
    "Support in the proxy": "Of executed chunks, at the 99 % level that is calibrated on the base policy's own "
    "clipped samples: 1 % is the base policy's own rate. Typicality and AUC are 0.5 on average for the base policy.",
    "Force and continuity in the proxy": "Jumps between chunks and jerk are in action units (rad).",
}


def write_reports(
    out: Path,
    experiment: Experiment,
    findings: Findings,
    costs: Sequence[Mapping[str, Any]],
    missing: Sequence[str] = (),
) -> Path:
    """Write all files; returns the HTML page. `missing`: jobs that failed or were skipped, for the reader.

    Raises ScoreError where somebody else's file is in the way; see `check_reports`.
    """
    out = Path(out)
    check_reports(out, experiment)
    found = arms(findings.records)
    lines, sections = verdict(found), _tables(found, findings.audits, costs)
    page = resources.files("score_rl.report").joinpath("templates/report.html").read_text(encoding="utf-8")
    drawn = _pictures(found, findings.curves)
    body = page_body(experiment, lines, sections, drawn, missing, findings.records[0])
    # The page first: it marks the folder as ours, see `check_reports`.
    write_text(out / PAGE, Template(page).substitute(title=f"SCORE · {experiment.name}", body=body))
    write_text(out / "report.md", markdown(experiment, lines, sections, missing))
    write_results(out / "result.json", findings.records)
    write_json(out / "curves.json", findings.curves)
    write_json(out / "costs.json", list(costs))
    for name, audit in findings.audits.items():
        process = describe_process()
        provenance = {key: process[key] for key in ("command", "commit", "machine")}
        write_json(out / f"audit_{name}.json", {"benchmark": "audit", **provenance, **audit})
    return out / PAGE


def check_reports(out: Path, experiment: Experiment) -> None:
    """Raise ScoreError where a file in OUT has the name of one of the reports, but was not written with them."""
    if (out / PAGE).is_file() and is_report(out / PAGE):
        return
    audits = (f"audit_{audit.name}.json" for audit in experiment.audits)
    for name in (PAGE, "report.md", "result.json", "curves.json", "costs.json", *audits):
        if (out / name).exists():
            raise ScoreError(f"{out / name} was not written by `score benchmark`; choose another --out")


def verdict(found: Sequence[Arm]) -> list[str]:
    """What came out, in sentences; each says its numbers."""
    ours, rival = our_arm(found), best_rival(found)
    base = next((arm for arm in found if arm.variant == "base"), None)
    if ours is None:
        return ["The method itself has not been evaluated in the proxy yet."]
    records = ours.of("proxy")
    partial = "" if complete(ours, found, "proxy") else " (not yet on all tasks and robots)"
    lines = [
        f"{ours.label} succeeds in {tables.mean_text(records)} % of proxy episodes{partial}, "
        f"{tables.mean_text(ours.of('proxy_raw'))} % without the protective stop, "
        f"{tables.mean_text(ours.of('twin'))} % in its twin."
    ]
    if base is not None and base.of("proxy"):
        gain = mean_difference(records, "base")
        lines.append(
            f"The base policy succeeds in {tables.mean_text(base.of('proxy'))} %: {tables.difference_text(gain)}."
        )
    if rival is not None:
        lead = mean_difference(rival.of("proxy"), "ours", flipped=True)
        lines.append(
            f"The best rival with hindsight, {rival.label}, succeeds in {tables.mean_text(rival.of('proxy'))} % "
            f"({tables.mean_text(rival.of('proxy_raw'))} % without the stop, "
            f"{tables.mean_text(rival.of('twin'))} % in its twin); "
            f"{ours.label} minus it: {tables.difference_text(lead)}."
        )
    for arm in (ours, base, rival):
        if arm is not None and arm.of("proxy"):
            lines.append(_body_sentence(arm))
    return lines


def _body_sentence(arm: Arm) -> str:
    """How often a policy stops the hand and leaves the support."""
    records = arm.of("proxy")
    text = f"{arm.label}: protective stops in {100 * mean_rate(records, 'hand_faults').value:.1f} % of episodes"
    off = mean_field(records, SUPPORT_FIELD)
    return f"{text}, {100 * off:.1f} % of decisions off support." if off is not None else f"{text}."


def markdown(
    experiment: Experiment, lines: Sequence[str], sections: Sequence[Section], missing: Sequence[str]
) -> str:
    """The tables as Markdown."""
    parts = [f"# {experiment.name}", experiment.description, "\n".join(f"- {line}" for line in lines)]
    if missing:
        parts.append("Missing:\n\n" + "\n".join(f"- {line}" for line in missing))
    for title, note, table in sections:
        parts += [f"## {title}", *([note] if note else []), table.markdown()]
    return "\n\n".join(part for part in parts if part) + "\n"


def page_body(
    experiment: Experiment,
    lines: Sequence[str],
    sections: Sequence[Section],
    drawn: Mapping[str, Sequence[tuple[str, str]]],
    missing: Sequence[str],
    source: Mapping[str, Any],
) -> str:
    """The page: what came out, then every section's pictures and table, then pictures without a table.

    drawn: title of a section -> (picture, caption)s; source: a record that says where the figures come from.
    """
    robots = ", ".join(map(str, experiment.robots))
    parts = [
        f'<p class="kicker">{html.escape(experiment.name)} · {len(experiment.tasks)} tasks · robots {robots}</p>',
        f"<h1>{html.escape(experiment.description or experiment.name)}</h1>",
        *(f'<p class="lead">{html.escape(line)}</p>' for line in lines),
    ]
    if missing:
        parts.append("<h2>Missing</h2>" + "".join(f'<p class="note">{html.escape(line)}</p>' for line in missing))
    for title, note, table in sections:
        parts.append(f"<h2>{html.escape(title)}</h2>")
        parts += [figure(svg, caption) for svg, caption in drawn.get(title, ())]
        parts.append(table.html() + (f'<p class="note">{html.escape(note).replace("*", "")}</p>' if note else ""))
    for title in drawn.keys() - {title for title, _, _ in sections}:
        parts += [f"<h2>{html.escape(title)}</h2>", *(figure(svg, caption) for svg, caption in drawn[title])]
    parts.append(f"<footer>{html.escape(source['commit'])} · {html.escape(source['machine'])}</footer>")
    return "\n".join(parts)


def _tables(
    found: Sequence[Arm], audits: Mapping[str, Mapping[str, Any]], costs: Sequence[Mapping[str, Any]]
) -> list[Section]:
    """The tables that have rows, in the order of the report."""
    parts = [
        ("Means over all tasks", NOTES[0], tables.headline(found)),
        ("Proxy, by task", NOTES[1], tables.by_task(found, "proxy")),
        ("Proxy without the protective stop, by task", "", tables.by_task(found, "proxy_raw")),
        ("Twin, by task", "", tables.by_task(found, "twin")),
        ("Paired differences in the proxy", "", tables.against(found)),
    ]
    for name in dict.fromkeys(arm.sweep for arm in found if arm.sweep):
        parts.append((f"Sweep: {name}", "", tables.sweep(found, name)))
    for title, columns, evaluation in (
        ("Support in the proxy", tables.SUPPORT, "proxy"),
        ("Support in the twin", tables.SUPPORT, "twin"),
        ("Force and continuity in the proxy", tables.HAND, "proxy"),
    ):
        parts.append((title, MEASURED.get(title, ""), tables.measured(found, columns, evaluation)))
    for name, audit in audits.items():
        parts.append((f"Audit: {name}", AUDITED, tables.audit_grades(audit["grades"])))
    parts.append(("Every task and robot, proxy", "", tables.every_cell(found, "proxy")))
    parts.append(("What it cost", "", tables.cost_rows(costs)))
    return [part for part in parts if part[2].rows]


def _pictures(found: Sequence[Arm], curves: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[str, str]]]:
    """Title of a section -> its (picture, caption)s; pictures without data are left out."""
    proxy = [arm for arm in found if arm.of("proxy")]
    drawn: dict[str, list[tuple[str, str]]] = {}
    if proxy:
        drawn["Proxy, by task"] = [(pictures.success(proxy), "Wilson intervals; small ticks are single robots.")]
    for name in dict.fromkeys(arm.sweep for arm in found if arm.sweep and isinstance(arm.sweep_value, float)):
        drawn[f"Sweep: {name}"] = [(pictures.sweep(found, name), "Means over tasks and robots.")]
    roles = {arm.variant: arm.role for arm in found if arm.sweep is None}
    if any(curve["variant"] in roles for curve in curves):
        caption = "Training episodes in the twin, sampled actions: single runs thin, means thick."
        drawn["Learning"] = [(pictures.learning(curves, roles), caption)]
    if any(r.get(SUPPORT_FIELD) is not None for arm in proxy for r in arm.of("proxy")):
        caption = "Small points are tasks and robots, large ones means."
        svg = pictures.against_success(proxy, SUPPORT_FIELD, "decisions off support, 99 % level")
        drawn["Support in the proxy"] = [(svg, caption)]
    hand = []
    if any(r.get(FORCE_FIELD) for arm in proxy for r in arm.of("proxy")):
        hand.append((pictures.against_success(proxy, FORCE_FIELD, "peak force, 95th percentile (N)", True), FORCE))
        hand.append((pictures.against_success(proxy, "hand_faults", "episodes ended by the protective stop"), STOPS))
        drawn["Force and continuity in the proxy"] = hand
    return drawn
