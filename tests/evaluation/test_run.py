"""An evaluation's run directory: files, resume, and what is read back."""

from __future__ import annotations

from pathlib import Path

import pytest
from walk import BACKWARD, FORWARD, RANDOM, STILL, Walk

from score_rl.core.errors import ScoreError
from score_rl.core.runs import start_run
from score_rl.evaluation import run as evaluation
from score_rl.evaluation.results import Labels, read_results
from score_rl.evaluation.run import EvaluateConfig, read_episodes, read_traces, run_evaluation

DECIDERS = {"base": RANDOM, "base_z0": STILL, "score_det": FORWARD}
LABELS = {name: Labels("walk", "score" if "score" in name else "base", name, "line") for name in DECIDERS}
CONFIG = EvaluateConfig(episodes=6, first_seed=30, num_envs=4, traced=2)


def play(directory: Path, overwrite: bool = False) -> list[dict]:
    run = start_run(directory, "evaluate", CONFIG, {}, overwrite=overwrite)
    records = run_evaluation(Walk(4), DECIDERS, LABELS, 2, CONFIG, run)
    run.finish({})
    return records


def test_files_and_comparisons(tmp_path: Path) -> None:
    records = play(tmp_path / "run")
    assert records == read_results(tmp_path / "run" / "result.json")
    zero, score = records[1], records[2]
    assert (score["n"], score["successes_end"], score["first_seed"]) == (6, 6, 30)
    assert (zero["successes_end"], zero["timeouts"]) == (0, 6)
    assert (score["vs_base_z0_wins"], score["vs_base_z0_losses"], score["vs_base_z0_difference"]) == (6, 0, 1.0)
    assert "vs_base_difference" not in records[0]
    episodes = read_episodes(tmp_path / "run")
    assert [e.seed for e in episodes["score_det"]] == list(range(30, 36))
    traces, names = read_traces(tmp_path / "run")
    assert names == ["dx"] and traces["score_det"]["action"].shape[0] == 2
    assert traces["base"]["latent_norm2"].shape[0] == 6


def test_an_interrupted_evaluation_plays_only_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = play(tmp_path / "complete")
    played: list[object] = []
    real = evaluation.evaluate

    def failing(world, decider, *others):
        played.append(decider)
        if decider is STILL and played.count(STILL) == 1:
            raise KeyboardInterrupt
        return real(world, decider, *others)

    monkeypatch.setattr(evaluation, "evaluate", failing)
    with pytest.raises(KeyboardInterrupt):
        play(tmp_path / "cut")
    torn = (tmp_path / "cut" / "episodes.jsonl").read_text() + '{"policy": "base_z0", "see'
    (tmp_path / "cut" / "episodes.jsonl").write_text(torn)
    assert play(tmp_path / "cut") == complete
    assert played == [RANDOM, STILL, STILL, FORWARD]


def test_policies_that_do_not_fit_are_refused_before_anything_is_played(tmp_path: Path) -> None:
    run = start_run(tmp_path / "run", "evaluate", CONFIG, {})
    with pytest.raises(ScoreError, match="1 to 2 can run"):
        run_evaluation(Walk(4), {"base": BACKWARD}, LABELS, 3, CONFIG, run)
    assert not (tmp_path / "run" / "episodes.jsonl").exists()
