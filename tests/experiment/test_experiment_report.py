"""From evaluations on disk to records, tables and pages, with a SCORE that wins and a rival that is violent."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from run_records import write_run_record

from score_rl.core.errors import ScoreError
from score_rl.core.files import JsonLines
from score_rl.evaluation.results import Episode, Labels, read_results, summarize, write_results
from score_rl.pipeline.experiment.arms import arms, best_rival, our_arm
from score_rl.pipeline.experiment.costs import cost_table, remaining_s
from score_rl.pipeline.experiment.definition import Experiment
from score_rl.pipeline.experiment.file import parse_experiment
from score_rl.pipeline.experiment.gather import compared_with, gather
from score_rl.pipeline.experiment.ledger import JobRecord
from score_rl.pipeline.experiment.plan import plan
from score_rl.report.experiment.page import write_reports
from score_rl.report.experiment.tables import headline, sweep

SUPPORT = {
    "support_n": 40,
    "support_violation_95": [0.0, 0.6],
    "support_inside_rate": 0.01,
    "support_typicality": 0.5,
    "support_auc": 0.5,
    "support_step_violation_rate": 0.01,
}
PROVENANCE = {"commit": "c", "command": "score benchmark", "machine": "m"}
WINS = {"base": 4, "base_z0": 2, "score_det": 9, "score_stoch": 8, "unconstrained_det": 3, "bc_regularized_det": 6}
N = 10


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    methods = [
        {"name": "score", "label": "SCORE", "role": "ours"},
        {"name": "free", "method": "unconstrained"},
        {
            "name": "bc",
            "method": "bc_regularized",
            "demonstrations": True,
            "sweep": {"steer.bc_regularized.coefficient": [1.0, 100.0]},
        },
    ]
    return parse_experiment(
        {"tasks": ["pinch_cube"], "recipe": "debug", "robots": [1, 2], "method": methods, "description": "D"},
        "exp.toml",
    )


def episode(seed: int, success: bool, fault: bool, off: float) -> Episode:
    steps = 3 if success else None
    found = Episode(seed, success, success, steps, 5, False, fault, False, 40.0 if fault else 8.0, 1.0, 1.0, 0.1)
    return replace(found, support_violation_rate=off, impulse_ns=1.5)


def leave(job, runs: Path) -> None:
    """What a stage would have left: base policies win on the first seeds, SCORE on the last."""
    folder = runs / job.name
    if job.stage == "steer":
        for k in range(4):
            JsonLines(folder / "metrics.jsonl").append({"control_steps": 100 * k, "success": 0.2 * k})
    if job.stage == "pretrain":
        write_run_record(folder, "pretrain", {}, {}, summary={"held_out_loss": 0.5, "action_error": 0.25})
    if job.stage != "evaluate":
        return
    records, log = [], JsonLines(folder / "episodes.jsonl")
    method = job.method if job.method == "references" else job.settings.policies and job.name.split("/")[2]
    names = {"references": ("base", "base_z0"), "score": ("score_stoch", "score_det"), "free": ("unconstrained_det",)}
    for name in names.get(method, ("bc_regularized_det",)):
        if name.endswith("_stoch") and "stoch" not in job.settings.policies:
            continue
        wins = WINS[name]
        violent = name == "unconstrained_det" and job.evaluation == "proxy"
        won = [k >= N - wins for k in range(N)] if name.startswith("score") else [k < wins for k in range(N)]
        played = [episode(k, w, violent and not w, 0.5 if violent else 0.01) for k, w in enumerate(won)]
        labels = Labels("pinch_cube", name.removesuffix("_det"), name, job.evaluation, job.robot, job.training_seed)
        records.append(
            {**summarize(labels, played, PROVENANCE), **SUPPORT, "support_violation_rate": 0.5 if violent else 0.01}
        )
        for e in played:
            log.append({"policy": name, "world": job.evaluation, **vars(e)})
    write_results(folder / "result.json", records)


@pytest.fixture(scope="module")
def left(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    for job in plan(experiment):
        leave(job, out / "runs")
    return out


def test_records_are_paired_across_runs(experiment: Experiment, left: Path) -> None:
    records = gather(experiment, plan(experiment), left / "runs").records
    assert len(records) == 2 * 3 * (2 + 2 + 1 + 2) - 2  # SCORE is not sampled in proxy_raw
    free = next(r for r in records if r["variant"] == "free" and r["evaluation"] == "proxy" and r["robot_seed"] == 2)
    # free wins seeds 0-2, base 0-3, z = 0 0-1, SCORE 1-9
    assert (free["vs_base_wins"], free["vs_base_losses"]) == (0, 1)
    assert (free["vs_base_z0_wins"], free["vs_base_z0_losses"]) == (1, 0)
    assert (free["vs_ours_wins"], free["vs_ours_losses"]) == (1, 7)
    assert free["role"] == "rival" and free["recipe"] == "pinch_cube"
    ours = next(r for r in records if r["policy"] == "score_det")
    assert "vs_ours_wins" not in ours and ours["label"] == "SCORE" and "action_error" not in ours
    base = next(r for r in records if r["policy"] == "base")
    assert (base["held_out_loss"], base["action_error"]) == (0.5, 0.25)


def test_rivals_are_compared_with_what_learned_in_their_own_twin() -> None:
    wide = {"domain": "twin_randomised"}
    methods = [
        {"name": "score", "role": "ours"},
        {"name": "score_wide", "method": "score", "role": "ours", **wide},
        {"name": "free", "method": "unconstrained"},
        {"name": "free_wide", "method": "unconstrained", **wide},
        {"name": "free_elsewhere", "method": "unconstrained", "domain": "twin_off_centre"},
    ]
    found = parse_experiment(
        {"tasks": ["pinch_cube"], "robots": [1], "method": methods, "description": "D"}, "e.toml"
    )
    assert [compared_with(found, method["name"]) for method in methods] == [
        "score",
        "score",
        "score",
        "score_wide",
        "score",
    ]
    assert compared_with(found, "references") == "score"


def test_arms_and_the_best_rival(experiment: Experiment, left: Path) -> None:
    found = arms(gather(experiment, plan(experiment), left / "runs").records)
    assert [arm.variant for arm in found] == ["base", "base_z0", "score", "free", "bc_1", "bc_100"]
    assert our_arm(found).policy == "score_det" and best_rival(found).variant in ("bc_1", "bc_100")
    rows = {row[0]: row for row in headline(found).rows}
    assert rows["SCORE"][1].startswith("90.0 [")
    assert rows["free"][4].startswith("+60.0 [") and rows["free"][4].endswith("p = 0.004, 2 of 2")  # 14 : 2 episodes
    assert rows["free"][5:] == ("70.0", "40.0", "50.0")  # stops %, force, off support %
    assert [row[0] for row in sweep(found, "bc").rows] == ["1", "100"]


def test_a_rival_that_was_tried_in_part_is_not_the_best(experiment: Experiment, left: Path) -> None:
    records = gather(experiment, plan(experiment), left / "runs").records
    found = arms(r for r in records if not (r["variant"].startswith("bc") and r["robot_seed"] == 2))
    assert best_rival(found).variant == "free"


def test_the_reports_say_it(experiment: Experiment, left: Path) -> None:
    findings = gather(experiment, plan(experiment), left / "runs")
    page = write_reports(left, experiment, findings, [{"stage": "steer", "jobs": 2, "median_s": 1.0, "total_s": 2.0}])
    text, html = (left / "report.md").read_text(), page.read_text()
    assert "SCORE succeeds in 90.0 [" in text and "The best rival with hindsight, bc" in text
    assert "| **SCORE** |" in text and "## Sweep: bc" in text and "## Support in the proxy" in text
    assert html.count("<svg") == 6  # success, sweep, learning, support, force, stops
    assert not [link for link in ('src="http', 'href="http', "url(http") if link in html]
    assert len(re.findall("<table>", html)) >= 8
    assert read_results(left / "result.json") == findings.records
    assert (left / "curves.json").exists() and len(findings.curves) == 2 * 4


def test_an_unfinished_experiment_is_reported_too(experiment: Experiment, left: Path, tmp_path: Path) -> None:
    some = [job for job in plan(experiment) if job.method in (None, "references")]
    findings = gather(experiment, some, left / "runs")
    write_reports(tmp_path, experiment, findings, [], missing=["x/y: failed"])
    text = (tmp_path / "report.md").read_text()
    assert "has not been evaluated in the proxy yet" in text and "- x/y: failed" in text
    with pytest.raises(ScoreError, match="nothing to report yet"):
        gather(experiment, some[:2], left / "runs")


def test_costs_are_taken_from_what_is_most_alike(experiment: Experiment) -> None:
    jobs = plan(experiment)
    steers = [job for job in jobs if job.stage == "steer"]
    name = steers[0].name  # score, robot 1
    records = {name: JobRecord(name, "done", "", 1, "here", 100.0, "")}
    states = {job.name: "done" if job.name in records else "ready" for job in jobs}
    left_s, unknown = remaining_s(steers, records, states)
    assert (left_s, unknown) == (100.0 * (len(steers) - 1), 0)
    assert remaining_s(jobs, records, states)[1] == len(jobs) - len(steers)
    assert cost_table(jobs, records) == [{"stage": "steer", "jobs": 1, "median_s": 100.0, "total_s": 100.0}]
