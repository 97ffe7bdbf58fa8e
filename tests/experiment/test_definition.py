"""Experiment files: what they say, and that what they cannot say is an error before any work."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from score_rl.core.errors import ScoreError
from score_rl.pipeline.experiment.file import load_experiment, parse_experiment
from score_rl.pipeline.experiment.settings import changed
from score_rl.tasks.recipe import get_recipe

ROOT = Path(__file__).parents[2]
METHOD = {"name": "score", "role": "ours"}
MINIMAL: dict[str, Any] = {"tasks": ["pinch_cube"], "recipe": "debug", "robots": [1], "method": [METHOD]}


def parsed(**changes: Any) -> Any:
    return parse_experiment({**MINIMAL, **changes}, "test.toml")


def test_the_smallest_file() -> None:
    experiment = parsed()
    assert experiment.name == "test" and experiment.training_seeds == (0,)
    (method,) = experiment.methods
    assert (method.method, method.label, method.policy) == ("score", "score", "det")


def test_settings_reach_recipes_and_methods() -> None:
    method = {"name": "bc", "method": "bc_regularized", "settings": {"steer.bc_regularized.coefficient": 5}}
    experiment = parsed(
        settings={"steer.control_steps": [64], "steer.learner.ppo.learning_rate": 1},
        task_settings={"pinch_cube": {"steer.control_steps": [128]}},
        method=[method],
    )
    recipe = experiment.recipe_of("pinch_cube")
    assert recipe.steer.control_steps == (128,)
    rate = recipe.steer.learner.ppo.learning_rate
    assert rate == 1.0 and isinstance(rate, float)
    settings = experiment.recipe_of("pinch_cube", experiment.methods[0], 7).steer
    assert settings.method == "bc_regularized" and settings.learner.seed == 7
    assert settings.bc_regularized.coefficient == 5.0 and settings.control_steps == (128,)


def test_what_policies_see_is_one_key() -> None:
    """Settings of the file come after it, so that they may change what it chose."""
    for sight in ("pose", "cloud"):
        assert parsed(observation=sight).recipe_of("pinch_cube") == get_recipe("pinch_cube", "debug", sight)
    seen = parsed(observation="cloud", settings={"pretrain.training.draws": 3}).recipe_of("pinch_cube")
    assert seen.pretrain.training.draws == 3 and seen.collect.observation == "cloud"
    assert parsed().recipe_of("pinch_cube") == get_recipe("pinch_cube", "debug")


def test_a_sweep_is_one_method_per_value() -> None:
    entry = {"name": "bc", "method": "bc_regularized", "label": "BC"}
    methods = parsed(method=[{**entry, "sweep": {"steer.bc_regularized.coefficient": [0.5, 10.0]}}]).methods
    assert [m.name for m in methods] == ["bc_0p5", "bc_10"]
    assert [m.label for m in methods] == ["BC, 0.5", "BC, 10"]
    assert [(m.sweep, m.sweep_value) for m in methods] == [("bc", 0.5), ("bc", 10.0)]
    assert methods[1].settings == {"steer.bc_regularized.coefficient": 10.0}


def test_sweeps_of_the_file_and_of_a_method_are_combined() -> None:
    entry = {"name": "free", "method": "unconstrained", "sweep": {"steer.unconstrained.form": ["chunk", "per_step"]}}
    swept = {"pretrain.training.steps": [10, 20]}
    experiment = parsed(method=[*MINIMAL["method"], entry], sweep=swept)
    assert [m.name for m in experiment.methods] == [
        "score_10", "score_20", "free_10_chunk", "free_10_per_step", "free_20_chunk", "free_20_per_step",
    ]  # fmt: skip
    last = experiment.methods[-1]
    assert last.label == "free, 20, per_step" and (last.sweep, last.sweep_value) == ("free", "20, per_step")
    assert experiment.methods[1].sweep_value == 20.0
    recipe = experiment.recipe_of("pinch_cube", last, 0)
    assert recipe.pretrain.training.steps == 20 and recipe.steer.unconstrained.form == "per_step"


def test_nothing_can_be_said_where_a_setting_allows_it() -> None:
    path = "pretrain.training.policy.flow.width"
    assert parsed(settings={path: "none"}).recipe_of("pinch_cube").pretrain.training.policy.flow.width is None
    with pytest.raises(ScoreError, match="learning_rate is 'none', expected a finite number"):
        parsed(settings={"pretrain.training.learning_rate": "none"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": ["debug"]}, "key 'task'; did you mean 'tasks'"),
        ({"name": "../claim"}, "name is '../claim', expected the name of a folder"),
        ({"method": 3}, "method is 3, expected a list"),
        ({"method": [3]}, "method[0] is 3, expected a mapping"),
        ({"sweep": []}, "sweep is [], expected a mapping"),
        ({"evaluation": [1]}, "evaluation is [1], expected a mapping"),
        ({"tasks": ["pinch"]}, "'pinch'; did you mean 'pinch_cube'"),
        ({"tasks": ["adroit_door"]}, "needs demonstrations from elsewhere"),
        ({"robots": []}, "robots must be a list of different entries"),
        ({"robots": [1, 1]}, "robots must be a list of different entries"),
        ({"robots": ["one"]}, "robots[0] is 'one', expected a whole number"),
        ({"method": []}, "method must be a list"),
        ({"method": [{"name": "x"}]}, "unknown method of x 'x'"),
        ({"method": [{"name": "Score", "method": "score"}]}, "small letters"),
        ({"method": [{"name": "base", "method": "score"}]}, "always evaluated"),
        ({"method": [{"name": "score", "role": "hero"}]}, "unknown test.toml: role of score 'hero'"),
        ({"method": [{"name": "score", "sweep": {"steer.num_envs": 3}}]}, "sweep of steer.num_envs must be a list"),
        ({"sweep": {"steer.num_env": [3]}}, "did you mean 'steer.num_envs'"),
        ({"sweep": {"calibrate.fit.fit_episodes": [2.5]}}, "fit_episodes is 2.5, expected a whole number"),
        ({"method": [{"name": "score", "sweep_value": 2}]}, "key 'sweep_value'"),
        ({"audit": [{"name": "a", "panel": {"size": [1.0]}}]}, "did you mean 'sizes'"),
        ({"audit": [{"name": "a", "methods": ["scor"]}]}, "did you mean 'score'"),
        ({"audit": [{"name": "a"}, {"name": "a"}]}, "audit must be a list of different entries"),
        ({"datasets": {"pinch_cube": "data"}}, "pinch_cube records its own demonstrations"),
        ({"evaluation": {"worlds": ["twins"]}}, "did you mean 'twin'"),
        ({"method": [{"name": "score", "twin_calibration": 2}]}, "twin_calibration is 2, expected 0 to 1"),
        (
            {"method": [{"name": "score", "twin_calibration": "half"}]},
            "twin_calibration is 'half', expected a finite number",
        ),
        ({"method": [{"name": "score", "domain": "twin_randomized"}]}, "did you mean 'twin_randomised'"),
        ({"method": [{"name": "score", "domain": "twin", "twin_calibration": 0.5}]}, "not both"),
        ({"method": [METHOD, {"name": "bc_regularized", "start": "scor"}]}, "did you mean 'score'"),
        ({"method": [{**METHOD, "start": "score"}]}, "start of score"),
        (
            {"robots": [1, 2], "method": [{**METHOD, "robots": [1]}, {"name": "residual", "start": "score"}]},
            "residual starts from score, not run on pinch_cube, robot 2",
        ),
        ({"method": [{"name": "score", "setings": {}}]}, "did you mean 'settings'"),
        ({"method": [{"name": "score", "settings": {"steer.learner.ppo.lerning_rate": 1}}]}, "ppo.learning_rate"),
        ({"settings": {"steer.num_envs": 1.5}}, "steer.num_envs is 1.5, expected a whole number"),
        ({"settings": {"stear.num_envs": 2}}, "did you mean 'steer.num_envs'"),
        ({"evaluation": {"stochastic": ["proxie"]}}, "did you mean 'proxy'"),
        ({"evaluation": {"proxy_episodes": 0}}, "proxy_episodes is 0, expected >= 1"),
        ({"evaluation": {"worlds": []}}, "worlds is [], expected >= 1 entries"),
        ({"settings": {"steer.learner.ppo.gamma": 2}}, "steer.learner.ppo.gamma is 2, expected 0 to 1"),
        ({"settings": {"steer.control_steps": [-1]}}, "steer.control_steps[0] is -1, expected"),
        ({"sweep": {"pretrain.training.steps": [0]}}, "pretrain.training.steps is 0, expected >= 1"),
        ({"method": [{"name": "score", "twin_stop_n": -1.0}]}, "twin_stop_n is -1.0, expected >= 0"),
        ({"audit": [{"name": "a", "panel": {"episodes": 0}}]}, "episodes is 0, expected >= 1"),
        ({"observation": "clouds"}, "unknown observation 'clouds'; did you mean 'cloud'"),
        ({"robots": [-1]}, "robots[0] is -1, expected 0 to"),
        ({"training_seeds": [1.5]}, "training_seeds[0] is 1.5, expected a whole number"),
        ({"method": [{**METHOD, "robots": [1, 1]}]}, "robots of score must be a list of different entries"),
        ({"method": [{**METHOD, "tasks": ["pinch_cube"] * 2}]}, "tasks of score must be a list of different entries"),
        ({"evaluation": {"worlds": ["twin", "twin"]}}, "[evaluation] worlds must be a list of different entries"),
        (
            {"sweep": {f"steer.{key}": list(range(1, 20)) for key in ("threads", "num_envs", "learner.seed")}},
            "the sweep stands for 6859 methods; 1000 are the most",
        ),
        ({"task_settings": {"push_ball": {}}}, "unknown test.toml: [task_settings] 'push_ball'"),
    ],
)
def test_what_makes_no_sense_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ScoreError, match=re.escape(message)):
        parsed(**changes)


def test_files_that_are_missing_or_broken(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match="does not exist"):
        load_experiment(tmp_path / "no.toml")
    (tmp_path / "broken.toml").write_text("= 1")
    with pytest.raises(ScoreError, match="is not valid TOML"):
        load_experiment(tmp_path / "broken.toml")


def test_changing_leaves_the_original_alone() -> None:
    recipe = get_recipe("pinch_cube", "debug")
    other = changed(recipe, "steer.num_envs", 3, "here")
    assert other.steer.num_envs == 3 and recipe.steer.num_envs == 8


@pytest.mark.parametrize("file", sorted((ROOT / "experiments").glob("*.toml")), ids=lambda path: path.name)
def test_the_shipped_experiments_are_valid(file: Path) -> None:
    assert load_experiment(file).methods


def test_the_claim_holds_what_it_must() -> None:
    claim = load_experiment(ROOT / "experiments" / "claim.toml")
    assert len(claim.tasks) == 3 and len(claim.robots) == 3 and claim.amounts.proxy_episodes >= 200
    sweep = [method.sweep_value for method in claim.methods if method.sweep == "bc_sweep"]
    assert len(sweep) == 5 and max(sweep) / min(sweep) == 1e4
    used = {method.method for method in claim.methods}
    assert used == {"score", "score_residual", "residual", "unconstrained", "bc_regularized", "best_of_n"}


def test_the_example_of_the_documents_is_valid() -> None:
    text = (ROOT / "docs" / "experiments.md").read_text()
    (example,) = re.findall(r"^```toml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    experiment = parse_experiment(tomllib.loads(example), "docs")
    stops = [method.twin_stop_n for method in experiment.methods if method.method == "unconstrained"]
    starts = [method.start for method in experiment.methods if method.start]
    assert starts == ["ticket_4000", "ticket_8000"]
    assert (
        stops == [0.0, 0.0] and len(experiment.methods) == 2 * (1 + 1 + 1 + 1 + 3 + 1) and len(experiment.audits) == 1
    )
