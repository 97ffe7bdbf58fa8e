"""Support within an evaluation: fields per episode and record, resume, and the report's section."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from walk import FORWARD, Stroll, Walk

from score_rl.core.errors import ScoreError
from score_rl.core.runs import start_run
from score_rl.evaluation.results import Labels, read_results
from score_rl.evaluation.run import EvaluateConfig, read_episodes, read_traces, run_evaluation
from score_rl.evaluation.support.measure import kept_latents, kept_ranks
from score_rl.evaluation.support.meter import SupportConfig, SupportMeter
from score_rl.report.page import ReportConfig, write_report
from score_rl.steering.policy import BaseDecider

POLICY = Stroll()
CONFIG = EvaluateConfig(episodes=40, num_envs=16, traced=1, support=True)
DECIDERS = {"base": BaseDecider(POLICY), "base_z0": BaseDecider(POLICY, zero=True), "forward": FORWARD}
LABELS = {name: Labels("walk", "base", name, "line") for name in DECIDERS}


def play(directory: Path, config: EvaluateConfig = CONFIG) -> list[dict]:
    run = start_run(directory, "evaluate", config, {})
    meter = SupportMeter(POLICY, (-1.0,), (1.0,), SupportConfig(samples=99, inversions=100))
    return run_evaluation(Walk(16), DECIDERS, LABELS, 2, config, run, meter)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation with support."""
    directory = tmp_path_factory.mktemp("support") / "run"
    play(directory)
    return directory


def test_a_part_of_the_episodes_can_do(directory: Path, tmp_path: Path) -> None:
    play(tmp_path / "run", replace(CONFIG, support_episodes=3))
    some, every = read_episodes(tmp_path / "run"), read_episodes(directory)
    for policy, episodes in some.items():
        assert episodes[:3] == every[policy][:3]
        assert all(e.support_decisions is None and e.support_auc is None for e in episodes[3:])
        assert [e.success_end for e in episodes] == [e.success_end for e in every[policy]]


def test_fewer_than_no_episodes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match="support_episodes is -1"):
        play(tmp_path / "run", replace(CONFIG, support_episodes=-1))


def test_records_say_who_left_the_support(directory: Path) -> None:
    base, zero, forward = read_results(directory / "result.json")
    # Chunks are 0.5 + 0.1 z, so steps of 1 are five spreads away, and those of z = 0 are in the middle of all.
    assert forward["support_violation_rate"] == 1 and forward["support_auc"] == 1
    assert forward["support_step_violation_rate"] == 1 and forward["support_episode_violation_rate"] == 1
    assert base["support_violation_rate"] <= 0.05 and 0.4 < base["support_auc"] < 0.6
    assert base["support_violation_95"][0] <= 0.01 <= base["support_violation_95"][1]
    assert zero["support_violation_rate"] == 0 and zero["support_auc"] < base["support_auc"]
    assert base["support_n"] == sum(e.support_decisions for e in read_episodes(directory)["base"])
    # By hand: the latent of a step of 1 is 5 in every element, far beyond any base sample's.
    assert forward["support_latent_auc"] == 1 and forward["support_latent_converged"] == 1
    assert forward["support_latent_n"] < 99 and "support_latent_violation_rate" not in forward  # no 99 % quantile
    assert forward["support_latent_expansion"] == pytest.approx(10, rel=1e-2)
    assert base["support_latent_error_p95"] < 1e-5 and zero["support_latent_inside_rate"] == 1
    assert base["support_latent_violation_rate"] <= 0.08


def test_episodes_have_their_own_figures(directory: Path) -> None:
    episodes = read_episodes(directory)
    assert all(e.support_violation_rate == 1 and e.support_auc == 1 for e in episodes["forward"])
    assert [e.support_decisions for e in episodes["forward"][:3]] == [
        -(-e.steps // 2) for e in episodes["forward"][:3]
    ]
    mean = sum(e.support_violation_rate * e.support_decisions for e in episodes["base"])
    assert mean / sum(e.support_decisions for e in episodes["base"]) == pytest.approx(
        read_results(directory / "result.json")[0]["support_violation_rate"], abs=1e-3
    )


def test_traces_keep_the_measurement(directory: Path) -> None:
    traces, _ = read_traces(directory)
    ranks, latents = kept_ranks(traces["forward"]), kept_latents(traces["forward"])
    assert (ranks.chunk == 1).all() and latents.executed.mean().item() == pytest.approx(25, rel=1e-4)
    assert kept_ranks({}) is None and kept_latents({"support.chunk": ranks.chunk}) is None


@pytest.mark.slow
def test_a_resumed_evaluation_measures_only_what_is_missing(directory: Path, tmp_path: Path) -> None:
    whole = read_results(directory / "result.json")
    again = play(tmp_path / "again")
    assert again == [{**old, "command": new["command"], "commit": new["commit"]} for old, new in zip(whole, again)]
    log = tmp_path / "again" / "episodes.jsonl"
    log.write_text("".join(line + "\n" for line in log.read_text().splitlines()[:47]))
    assert play(tmp_path / "again") == again


@pytest.mark.slow
def test_the_report_has_a_section(directory: Path, tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", ReportConfig((directory,)))
    page = (tmp_path / "report.html").read_text()
    assert "<h2>Support</h2>" in page and "100.0 %" in page and "Inverting the flow" in page
