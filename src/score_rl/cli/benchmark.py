"""`score benchmark`: an experiment of many stages, in any number of processes, and its tables and report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import tyro
from rich.table import Table

from score_rl.cli.common import console, output
from score_rl.core.errors import ScoreError
from score_rl.core.runs import read_run
from score_rl.pipeline import stages
from score_rl.pipeline.experiment.board import DONE, ENDED, FAILED, SKIPPED, Board
from score_rl.pipeline.experiment.costs import cost_table, remaining_s
from score_rl.pipeline.experiment.definition import Experiment, load_experiment
from score_rl.pipeline.experiment.gather import gather
from score_rl.pipeline.experiment.job import Job
from score_rl.pipeline.experiment.plan import plan
from score_rl.pipeline.experiment.workers import SlurmConfig, run_here, submit
from score_rl.real2sim.calibrate import DOMAIN_FILE
from score_rl.real2sim.partial import partly_calibrated
from score_rl.report.experiment.page import write_reports
from score_rl.sim.domain import ProtectiveStop, load_domain, save_domain
from score_rl.sim.task import get_task


@dataclass(frozen=True)
class Benchmark:
    """Run an experiment: methods x tasks x robots, from demonstrations to tables and a report.

    Finished work is never repeated and interrupted work resumes, whatever ended it. Several calls on the same
    folder share the work. A failed job is reported, what needs it is skipped, and the rest goes on; the next call
    tries it again. OUT/report.html, OUT/report.md and OUT/result.json are made of what is done.
    """

    file: tyro.conf.Positional[Path]
    """Experiment file (TOML), e.g. benchmarks/claim.toml."""
    out: Path | None = None
    """Folder of all runs; by default runs/NAME, with the experiment's name."""
    processes: int = 1
    """Jobs that run side by side on this machine."""
    dry_run: bool = False
    """List the jobs with their states and the time that is left, and run none."""
    render: bool = False
    """Only make tables and report of what is done."""
    overwrite: bool = False
    """Delete the jobs that the folder holds with other settings, and run them again."""
    slurm: SlurmConfig = field(default_factory=SlurmConfig)
    """Slurm array instead of processes on this machine."""

    def run(self) -> Path | None:
        """The report's file; None where nothing was rendered."""
        experiment = load_experiment(self.file)
        out, jobs = Path(self.out or Path("runs") / experiment.name).absolute(), plan(experiment)
        if self.dry_run:
            show(Board(out, jobs))
            return None
        if not self.render:
            self._prepare(out, jobs)
            if self.slurm.workers:
                tasks = submit(out, jobs, run_job, self.slurm)
                console.print(f"{len(jobs)} jobs, submitted as {', '.join(tasks)}; `--render` makes the report")
                return None
            run_here(out, jobs, run_job, self.processes, console)
        board = Board(out, jobs)
        states = board.states()
        failed = [name for name, state in states.items() if state == FAILED]
        report = None
        if self.render or not failed or any(j.stage == "evaluate" and states[j.name] == DONE for j in jobs):
            report = render(experiment, board)
            console.print(f"report: {report}", highlight=False)
        if failed:
            raise ScoreError(
                f"{len(failed)} of {len(jobs)} jobs failed, first {failed[0]}; their logs: {out / 'logs'}"
            )
        return report

    def _prepare(self, out: Path, jobs: Sequence[Job]) -> None:
        """What has to be settled before any process starts."""
        board = Board(out, jobs)
        if self.overwrite:
            for name in board.remove_changed():
                console.print(f"deleted: {name}", highlight=False)
        board.check()
        for name in board.retry_failed():
            console.print(f"trying again: {name}", highlight=False)


def render(experiment: Experiment, board: Board) -> Path:
    """Write result.json, report.md and report.html of what is done. Raises ScoreError where nothing is."""
    states = board.states()
    counts = Counter(states.values())
    done = [job for job in board.jobs if states[job.name] == DONE]
    missing = [f"{name}: {state}" for name, state in states.items() if state in (FAILED, SKIPPED)]
    if counts[DONE] < len(states):
        console.print(f"[yellow]{counts[DONE]} of {len(states)} jobs are done; the report holds these[/yellow]")
    findings = gather(experiment, done, board.out / "runs")
    costs = cost_table(done, {job.name: board.record(job) for job in done})
    return write_reports(board.out, experiment, findings, costs, missing)


def run_job(job: Job, out: Path) -> None:
    """Run the stage of a job; what it left earlier is reused or resumed."""
    torch.set_num_threads(1)  # figures must not depend on how many processes there are
    runs = out / "runs"
    folder, target = runs / job.robot_folder, runs / job.name
    dataset, base = folder / "demonstrations", folder / "base"
    if job.stage == "collect":
        stages.collect(job.settings, target)
    elif job.stage == "pretrain":
        stages.pretrain(job.settings, dataset, target)
    elif job.stage == "calibrate":
        stages.calibrate(job.settings, dataset, target)
    elif job.stage == "steer":
        twin = str(world_file(job, out))
        worlds = tuple(twin if world == "twin" else world for world in job.settings.worlds)
        given = dataset if job.demonstrations else None
        stages.steer(replace(job.settings, worlds=worlds), base, target, dataset=given)
    else:
        steering = target.parent / "steering" if job.training_seed is not None else None
        settings = replace(job.settings, world=str(world_file(job, out)))
        stages.evaluate(settings, base, target, steering=steering)


def world_file(job: Job, out: Path) -> Path | str:
    """The world of a steering or an evaluation: a shipped name, or a domain file that is made where necessary."""
    if job.evaluation == "proxy":
        return job.settings.world
    if job.evaluation == "proxy_raw":
        return with_stop(job.settings.world, 0.0, out / "domains" / f"{Path(job.settings.world).stem}_raw.toml")
    twin = out / "runs" / job.robot_folder / "calibration" / DOMAIN_FILE
    if job.twin_calibration < 1:
        twin = with_calibration(twin, job.twin_calibration)
    if job.twin_stop_n is None:
        return twin
    return with_stop(twin, job.twin_stop_n, twin.with_name(f"{twin.stem}_stop_{job.twin_stop_n:g}n.toml"))


def with_stop(world: str | Path, force_n: float, path: Path) -> Path:
    """Write a domain that differs in its protective stop only (0: none)."""
    domain = load_domain(world)
    stop = ProtectiveStop(force_n, domain.protective_stop.filter_s)
    save_domain(path, replace(domain, name=path.stem, protective_stop=stop), {"from": str(Path(world).name)})
    return path


def with_calibration(twin: Path, share: float) -> Path:
    """Write the calibrated twin with a share of its calibration only."""
    _, config = read_run(twin.parent)
    start = load_domain(config["settings"]["world"])
    path = twin.with_name(f"{twin.stem}_calibrated_{share:g}.toml")
    part = partly_calibrated(start, load_domain(twin), share, get_task(config["settings"]["task"]).parameters)
    save_domain(path, replace(part, name=path.stem), {"from": twin.name})
    return path


def show(board: Board) -> None:
    """The jobs, their states, and the time that is left as far as it was measured."""
    states = board.states()
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 3, 0, 0))
    for column in ("job", "stage", "state", "s"):
        table.add_column(column, justify="right" if column == "s" else "left", no_wrap=True)
    for job in board.jobs:
        record = board.record(job)
        wall_s = f"{record['wall_s']:.0f}" if record.get("status") == DONE else ""
        table.add_row(job.name, job.stage, states[job.name], wall_s)
    output().print(table)
    counts = Counter(states.values())
    console.print(", ".join(f"{count} {state}" for state, count in counts.items()), highlight=False)
    estimate, unknown = remaining_s(board.jobs, {job.name: board.record(job) for job in board.jobs}, states, ENDED)
    text = f"about {estimate / 3600:.1f} hours of processing left"
    console.print(text + (f", without {unknown} jobs of kinds not measured yet" * bool(unknown)), highlight=False)
