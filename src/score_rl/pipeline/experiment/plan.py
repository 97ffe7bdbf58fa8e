"""The jobs of an experiment and what each waits for. A job's name is also its run directory, below `runs/`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from score_rl.core.files import to_plain
from score_rl.evaluation.run import EvaluateConfig
from score_rl.pipeline.experiment.definition import (
    REFERENCE_POLICIES,
    REFERENCES,
    Experiment,
    Method,
)
from score_rl.pipeline.experiment.job import Job, Twin
from score_rl.tasks.recipe import Recipe
from score_rl.tasks.settings import AuditSettings, EvaluateSettings


def plan(experiment: Experiment) -> list[Job]:
    """All jobs, every one behind those that it needs.

    Method by method over all tasks and robots, so that an interrupted experiment has complete comparisons of its
    first methods. What several methods need in the same form (demonstrations, base policy, calibration) is one job.
    """
    jobs: dict[str, Job] = {}
    for method in (REFERENCES, *experiment.methods):
        for seed in experiment.seeds(method):
            for task, robot in experiment.cells(method):
                _add_method(jobs, experiment, method, task, robot, seed)
    return list(jobs.values())


def _add_method(
    jobs: dict[str, Job], experiment: Experiment, method: Method, task: str, robot: int, seed: int | None
) -> None:
    recipe, folder = experiment.recipe_of(task, method, seed), f"{task}/robot-{robot}/{method.name}"
    folder += "" if seed is None else f"/seed-{seed}"
    base, inputs = _add_shared(jobs, experiment, recipe, task, robot, seed)
    twin = Twin(method.twin_calibration, method.twin_stop_n, method.domain)
    mine = Job(folder, "", None, task, robot, inputs, {}, method.name, seed, twin=twin)
    if method.trains:
        steering = replace(mine, name=f"{folder}/steering", stage="steer", settings=recipe.steer)
        if method.demonstrations:
            steering = replace(steering, inputs=inputs | base.inputs, given=base.given)
        if method.start:
            start = {"start": folder.replace(f"/{method.name}/", f"/{method.start}/") + "/steering"}
            steering = replace(steering, inputs=steering.inputs | start)
        mine = replace(mine, inputs=inputs | {"steering": _add(jobs, steering).name})
    for evaluation in experiment.amounts.worlds:
        if evaluation == "proxy" or recipe.real_to_sim:
            settings = _evaluate_settings(experiment, recipe, robot, evaluation, method)
            evaluate = replace(mine, stage="evaluate", evaluation=evaluation, settings=settings)
            _add(jobs, replace(evaluate, name=f"{folder}/{evaluation}"))
    for audit in (audit for audit in experiment.audits if audit.asks(task, robot, method)):
        for policy in (method.policy,) if method.trains else REFERENCE_POLICIES:
            settings = AuditSettings(recipe.task, "twin", policy, audit.panel)
            asked = replace(mine, stage="audit", settings=settings, evaluation=audit.name)
            _add(jobs, replace(asked, name=f"{folder}/audit-{audit.name}" + f"-{policy}" * (not method.trains)))


def _add_shared(
    jobs: dict[str, Job], experiment: Experiment, recipe: Recipe, task: str, robot: int, seed: int | None
) -> tuple[Job, dict[str, str]]:
    """(job of the base policy, which reads the demonstrations; role -> job of what steering starts from)."""
    root = f"{task}/robot-{robot}"
    base = f"{root}/base" + (f"-seed-{seed}" if experiment.base_per_seed else "")
    pretrain = Job(base, "pretrain", recipe.pretrain, task, robot)
    if not recipe.real_to_sim:
        pretrain = _add(jobs, replace(pretrain, given={"dataset": experiment.datasets[task]}), shared=True)
        return pretrain, {"policy": pretrain.name}
    collect = Job(f"{root}/demonstrations", "collect", replace(recipe.collect, robot_seed=robot), task, robot)
    inputs = {"dataset": _add(jobs, collect, shared=True).name}
    pretrain = _add(jobs, replace(pretrain, inputs=inputs), shared=True)
    calibrate = Job(f"{root}/calibration", "calibrate", recipe.calibrate, task, robot, inputs)
    return pretrain, {"policy": pretrain.name, "calibration": _add(jobs, calibrate, shared=True).name}


def _add(jobs: dict[str, Job], job: Job, shared: bool = False) -> Job:
    """Store a job with its digest. A shared one that was there in the same form already is that one."""
    what = {key: getattr(job, key) for key in ("stage", "settings", "given", "evaluation", "twin")}
    content = what | {"inputs": {role: jobs[name].digest for role, name in job.inputs.items()}}
    digest = hashlib.sha256(json.dumps(to_plain(content), sort_keys=True).encode()).hexdigest()
    if shared and jobs.get(job.name, job).digest not in ("", digest):
        job = replace(job, name=f"{job.name}-{digest[:8]}")
    return jobs.setdefault(job.name, replace(job, digest=digest))


def _evaluate_settings(
    experiment: Experiment, recipe: Recipe, robot: int, evaluation: str, method: Method
) -> EvaluateSettings:
    """The twin is one robot by itself; in the proxy the robot of the demonstrations is drawn."""
    amounts, twin = experiment.amounts, evaluation == "twin"
    amount = EvaluateConfig(
        episodes=amounts.twin_episodes if twin else amounts.proxy_episodes,
        first_seed=amounts.first_seed,
        num_envs=amounts.num_envs,
        traced=amounts.traced,
        support=evaluation in amounts.support,
        support_episodes=amounts.support_episodes,
    )
    sampled = evaluation in amounts.stochastic and method.policy == "det"
    policies = ("stoch", "det") if sampled else (method.policy,)
    return replace(
        recipe.evaluate,
        world="twin" if twin else recipe.evaluate.world,
        robot_seed=0 if twin else robot,
        # A trained policy knows how many steps of a chunk it was trained with.
        execute_steps=None if method.trains else recipe.steer.learner.execute_steps,
        policies=policies if method.trains else (*REFERENCE_POLICIES, *recipe.evaluate.controls),
        evaluation=amount,
    )
