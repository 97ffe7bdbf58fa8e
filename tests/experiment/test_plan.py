"""The jobs of an experiment: how many, in which order, and what makes one another one."""

from __future__ import annotations

from dataclasses import replace

from score_rl.pipeline.experiment.definition import Experiment, parse_experiment
from score_rl.pipeline.experiment.plan import plan

METHODS = [
    {"name": "score", "role": "ours"},
    {"name": "free", "method": "unconstrained", "twin_stop_n": 0.0, "twin_calibration": 0.5},
    {"name": "bc", "method": "bc_regularized", "demonstrations": True},
    {"name": "best_of_n", "policy": "best_of_n", "role": "control"},
]
TABLE = {"tasks": ["pinch_cube"], "recipe": "debug", "robots": [1, 2], "training_seeds": [0, 1], "method": METHODS}


def experiment(**changes: object) -> Experiment:
    return parse_experiment({**TABLE, **changes}, "test.toml")


def test_every_job_stands_behind_what_it_needs() -> None:
    jobs = plan(experiment())
    # Per robot: 3 shared stages, 3 evaluations of the references, and per method and seed 1 + 3.
    assert len(jobs) == 2 * (3 + 3 + 4 * 2 * 4)
    seen: set[str] = set()
    for job in jobs:
        assert set(job.needs) <= seen and job.name not in seen
        seen.add(job.name)
    methods = [job.method for job in jobs if job.method not in (None, "references")]
    assert list(dict.fromkeys(methods)) == ["score", "free", "bc", "best_of_n"]


def test_a_method_may_be_tried_on_a_part_of_the_robots() -> None:
    some = {"name": "free", "method": "unconstrained", "tasks": ["pinch_cube"], "robots": [2]}
    jobs = plan(experiment(method=[{"name": "score", "role": "ours"}, some], training_seeds=[0]))
    assert len(jobs) == 2 * (3 + 3 + 4) + 4
    assert {job.robot for job in jobs if job.method == "free"} == {2}


def test_what_a_job_is_given() -> None:
    jobs = {job.name: job for job in plan(experiment(evaluation={"support": ["proxy"]}))}
    collect = jobs["pinch_cube/robot-2/demonstrations"]
    assert collect.settings.robot_seed == 2 and collect.settings.demonstrations.seed == 0
    steer = jobs["pinch_cube/robot-2/bc/seed-1/steering"]
    assert steer.settings.learner.seed == 1 and steer.settings.method == "bc_regularized"
    assert steer.needs == (
        "pinch_cube/robot-2/base",
        "pinch_cube/robot-2/calibration",
        "pinch_cube/robot-2/demonstrations",
    )
    for name in ("steering", "twin"):
        free = jobs[f"pinch_cube/robot-1/free/seed-0/{name}"]
        assert free.twin_stop_n == 0.0 and free.twin_calibration == 0.5
    proxy, twin = (jobs[f"pinch_cube/robot-2/score/seed-1/{name}"] for name in ("proxy", "twin"))
    assert proxy.settings.robot_seed == 2 and twin.settings.robot_seed == 0 and twin.settings.world == "twin"
    assert proxy.settings.policies == ("stoch", "det") and proxy.settings.evaluation.support
    assert proxy.settings.execute_steps is None and not twin.settings.evaluation.support
    assert jobs["pinch_cube/robot-2/best_of_n/seed-1/proxy"].settings.policies == ("best_of_n",)
    references = jobs["pinch_cube/robot-2/references/proxy_raw"]
    assert references.settings.policies == ("base", "base_z0") and references.settings.execute_steps == 8


def test_a_changed_setting_changes_the_jobs_behind_it_and_no_others() -> None:
    before = {job.name: job.digest for job in plan(experiment())}
    after = {job.name: job.digest for job in plan(experiment(settings={"calibrate.fit.fit_episodes": 5}))}
    changed = {name.split("/", 2)[2] for name in before if before[name] != after[name]}
    unchanged = {name.split("/", 2)[2] for name in before if before[name] == after[name]}
    assert unchanged == {"demonstrations", "base"}
    assert "calibration" in changed and "score/seed-0/proxy" in changed
    assert {job.name: job.digest for job in plan(experiment())} == before


def test_labels_do_not_make_another_job() -> None:
    named = experiment()
    renamed = replace(named, methods=(replace(named.methods[0], label="SCORE"), *named.methods[1:]), description="x")
    assert [job.digest for job in plan(named)] == [job.digest for job in plan(renamed)]
