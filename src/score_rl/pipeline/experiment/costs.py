"""What jobs cost: measured seconds, and from them what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from score_rl.pipeline.experiment.definition import REFERENCES
from score_rl.pipeline.experiment.job import Job
from score_rl.pipeline.experiment.ledger import DONE, FAILED, SKIPPED, JobRecord


def remaining_s(
    jobs: Sequence[Job], records: Mapping[str, JobRecord], states: Mapping[str, str]
) -> tuple[float, int]:
    """(seconds of the jobs that have not ended, how many of them are of a kind not measured yet).

    A job is judged by the median of the done ones that are most like it: same stage, evaluation, method and task;
    then of any task; then of any method.
    """
    total, unknown = 0.0, 0
    done = [(job, records[job.name].wall_s) for job in jobs if _is_done(job, records)]
    for job in jobs:
        if states[job.name] in (DONE, FAILED, SKIPPED):
            continue
        alike = next(filter(None, ([s for other, s in done if k(other) == k(job)] for k in KINDS)), [])
        if alike:
            total += median(alike)
        else:
            unknown += 1
    return total, unknown


KINDS = (
    lambda job: (job.stage, job.evaluation, job.method == REFERENCES.name, job.method, job.task),
    lambda job: (job.stage, job.evaluation, job.method == REFERENCES.name, job.method),
    lambda job: (job.stage, job.evaluation, job.method == REFERENCES.name),
)
"""What makes two jobs alike, closest first."""


def cost_table(jobs: Sequence[Job], records: Mapping[str, JobRecord]) -> list[dict[str, Any]]:
    """Per kind of stage: number of done jobs, median and total seconds."""
    kinds: dict[str, list[float]] = {}
    for job in jobs:
        if _is_done(job, records):
            name = f"{job.stage} {job.evaluation}" if job.evaluation else job.stage
            kinds.setdefault(name, []).append(records[job.name].wall_s)
    return [
        {"stage": name, "jobs": len(s), "median_s": round(median(s), 1), "total_s": round(sum(s), 1)}
        for name, s in kinds.items()
    ]


def _is_done(job: Job, records: Mapping[str, JobRecord]) -> bool:
    return job.name in records and records[job.name].status == DONE
