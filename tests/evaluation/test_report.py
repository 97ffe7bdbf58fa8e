"""The report: complete, self-contained, and content without OpenGL, training or calibration."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from walk import FORWARD, RANDOM, STILL, Walk

from score_rl.core.errors import ScoreError
from score_rl.core.files import JsonLines
from score_rl.core.runs import start_run
from score_rl.evaluation.results import Labels
from score_rl.evaluation.run import EvaluateConfig, read_evaluation, run_evaluation
from score_rl.pipeline.stages import Evaluated
from score_rl.report import charts, page
from score_rl.report.page import ReportConfig, headline, number, percent, read, write_report
from score_rl.report.stages import describe
from score_rl.report.video import check_gl, render_videos


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation of three policies on a line."""
    config = EvaluateConfig(episodes=5, num_envs=5, traced=2)
    deciders = {"base": RANDOM, "base_z0": STILL, "score_det": FORWARD}
    where = {"protective_stop_n": 30.0, "not_applied": ("cup.<drag>",)}
    labels = {name: Labels("walk", "base", name, "<line>", **where) for name in deciders}
    run = start_run(tmp_path_factory.mktemp("evaluation") / "run", "evaluate", config, {})
    run_evaluation(Walk(5), deciders, labels, 2, config, run)
    run.finish({})
    return run.directory


@pytest.mark.slow
def test_the_page_is_complete_and_needs_nothing_else(evaluated: Path, tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "steering" / "metrics.jsonl")
    for step in range(1, 9):
        log.append({"control_steps": 1000 * step, "success": step / 10})
    remarks = write_report(
        tmp_path / "report.html", ReportConfig((evaluated, evaluated), steering=tmp_path / "steering")
    )
    page = (tmp_path / "report.html").read_text()
    assert remarks == []  # this world cannot be drawn at all, so nothing is missing
    for heading in ("Results", "Success", "Learning", "Contact forces", "Latents", "Actions"):
        assert f"<h2>{heading}</h2>" in page
    assert "SCORE succeeds in 100 % of episodes" in page
    told = re.findall(r'<svg role="img" aria-label="[^"]{20,}"', page)
    assert len(told) == page.count("<svg") == page.count("<figure>")
    assert page.count("In &lt;line&gt;.</figcaption>") >= 4 and "points (won : lost)" in page
    assert "protective stops</span>" in page
    assert "&lt;line&gt;" in page and "<line>" not in page
    assert page.count("<svg") >= 5
    assert page.count("left out, since the engine cannot represent it: cup.&lt;drag&gt;") == 2
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page) and "$body" not in page


def test_a_world_without_a_protective_stop_has_no_stops(evaluated: Path) -> None:
    found = read(evaluated)
    assert "protective stops</span>" in headline(found) and "<td>0</td></tr>" in page.results_table([found])
    records = [{**record, "protective_stop_n": None} for record in found.records]
    found = replace(found, records=records)
    assert "protective stops</span>" not in headline(found) and "<td>–</td></tr>" in page.results_table([found])


def test_a_pair_of_videos_stays_together(evaluated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(evaluated)
    path, policies = np.zeros((2, 4, 3)), ("base", "score_det")
    found = replace(found, traces={name: {"qpos": path} for name in policies}, episodes={
        name: next(iter(found.episodes.values())) for name in policies})  # fmt: skip
    monkeypatch.setattr(page, "render_videos", lambda task, clips: ({name: b"film" for name in clips}, ""))
    section, remark = page._videos(found, 2)
    pairs = section.split('<div class="films">')[1:]
    assert remark == "" and len(pairs) == 2
    for pair in pairs:
        assert [pair.count(text) for text in ("<video", 'aria-label="base policy', 'aria-label="SCORE')] == [2, 1, 1]


def test_a_base_policy_alone_has_a_report_too(evaluated: Path, tmp_path: Path) -> None:
    run = start_run(tmp_path / "run", "evaluate", EvaluateConfig(), {})
    config = EvaluateConfig(episodes=3, num_envs=3, traced=0)
    run_evaluation(Walk(3), {"base": RANDOM}, {"base": Labels("walk", "base", "base", "line")}, 1, config, run)
    write_report(tmp_path / "report.html", ReportConfig((tmp_path / "run",)))
    assert "<h1>Evaluation</h1>" in (tmp_path / "report.html").read_text()


def test_the_terminal_names_what_the_world_did_without(evaluated: Path) -> None:
    records = read_evaluation(evaluated)
    assert [record["not_applied"] for record in records] == [["cup.<drag>"]] * 3
    lines = [line for line in describe(Evaluated(evaluated, False, records)) if isinstance(line, str)]
    assert lines == ["  left out, since the engine cannot represent it: cup.<drag>"]
    records = [{**record, "not_applied": []} for record in records]
    assert not [line for line in describe(Evaluated(evaluated, False, records)) if isinstance(line, str)]


def test_missing_inputs_are_named(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match="at least one evaluation"):
        write_report(tmp_path / "report.html", ReportConfig(()))
    with pytest.raises(ScoreError, match="nowhere"):
        write_report(tmp_path / "report.html", ReportConfig((tmp_path / "nowhere",)))
    assert not (tmp_path / "report.html").exists()


@pytest.mark.slow
def test_without_opengl_the_reason_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "none_such")
    videos, reason = render_videos("pinch_cube", {"0-base": np.zeros((2, 30))})
    assert videos == {} and "none_such" in reason and "\n" not in reason
    assert check_gl() and "\n" not in check_gl()


def test_numbers_for_people() -> None:
    record = {"successes_end": 185, "n": 200}
    assert percent(record) == "92.5 %"
    assert percent({"successes_end": 100, "n": 200}) == "50 %"
    assert number(None) == "–" and number(48.94) == "48.9"


def test_smoothing_keeps_the_ends_honest() -> None:
    assert charts.smooth([1, 1, 1, 1]).tolist() == [1, 1, 1, 1]
    assert charts.smooth([0, 3, 0], window=3).tolist() == [1.5, 1, 1.5]


def test_latents_are_seen_along_the_steering() -> None:
    prior = np.random.default_rng(0).normal(size=(50, 2, 3))
    steered = 0.01 * prior + np.array([0, 0, 0, 0, 0, 2.0]).reshape(2, 3)
    axes = charts.principal_axes({"base": prior, "score_det": steered})
    assert np.allclose(axes.T @ axes, np.eye(2), atol=1e-6)
    assert abs(axes[5, 0]) > 0.99


def test_success_over_time_ends_at_the_success_rate(evaluated: Path) -> None:
    from score_rl.evaluation.run import read_episodes

    episodes = read_episodes(evaluated)["score_det"]
    late = [replace(e, steps_to_success=None, success_end=False) for e in episodes]
    assert charts.success_over_time({"score_det": episodes}) != charts.success_over_time({"score_det": late})
