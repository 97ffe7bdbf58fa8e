"""The jobs of an experiment and what each waits for. A job's name is also its run directory, below `runs/`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from score_rl.core.files import to_plain
from score_rl.evaluation.run import EvaluateConfig
from score_rl.pipeline.experiment.definition import (
    EVALUATIONS,
    REFERENCE_POLICIES,
    Experiment,
    Method,
    steer_settings,
)
from score_rl.pipeline.experiment.job import REFERENCES, Job
from score_rl.tasks.recipe import Recipe
from score_rl.tasks.settings import EvaluateSettings


def plan(experiment: Experiment) -> list[Job]:
    """All jobs, every one behind those that it needs.

    Shared stages first, then method by method over all tasks and robots, so that an interrupted experiment has
    complete comparisons of its first methods.
    """
    jobs: dict[str, Job] = {}
    cells = experiment.cells()
    recipes = {task: experiment.recipe_of(task) for task in experiment.tasks}
    for task, robot in cells:
        for job in _shared(recipes[task], task, robot):
            _add(jobs, job)
    for task, robot in cells:
        for job in _evaluations(experiment, recipes[task], task, robot, None, None):
            _add(jobs, job)
    for method in experiment.methods:
        for seed in experiment.training_seeds:
            for task, robot in experiment.cells(method):
                _add(jobs, _steering(recipes[task], task, robot, method, seed))
                for job in _evaluations(experiment, recipes[task], task, robot, method, seed):
                    _add(jobs, job)
    return list(jobs.values())


def _add(jobs: dict[str, Job], job: Job) -> None:
    """Store a job with its digest."""
    content = {**vars(job), "needs": [jobs[name].digest for name in job.needs]}
    text = json.dumps(to_plain(content), sort_keys=True)
    jobs[job.name] = replace(job, digest=hashlib.sha256(text.encode()).hexdigest())


def _shared(recipe: Recipe, task: str, robot: int) -> Iterator[Job]:
    """What all methods of a task and robot start from."""
    root = f"{task}/robot-{robot}"

    def job(name: str, stage: str, settings: Any, *needs: str) -> Job:
        return Job(f"{root}/{name}", stage, settings, tuple(f"{root}/{n}" for n in needs), "", task, robot)

    demonstrations = replace(recipe.collect.demonstrations, seed=0)
    training = replace(recipe.pretrain.training, seed=0)
    collect = replace(recipe.collect, robot_seed=robot, demonstrations=demonstrations)
    yield job("demonstrations", "collect", collect)
    yield job("base", "pretrain", replace(recipe.pretrain, training=training), "demonstrations")
    yield job("calibration", "calibrate", recipe.calibrate, "demonstrations")


def _steering(recipe: Recipe, task: str, robot: int, method: Method, seed: int) -> Job:
    root = f"{task}/robot-{robot}"
    needs = (f"{root}/base", f"{root}/calibration") + ((f"{root}/demonstrations",) if method.demonstrations else ())
    return Job(
        name=f"{root}/{method.name}/seed-{seed}/steering",
        stage="steer",
        settings=steer_settings(recipe, method, seed),
        needs=needs,
        digest="",
        task=task,
        robot=robot,
        method=method.name,
        training_seed=seed,
        twin_stop_n=method.twin_stop_n,
        twin_calibration=method.twin_calibration,
        demonstrations=method.demonstrations,
    )


def _evaluations(
    experiment: Experiment, recipe: Recipe, task: str, robot: int, method: Method | None, seed: int | None
) -> Iterator[Job]:
    """One job per evaluation, of a trained method or (None) of the policies that need no training."""
    root = f"{task}/robot-{robot}"
    folder = f"{root}/{REFERENCES}" if method is None else f"{root}/{method.name}/seed-{seed}"
    for evaluation in EVALUATIONS:
        trained = f"{folder}/steering" if method is not None else f"{root}/calibration"
        yield Job(
            name=f"{folder}/{evaluation}",
            stage="evaluate",
            settings=_evaluate_settings(experiment, recipe, robot, evaluation, method),
            needs=(f"{root}/base", trained),
            digest="",
            task=task,
            robot=robot,
            method=REFERENCES if method is None else method.name,
            training_seed=seed,
            evaluation=evaluation,
            twin_stop_n=None if method is None else method.twin_stop_n,
            twin_calibration=1.0 if method is None else method.twin_calibration,
        )


def _policies(method: Method, sampled: bool) -> tuple[str, ...]:
    """What of a method is evaluated."""
    return ("stoch", "det") if sampled and method.policy == "det" else (method.policy,)


def _evaluate_settings(
    experiment: Experiment, recipe: Recipe, robot: int, evaluation: str, method: Method | None
) -> EvaluateSettings:
    """The twin is one robot by itself; in the proxy the robot of the demonstrations is drawn."""
    amounts, twin, sampled = experiment.amounts, evaluation == "twin", evaluation in experiment.amounts.stochastic
    amount = EvaluateConfig(
        episodes=amounts.twin_episodes if twin else amounts.proxy_episodes,
        first_seed=amounts.first_seed,
        num_envs=amounts.num_envs,
        traced=amounts.traced,
        support=evaluation in amounts.support,
        support_episodes=amounts.support_episodes,
    )
    return replace(
        recipe.evaluate,
        world="twin" if twin else recipe.evaluate.world,
        robot_seed=0 if twin else robot,
        # A trained policy knows how many steps of a chunk it was trained with.
        execute_steps=recipe.steer.learner.execute_steps if method is None else None,
        policies=REFERENCE_POLICIES if method is None else _policies(method, sampled),
        evaluation=amount,
    )
