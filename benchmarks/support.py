"""Which violations the tests of support find: known ones, planted on trained policies at demonstrated states.

    python benchmarks/support.py --policies door=runs/adroit_door/base-0 cube=runs/pinch_cube/robot-101/base \\
        --datasets PATH/TO/adroit_door_human runs/pinch_cube/robot-101/demonstrations/dataset \\
        --tasks adroit_door pinch_cube

For every policy, at states of its demonstrations, chunks whose origin is known are measured: fresh base samples (the
false alarms), z = 0, base samples with noise of 0.01, 0.03 and 0.1 in normalised units, base samples of another
state, uniform actions, and the demonstrated actions themselves. All are clipped to the action limits. One record per
policy and kind, with the fields of docs/metrics.md that begin with `support_`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor

from score_rl.contracts import Context
from score_rl.core.errors import ScoreError
from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.core.seeding import torch_generator
from score_rl.data.dataset import load_dataset
from score_rl.data.windows import Windows
from score_rl.evaluation.support.figures import record_figures
from score_rl.evaluation.support.inversion import invert_executed
from score_rl.evaluation.support.meter import Executed, SupportConfig, SupportMeter
from score_rl.policies.flow.policy import ConditionalFlow, load_policy
from score_rl.sim.open import open_world
from score_rl.sim.task import task_names
from score_rl.steering.latent import LATENT_BOUND
from score_rl.tasks.recipe import get_recipe

NOISE = (0.01, 0.03, 0.1)


@dataclass(frozen=True)
class Benchmark:
    """Planted violations on trained policies."""

    policies: tuple[str, ...]
    """NAME=PATH of every base policy's bundle."""
    datasets: tuple[Path, ...]
    """Its demonstrations."""
    tasks: tuple[str, ...]
    """Its task, whose world has the action limits."""
    states: int = 400
    """Demonstrated states, evenly spread; each counts as an episode of its own."""
    seed: int = 0
    """Of what is planted."""
    result: Path = Path("benchmarks/results/support.json")
    """Result file to write."""


def planted(policy: ConditionalFlow, context: Context, demonstrated: Tensor, bound: Tensor, seed: int):
    """(kind, chunks (n, h, a)) of every kind; bound (2, a): lowest and highest actions."""
    generator = torch_generator("planted", seed)
    latent = torch.randn(len(demonstrated), *policy.spec.latent_shape, generator=generator)
    base = policy.decode(context, latent.clamp(-LATENT_BOUND, LATENT_BOUND))
    yield "base", base
    yield "z0", policy.decode(context, torch.zeros_like(latent))
    normalised = policy.normalize(context, base)
    for size in NOISE:
        noise = torch.randn(base.shape, generator=generator)
        yield f"noise_{size:g}", policy.denormalize(context, normalised + size * noise)
    yield "other_state", base.roll(len(base) // 2, 0)
    low, high = bound
    yield "uniform", low + (high - low) * torch.rand(base.shape, generator=generator)
    yield "demonstrations", demonstrated


def measure(
    name: str, policy: ConditionalFlow, dataset: Path, task: str, benchmark: Benchmark
) -> list[dict[str, Any]]:
    """One record per kind of violation."""
    spec = policy.spec
    windows = Windows(load_dataset(dataset), spec)
    whole = (~windows.all().is_pad.any(1)).nonzero().flatten()
    batch = windows.batch(whole[torch.arange(benchmark.states) * len(whole) // benchmark.states])
    world = open_world("twin" if task in task_names() else get_recipe(task).evaluate.world, 1, task)
    bound = torch.tensor([world.spec.action_low, world.spec.action_high])
    world.close()
    config = replace(SupportConfig(), inversions=benchmark.states)
    meter = SupportMeter(policy, *bound.tolist(), config)
    n = benchmark.states
    records = []
    for kind, chunk in planted(policy, policy.encode(batch.observation), batch.action, bound, benchmark.seed):
        executed = Executed(
            window=batch.observation,
            chunk=chunk.clamp(bound[0], bound[1]),
            steps=torch.full((n,), spec.horizon),
            episode=torch.arange(n),
            seeds=tuple((benchmark.seed, row) for row in range(n)),
        )
        figures = record_figures(meter.measure(executed), invert_executed(meter, executed), config)
        records.append({"task": task, "policy": name, "planted": kind, **figures})
        print(f"{name:<8} {kind:<15} off {figures['support_violation_rate']:.3f}  AUC {figures['support_auc']:.3f}")
    return records


def main() -> None:
    """Run the benchmark and write the result file."""
    benchmark = tyro.cli(Benchmark, description=__doc__)
    if not len(benchmark.policies) == len(benchmark.datasets) == len(benchmark.tasks):
        raise ScoreError("every policy needs one dataset and one task")
    torch.set_num_threads(1)
    process = describe_process()
    origin = {key: process[key] for key in ("commit", "command")}
    machine = f"{process['machine']['cpu']}, {process['machine']['cores']} CPU cores"
    records = []
    for given, dataset, task in zip(benchmark.policies, benchmark.datasets, benchmark.tasks):
        name, _, path = given.partition("=")
        records += measure(name, load_policy(path), dataset, task, benchmark)
    write_json(benchmark.result, [{**record, **origin, "machine": machine} for record in records])


if __name__ == "__main__":
    main()
