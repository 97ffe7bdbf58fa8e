"""What a stage found, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType

from score_rl.deploy.bundle.bundle import Bundle
from score_rl.deploy.runtime.control_loop import EpisodeReport
from score_rl.pipeline.audit import Audited
from score_rl.pipeline.datasets import Checked, Repaired
from score_rl.pipeline.deployment import Exported
from score_rl.pipeline.rehearsal import Rehearsed
from score_rl.pipeline.stages import Calibrated, Collected, Evaluated, Pretrained, Steered
from score_rl.report.datasets import check_lines, proposal_lines, repair_lines
from score_rl.report.page import left_out_note
from score_rl.report.tables import audit_table, results_table, support_table
from score_rl.steering.reference import STEERED

Result = Collected | Pretrained | Calibrated | Steered | Evaluated | Audited | Rehearsed | Checked | Repaired


def describe(result: Result) -> Iterator[RenderableType]:
    """Lines and tables; none for a run that was reused."""
    if result.reused:
        return
    match result:
        case Collected():
            yield "  {episodes} demonstrations, {frames} frames, {success_rate:.0%} succeed".format(**result.summary)
        case Pretrained():
            yield "  " + ", ".join(f"{k} {v:.4g}" for k, v in result.summary.items() if isinstance(v, float))
            yield from proposal_lines(result.proposal) if result.proposal else ()
        case Calibrated():
            yield from (_replay(result, part) for part in ("hand", "arm"))
            yield from (f"  not estimated: {name} ({why})" for name, why in result.not_estimated.items())
        case Steered():
            steps, wall_s = result.summary["control_steps"], result.summary["wall_s"]
            yield f"  {steps:,} control steps in {wall_s:.0f} s ({steps / max(wall_s, 1e-9):,.0f} a second)"
            yield from reference_lines(result.summary)
            yield from ticket_lines(result.summary)
        case Evaluated():
            yield from _evaluation(result)
        case Audited():
            yield audit_table(result.verdict)
            yield from (f"- {line}" for line in result.verdict.recommendation)
        case Checked():
            yield from check_lines(result)
        case Repaired():
            yield from repair_lines(result)
        case Rehearsed():
            yield from episode_lines(result.reports)
            yield _rehearsal(result)


def reference_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """What steering was compared with in the twin, and what the run left; nothing where nothing was compared."""
    if "deployed" not in summary:
        return
    compared, left = summary["reference"], summary["deployed"]
    shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in compared["success"].items())
    yield f"  in {compared['world']}, {compared['episodes']} episodes: {shares}"
    if left != STEERED:
        yield f"  steering ended below {left}, so this constant latent is what the run leaves"


def ticket_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """What a search for the best constant latent found; nothing of other methods."""
    if "candidate" in summary:
        which = f"candidate {summary['candidate']}" if summary["candidate"] else "z = 0"
        yield (
            f"  the best constant latent is {which}: {summary['success']:.0%} of {summary['episodes']} episodes "
            f"[{summary['success_low']:.0%}, {summary['success_high']:.0%}]"
        )


def export_line(result: Exported) -> str:
    """The file, and how far it is from torch."""
    return (
        f"export: {result.path}, {result.path.stat().st_size / 1e6:.1f} MB; within "
        f"{result.difference:.1e} {result.action_unit} of torch on {result.observations} "
        f"{'real' if result.real else 'random'} observations"
    )


def bundle_line(path: Any, bundle: Bundle) -> str:
    """The folder, its size and its identity."""
    size = sum(entry["size"] for entry in bundle.manifest.files.values())
    return f"bundle: {path}, {size / 1e6:.1f} MB, {bundle.digest}"


def episode_lines(reports: Sequence[EpisodeReport]) -> Iterator[str]:
    """One line per episode on a robot."""
    for report in reports:
        plain = report.plain()
        guarded = {name: count for name, count in report.guard.items() if name != "pass"}
        latency = f"{plain['latency_p99_ms']:.1f}" if "latency_p99_ms" in plain else "–"
        yield (
            f"  episode {report.seed}: {report.ended}, {report.steps} steps, p99 latency {latency} ms, "
            f"{report.missed_deadlines} missed deadlines"
            + (f", {report.late_decisions} late decisions" if report.late_decisions else "")
            + (f", waited {report.waited_steps} steps for them" if report.waited_steps else "")
            + (f", silent for {report.silent_s:.1f} s" if report.silent_s else "")
            + (f", guard {guarded}" if guarded else "")
        )


def _replay(result: Calibrated, part: str) -> str:
    before, after = (1000 * result.summary[f"{part}_{when}_rms_rad"] for when in ("before", "after"))
    return f"  {part}: replay error {before:.1f} -> {after:.1f} mrad RMS"


def _evaluation(result: Evaluated) -> Iterator[RenderableType]:
    yield results_table(result.records)
    if result.guard:
        yield f"  guard: {result.guard}"
    if result.records and (left_out := left_out_note(result.records[0])):
        yield f"  {left_out}"
    if any("support_violation_rate" in record for record in result.records):
        yield ""
        yield support_table(result.records)


def _rehearsal(result: Rehearsed) -> str:
    found = result.summary
    low, high = (100 * bound for bound in found["difference_95"])
    return (
        f"  of {found['n']} episodes, {found['deployed_successes']} succeed deployed and "
        f"{found['in_process_successes']} in-process: {100 * found['difference']:+.1f} [{low:.1f}, {high:.1f}] "
        f"points; {found['identical_episodes']} are identical to the bit"
    )
