"""The jobs of an experiment: how many, in which order, and what makes one another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from score_rl.pipeline.experiment.definition import Experiment
from score_rl.pipeline.experiment.file import parse_experiment
from score_rl.pipeline.experiment.job import Twin, with_absolute_paths
from score_rl.pipeline.experiment.plan import plan
from score_rl.pipeline.experiment.work import twin_file
from score_rl.sim.domain import shipped_domains

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
    assert steer.inputs == {
        "policy": "pinch_cube/robot-2/base",
        "calibration": "pinch_cube/robot-2/calibration",
        "dataset": "pinch_cube/robot-2/demonstrations",
    }
    for name in ("steering", "twin"):
        free = jobs[f"pinch_cube/robot-1/free/seed-0/{name}"]
        assert free.twin == Twin(calibration=0.5, stop_n=0.0)
    proxy, twin = (jobs[f"pinch_cube/robot-2/score/seed-1/{name}"] for name in ("proxy", "twin"))
    assert proxy.settings.robot_seed == 2 and twin.settings.robot_seed == 0 and twin.settings.world == "twin"
    assert proxy.settings.policies == ("stoch", "det") and proxy.settings.evaluation.support
    assert proxy.settings.execute_steps is None and not twin.settings.evaluation.support
    assert jobs["pinch_cube/robot-2/best_of_n/seed-1/proxy"].settings.policies == ("best_of_n",)
    references = jobs["pinch_cube/robot-2/references/proxy_raw"]
    assert references.settings.policies == ("base", "base_z0") and references.settings.execute_steps == 4


def test_controls_are_evaluated_beside_the_references() -> None:
    jobs = {job.name: job for job in plan(experiment(settings={"evaluate.controls": ["base_tiled"]}))}
    found = {name: jobs[f"pinch_cube/robot-1/{name}/proxy"].settings for name in ("references", "score/seed-0")}
    assert found["references"].policies == ("base", "base_z0", "base_tiled")
    assert found["score/seed-0"].policies == ("stoch", "det")


def test_a_method_trains_in_a_domain_and_starts_from_another_method() -> None:
    ticket = {"name": "ticket", "method": "base_ticket", "policy": "base_ticket", "domain": "twin_randomised"}
    start = {"name": "score", "domain": "twin_randomised", "start": "ticket"}
    jobs = {job.name: job for job in plan(experiment(method=[ticket, start]))}
    folder = "pinch_cube/robot-2/score/seed-1"
    assert jobs[f"{folder}/steering"].inputs["start"] == "pinch_cube/robot-2/ticket/seed-1/steering"
    assert jobs[f"{folder}/steering"].twin == jobs[f"{folder}/twin"].twin == Twin(domain="twin_randomised")
    assert twin_file(jobs[f"{folder}/twin"], Path("out")) == shipped_domains()["twin_randomised"]


def test_a_changed_setting_changes_the_jobs_behind_it_and_no_others() -> None:
    before = {job.name: job.digest for job in plan(experiment())}
    after = {job.name: job.digest for job in plan(experiment(settings={"calibrate.fit.fit_episodes": 5}))}
    changed = {name.split("/", 2)[2] for name in before if before[name] != after[name]}
    unchanged = {name.split("/", 2)[2] for name in before if before[name] == after[name]}
    assert unchanged == {"demonstrations", "base"}
    assert "calibration" in changed and "score/seed-0/proxy" in changed
    assert {job.name: job.digest for job in plan(experiment())} == before


def test_methods_with_the_same_base_policy_share_it_and_others_have_their_own() -> None:
    """Two values of a setting of pretraining, for two methods: two further base policies, not four."""
    methods = [{"name": "score", "role": "ours"}, {"name": "best_of_n", "policy": "best_of_n"}]
    swept = {"pretrain.training.steps": [60, 70, 80]}  # 60 is the recipe's
    jobs = plan(experiment(method=methods, sweep=swept, robots=[1], training_seeds=[0]))
    bases = {job.name: job.settings.training.steps for job in jobs if job.stage == "pretrain"}
    assert sorted(bases.values()) == [60, 70, 80] and bases["pinch_cube/robot-1/base"] == 60
    assert sum(job.stage == "collect" for job in jobs) == sum(job.stage == "calibrate" for job in jobs) == 1
    used = {job.method: bases[job.inputs["policy"]] for job in jobs if job.stage in ("steer", "evaluate")}
    assert used == {
        "references": 60, "score_60": 60, "score_70": 70, "score_80": 80,
        "best_of_n_60": 60, "best_of_n_70": 70, "best_of_n_80": 80,
    }  # fmt: skip
    assert [job.name for job in jobs] == [
        job.name for job in plan(experiment(method=methods, sweep=swept, robots=[1], training_seeds=[0]))
    ]


def test_a_base_policy_can_be_what_is_compared() -> None:
    absolute = {"pretrain.training.policy.representation.action": "absolute"}
    methods = [{"name": "absolute", "method": "base", "settings": absolute}]
    jobs = plan(experiment(method=methods, robots=[1], evaluation={"worlds": ["twin"]}))
    assert [job.stage for job in jobs] == [
        "collect", "pretrain", "calibrate", "evaluate", "pretrain", "evaluate",
    ]  # fmt: skip
    (evaluation,) = (job for job in jobs if job.method == "absolute")
    assert evaluation.name == "pinch_cube/robot-1/absolute/twin" and evaluation.settings.policies == (
        "base",
        "base_z0",
    )


def test_a_base_policy_per_training_seed() -> None:
    jobs = {job.name: job for job in plan(experiment(base_per_seed=True, training_seeds=[3, 4], robots=[1]))}
    for seed in (3, 4):
        assert jobs[f"pinch_cube/robot-1/base-seed-{seed}"].settings.training.seed == seed
        for name in ("references", "score"):
            evaluation = jobs[f"pinch_cube/robot-1/{name}/seed-{seed}/proxy"]
            assert evaluation.inputs["policy"] == f"pinch_cube/robot-1/base-seed-{seed}"


def test_given_demonstrations_take_the_place_of_recorded_ones() -> None:
    method = {"name": "bc", "method": "bc_regularized", "demonstrations": True}
    door = {
        "tasks": ["adroit_door"],
        "recipe": "full",
        "robots": [0],
        "training_seeds": [0],
        "datasets": {"adroit_door": "data/door"},
    }
    jobs = {job.name: job for job in plan(experiment(**door, method=[method]))}
    assert [job.stage for job in jobs.values()] == ["pretrain", "evaluate", "steer", "evaluate"]
    steering = jobs["adroit_door/robot-0/bc/seed-0/steering"]
    assert steering.given == {"dataset": "data/door"} and steering.needs == ("adroit_door/robot-0/base",)
    assert with_absolute_paths(steering).given == {"dataset": str(Path("data/door").absolute())}


def test_audits_are_asked_of_every_policy_or_of_some() -> None:
    audits = [{"name": "joint", "panel": {"only": ["joint"]}}, {"name": "one", "methods": ["free"], "robots": [2]}]
    jobs = [job for job in plan(experiment(audit=audits, training_seeds=[0])) if job.stage == "audit"]
    assert [job.name for job in jobs if job.robot == 2] == [
        "pinch_cube/robot-2/references/audit-joint-base",
        "pinch_cube/robot-2/references/audit-joint-base_z0",
        "pinch_cube/robot-2/score/seed-0/audit-joint",
        "pinch_cube/robot-2/free/seed-0/audit-joint",
        "pinch_cube/robot-2/free/seed-0/audit-one",
        "pinch_cube/robot-2/bc/seed-0/audit-joint",
        "pinch_cube/robot-2/best_of_n/seed-0/audit-joint",
    ]
    policies = [job.settings.deployed for job in jobs if job.robot == 1]
    assert policies == ["base", "base_z0", "det", "det", "det", "best_of_n"]
    assert jobs[0].settings.panel.only == ("joint",) and set(jobs[0].inputs) == {"policy", "calibration"}
    assert set(jobs[-1].inputs) == {"policy", "calibration", "steering"}


def test_labels_do_not_make_another_job() -> None:
    named = experiment()
    renamed = replace(named, methods=(replace(named.methods[0], label="SCORE"), *named.methods[1:]), description="x")
    assert [job.digest for job in plan(named)] == [job.digest for job in plan(renamed)]
