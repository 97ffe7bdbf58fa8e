"""`score benchmark`: an experiment of many stages, in any number of processes, and its tables and report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import tyro
from rich.table import Table

from score_rl.core.errors import ScoreError
from score_rl.core.outputs import check_folder, resolve_output
from score_rl.core.ranges import Count
from score_rl.core.terminal import say, terminal
from score_rl.core.terminal import show as show_table
from score_rl.pipeline.experiment.clusters import SlurmConfig, connected
from score_rl.pipeline.experiment.costs import cost_table, remaining_s
from score_rl.pipeline.experiment.definition import Experiment
from score_rl.pipeline.experiment.file import load_experiment
from score_rl.pipeline.experiment.gather import gather
from score_rl.pipeline.experiment.ledger import DONE, FAILED, SKIPPED, Ledger
from score_rl.pipeline.experiment.plan import plan
from score_rl.pipeline.experiment.scheduling import execute
from score_rl.pipeline.experiment.work import run_job
from score_rl.report.experiment.page import check_reports, write_reports


@dataclass(frozen=True)
class Benchmark:
    """Run an experiment: methods x tasks x robots, from demonstrations to tables and a report.

    Its jobs run on Dask: on processes of this machine, on a cluster of yours (--scheduler) or through Slurm.
    Finished work is never repeated and interrupted work resumes, whatever ended it. A failed job is reported, what
    needs it is skipped, and the rest goes on; the next call tries it again. OUT/report.html, OUT/report.md and
    OUT/result.json are made of what is done.
    """

    file: tyro.conf.Positional[Path]
    """Experiment file (TOML), e.g. experiments/claim.toml."""
    out: Path | None = None
    """Folder of all runs; by default runs/NAME, with the experiment's name."""
    processes: Count = 1
    """Jobs that run side by side on this machine."""
    scheduler: str | None = None
    """Address of a Dask scheduler whose workers run the jobs instead, e.g. tcp://host:8786."""
    dry_run: bool = False
    """List the jobs with their states and the time that is left, and run none."""
    render: bool = False
    """Only make tables and report of what is done."""
    overwrite: bool = False
    """Run the jobs again that the folder holds with other settings; each new run replaces the old one when it is
    complete."""
    slurm: SlurmConfig = field(default_factory=SlurmConfig)
    """Slurm jobs instead of processes on this machine."""

    def run(self) -> Path | None:
        """The report's file; None where nothing was rendered."""
        experiment = load_experiment(self.file)
        out, jobs = Path(self.out or Path("runs") / experiment.name).absolute(), plan(experiment)
        ledger = Ledger(out, jobs)
        check_folder(out)
        resolve_output(out, {f"dataset of {task}": Path(path) for task, path in experiment.datasets.items()})
        check_reports(out, experiment)
        if self.dry_run:
            show(ledger)
            return None
        if not self.render:
            self._run_jobs(ledger)
        states = ledger.states()
        failed = [name for name, state in states.items() if state == FAILED]
        report = None
        if self.render or not failed or any(j.stage == "evaluate" and states[j.name] == DONE for j in jobs):
            report = render(experiment, ledger)
            say(f"report: {report}")
        if failed:
            raise ScoreError(
                f"{len(failed)} of {len(jobs)} jobs failed, first {failed[0]}; their logs: {out / 'logs'}"
            )
        return report

    def _run_jobs(self, ledger: Ledger) -> None:
        """Run what is not done; what cannot be done is an error before any work."""
        for path in (Path(path) for job in ledger.jobs for path in job.given.values()):
            if not path.exists():
                raise ScoreError(f"{path}, named in [datasets] of {self.file}, does not exist")
        if self.overwrite:
            for name in ledger.give_up_changed():
                say(f"to be replaced: {name}")
        ledger.check()
        for name in ledger.retry_failed():
            say(f"trying again: {name}")
        if all(state == DONE for state in ledger.states().values()):
            return
        own = self.processes if self.scheduler is None and not self.slurm.workers else 0
        with connected(ledger.out, self.processes, self.scheduler, self.slurm, terminal(stderr=True)) as client:
            execute(ledger, run_job, client, terminal(stderr=True), share_of=own)


def render(experiment: Experiment, ledger: Ledger) -> Path:
    """Write result.json, report.md and report.html of what is done. Raises ScoreError where nothing is."""
    states = ledger.states()
    counts = Counter(states.values())
    done = [job for job in ledger.jobs if states[job.name] == DONE]
    missing = [f"{name}: {state}" for name, state in states.items() if state in (FAILED, SKIPPED)]
    if counts[DONE] < len(states):
        say(f"{counts[DONE]} of {len(states)} jobs are done; the report holds these", style="yellow")
    findings = gather(experiment, done, ledger.out / "runs")
    costs = cost_table(done, ledger.records())
    return write_reports(ledger.out, experiment, findings, costs, missing)


def show(ledger: Ledger) -> None:
    """The jobs, their states, and the time that is left as far as it was measured."""
    states = ledger.states()
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 3, 0, 0))
    for column in ("job", "stage", "state", "s"):
        table.add_column(column, justify="right" if column == "s" else "left", overflow="fold")
    for job in ledger.jobs:
        record = ledger.record(job)
        wall_s = f"{record.wall_s:.0f}" if record and record.status == DONE else ""
        table.add_row(job.name, job.stage, states[job.name], wall_s)
    show_table(table)
    counts = Counter(states.values())
    say(", ".join(f"{count} {state}" for state, count in counts.items()))
    estimate, unknown = remaining_s(ledger.jobs, ledger.records(), states)
    text = f"about {estimate / 3600:.1f} hours of processing left"
    say(text + (f", without {unknown} jobs of kinds not measured yet" * bool(unknown)))
