"""An evaluation as a run directory: result.json, episodes.jsonl and one trace per policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from score_rl.contracts import World
from score_rl.core.checkpoints import load_tensors, save_tensors
from score_rl.core.chunks import check_fit
from score_rl.core.files import JsonLines
from score_rl.core.process import describe_process
from score_rl.core.progress import progress
from score_rl.core.ranges import Count, Envs, Natural, Seed
from score_rl.core.records import parse, read_json_lines, validate
from score_rl.core.run_record import verify
from score_rl.core.runs import Run
from score_rl.evaluation.evaluate import evaluate
from score_rl.evaluation.exposed import exposed
from score_rl.evaluation.results import Episode, Labels, compare, read_results, summarize, write_results
from score_rl.evaluation.spread import SPREAD, SpreadConfig, chunk_spread, spread_fields
from score_rl.evaluation.support.measure import measure, support_fields
from score_rl.evaluation.support.meter import SupportConfig, SupportMeter
from score_rl.steering.policy import Decider

EPISODES, RESULT, TRACES, TRACE_KIND = "episodes.jsonl", "result.json", "traces", "evaluation_trace"
REFERENCES = ("base", "base_z0", "base_ticket")
"""Policies that every other one is compared with, on the same seeds."""


@dataclass(frozen=True)
class EvaluateConfig:
    """How much is evaluated."""

    episodes: Count = 200
    """n: episodes of every policy, one per seed."""
    first_seed: Seed = 1_000_000
    """Seeds are first_seed, first_seed + 1, ...; demonstrations and training use lower ones."""
    num_envs: Envs = 100
    """Environments stepped together; it does not change the figures."""
    traced: Natural = 8
    """Episodes of every policy that are kept in full, for pictures and videos."""
    support: bool = False
    """Also measure whether what was executed lies in the base policy's support; it takes several times as long."""
    support_episodes: Natural = 0
    """Episodes of every policy in which it is measured, from the first; 0: all."""
    support_test: SupportConfig = field(default_factory=SupportConfig)
    """How it is measured."""
    spread: SpreadConfig = field(default_factory=SpreadConfig)
    """How the base policy's spread of chunks per state is measured."""

    def seeds(self) -> range:
        """The seeds of the episodes."""
        return range(self.first_seed, self.first_seed + self.episodes)


def run_evaluation(
    world: World,
    deciders: Mapping[str, Decider],
    labels: Mapping[str, Labels],
    execute_steps: int,
    config: EvaluateConfig,
    run: Run,
    meter: SupportMeter | None = None,
) -> list[dict[str, Any]]:
    """Evaluate every decider and leave the files; a resumed run skips the policies that are done.

    With a `meter` the support of everything that was executed is measured too, per episode and record.
    Returns the records of result.json. Raises ScoreError before anything runs where a policy does not fit.
    """
    for decider in deciders.values():
        check_fit(decider.spec, exposed(world, decider.spec).spec, execute_steps)
    validate(config)
    log = JsonLines(run.path(EPISODES))
    done = len(log) // config.episodes
    log.truncate_to(done * config.episodes)
    total = len(deciders) * config.episodes
    with progress(f"evaluate {world.spec.name}", total=total, done=len(log)) as advance:
        for name in list(deciders)[done:]:
            decider = deciders[name]
            spread = name == "base" and config.spread.states > 0
            reader = meter.policy.spec if meter is not None else decider.spec if spread else None
            outcome = evaluate(
                world, decider, config.seeds(), execute_steps, config.traced, lambda n: advance(n), reader
            )
            played, trace = outcome.episodes, outcome.trace
            if spread:
                measured = chunk_spread(decider, outcome.executed.window, config.spread, world.spec.device)
                trace = trace | {SPREAD + key: value for key, value in measured.items()}
            if meter is not None:
                advance(0, note=f"support of {name}")
                played, kept = measure(meter, outcome, config.support_episodes)
                trace = trace | kept
            metadata = {
                "kind": TRACE_KIND,
                "task": labels[name].task,
                "action_names": world.spec.interface.action_names,
            }
            save_tensors(run.path(TRACES, f"{name}.safetensors"), trace, metadata)
            for episode in played:
                log.append({"policy": name, "world": labels[name].world, **vars(episode)})
    records = make_records(read_episodes(run.directory), labels)
    traces, _ = read_traces(run.directory)
    for record in records:
        record |= spread_fields(traces[record["policy"]])
        record |= support_fields(traces[record["policy"]], meter.config) if meter is not None else {}
    write_results(run.path(RESULT), records)
    return records


def make_records(episodes: Mapping[str, Sequence[Episode]], labels: Mapping[str, Labels]) -> list[dict[str, Any]]:
    """One record per policy, each compared with the reference policies that are there."""
    process = describe_process()
    machine = process["machine"]
    provenance = {
        "commit": process["commit"],
        "command": process["command"],
        "machine": f"{machine['gpu'] or machine['cpu']}, {machine['cores']} CPU cores",
    }
    records = []
    for name, played in episodes.items():
        record = summarize(labels[name], played, provenance)
        compare(record, played, {r: episodes[r] for r in REFERENCES if r in episodes and r != name})
        records.append(record)
    return records


def read_episodes(directory: Path) -> dict[str, list[Episode]]:
    """Policy -> episodes of an evaluation's run directory."""
    path = Path(directory) / EPISODES
    verify(directory, EPISODES)
    episodes: dict[str, list[Episode]] = {}
    for number, record in enumerate(read_json_lines(path), start=1):
        line = f"{path}, line {number}"
        labels = {name: record.pop(name, None) for name in ("policy", "world")}
        policy = parse(str, labels["policy"], line, key="policy")
        episodes.setdefault(policy, []).append(parse(Episode, record, line, defaults=True))
    return episodes


def read_traces(directory: Path) -> tuple[dict[str, dict[str, Tensor]], list[str]]:
    """Policy -> trace (see `evaluate.Evaluation.trace`) of an evaluation's run directory, and action names."""
    verify(Path(directory) / TRACES)
    files = sorted((Path(directory) / TRACES).glob("*.safetensors"))
    loaded = {file.stem: load_tensors(file, TRACE_KIND) for file in files}
    names = next((metadata["action_names"] for _, metadata in loaded.values()), [])
    return {policy: trace for policy, (trace, _) in loaded.items()}, names


def read_evaluation(directory: Path) -> list[dict[str, Any]]:
    """Records of a finished evaluation."""
    verify(directory, RESULT)
    return read_results(Path(directory) / RESULT)
