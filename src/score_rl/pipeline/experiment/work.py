"""The work of a job: its stage, in the worlds that the job asks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from score_rl.core.run_record import read_run
from score_rl.pipeline import stages
from score_rl.pipeline.audit import audit
from score_rl.pipeline.experiment.job import Job
from score_rl.real2sim.partial import partly_calibrated
from score_rl.real2sim.settings import DOMAIN_FILE
from score_rl.sim.domain import Domain, ProtectiveStop, load_domain, save_domain
from score_rl.sim.open import domain_file
from score_rl.sim.task import get_task


def run_job(job: Job, out: Path) -> None:
    """Run the stage of a job; what it left earlier is reused or resumed."""
    torch.set_num_threads(1)  # figures must not depend on how many processes there are
    target = out / "runs" / job.name
    at = {role: out / "runs" / name for role, name in job.inputs.items()}
    at |= {role: Path(path) for role, path in job.given.items()}
    if job.stage == "collect":
        stages.collect(job.settings, target)
    elif job.stage == "pretrain":
        stages.pretrain(job.settings, at["dataset"], target)
    elif job.stage == "calibrate":
        stages.calibrate(job.settings, at["dataset"], target)
    elif job.stage == "steer":
        worlds = tuple(str(twin_file(job, out)) if world == "twin" else world for world in job.settings.worlds)
        learn = replace(job.settings, worlds=worlds)
        stages.steer(learn, at["policy"], target, dataset=at.get("dataset"), start=at.get("start"))
    elif job.stage == "evaluate":
        settings = replace(job.settings, world=str(world_file(job, out)))
        stages.evaluate(settings, at["policy"], target, steering=at.get("steering"))
    else:
        settings = replace(job.settings, domain=str(at["calibration"] / DOMAIN_FILE))
        audit(settings, at["policy"], target, steering=at.get("steering"))


def world_file(job: Job, out: Path) -> Path | str:
    """The world of an evaluation: a shipped name, or a domain file that is made where necessary."""
    if job.evaluation == "twin":
        return twin_file(job, out)
    world = job.settings.world
    if job.evaluation == "proxy":
        return world
    return _written(job, out, f"{Path(world).stem}_raw", with_stop(load_domain(world), 0.0), Path(world).name)


def twin_file(job: Job, out: Path) -> Path:
    """The calibrated twin of a job's robot, or the variation of it, or another domain, that the job asks for."""
    calibration, twin = out / "runs" / job.inputs["calibration"], job.twin
    path = domain_file(twin.domain) if twin.domain else calibration / DOMAIN_FILE
    if twin.calibration < 1:
        settings = read_run(calibration)[1]["settings"]
        start, parameters = load_domain(settings["world"]), get_task(settings["task"]).parameters
        part = partly_calibrated(start, load_domain(path), twin.calibration, parameters)
        path = _written(job, out, f"{path.stem}_calibrated_{twin.calibration:g}", part, path.name)
    if twin.stop_n is not None:
        stopped = with_stop(load_domain(path), twin.stop_n)
        path = _written(job, out, f"{path.stem}_stop_{twin.stop_n:g}n", stopped, path.name)
    return path


def with_stop(domain: Domain, force_n: float) -> Domain:
    """A domain that differs in its protective stop only (0: none)."""
    return replace(domain, protective_stop=ProtectiveStop(force_n, domain.protective_stop.filter_s))


def _written(job: Job, out: Path, name: str, domain: Domain, origin: str) -> Path:
    """A domain file of this job alone, so that no other process writes it at the same time."""
    path = out / "domains" / job.name / f"{name}.toml"
    save_domain(path, replace(domain, name=name), {"from": origin})
    return path
