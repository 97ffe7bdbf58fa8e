"""How long one decision takes on one core, with torch and with ONNX Runtime, and how much the two differ.

    python benchmarks/latency.py --policy runs/base --steering runs/steering --dataset runs/demonstrations

Packs the bundle, exports it, compares the chunks of both on real observations, then times single decisions (one
robot, one row) of base policy and steering together: from numpy arrays to numpy arrays, one thread, the process
bound to one core, in alternating blocks. Wall time includes whatever else the machine does in between; processor
time is the thread's own. `--unet` adds a U-Net of the paper's widths in the place of the base policy's network,
with random weights: its figures say what such a network costs, not what it can do.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.core.progress import progress
from score_rl.deploy.bundle.bundle import Bundle
from score_rl.deploy.bundle.export import export_onnx, largest_difference
from score_rl.deploy.bundle.onnx_runtime import OnnxPolicy
from score_rl.pipeline import deployment
from score_rl.pipeline.deployment import noise, real_windows
from score_rl.policies.flow.networks import NetworkConfig
from score_rl.policies.flow.policy import ConditionalFlow, save_policy

UNET = NetworkConfig(kind="unet", widths=(256, 512, 1024), time_features=32)
"""The paper's network."""

Window = Mapping[str, np.ndarray]
Decide = Callable[[Window, np.ndarray], np.ndarray]
"""(window of one row, noise of one row) -> chunk."""


@dataclass(frozen=True)
class Benchmark:
    """Latency of single decisions, torch against ONNX Runtime."""

    policy: Path = Path("runs/base")
    """Base policy, from `score pretrain`."""
    steering: Path = Path("runs/steering")
    """Run directory of `score steer`."""
    dataset: Path = Path("runs/demonstrations")
    """Demonstrations, whose observations are decided on."""
    task: str = "pinch_cube"
    """Task of the policy."""
    observations: int = 1000
    """Real observations that the two are compared and timed on."""
    decisions: int = 5000
    """Timed decisions of each."""
    block: int = 100
    """Decisions in a row before it is the other's turn."""
    warmup: int = 200
    """Decisions of each that come first and do not count."""
    unet: bool = False
    """Also time a U-Net of the paper's widths."""
    result: Path = Path("benchmarks/results/latency.json")
    """Result file to write."""


def measure(benchmark: Benchmark, bundle: Bundle, folder: Path, name: str) -> dict[str, Any]:
    """Record of one policy: size of its export, difference, and both latencies."""
    start = time.monotonic()
    path = export_onnx(bundle, folder / f"{name}.onnx")
    export_s = time.monotonic() - start
    exported = OnnxPolicy(path)
    windows = real_windows(bundle, benchmark.dataset, benchmark.observations)
    draws = noise(bundle, benchmark.observations)
    difference = largest_difference(bundle, exported, windows, draws)
    print(
        f"{name}: {difference:.1e} {bundle.spec.interface.action.unit} apart on {len(draws)} observations", flush=True
    )
    rows = [({key: value[i : i + 1] for key, value in windows.items()}, draws[i : i + 1]) for i in range(len(draws))]
    deciders: dict[str, Decide] = {
        "torch": lambda window, draw: bundle.decide(window, draw).chunk.numpy(),
        "onnxruntime": lambda window, draw: exported.decide(window, draw).chunk,
    }
    return {
        "policy": name,
        "network": bundle.base.config.network,
        "parameters": sum(value.numel() for value in bundle.base.network.parameters()),
        "sampler_steps": bundle.base.config.flow.steps,
        "latent_shape": bundle.spec.policy.latent_shape,
        "observations": len(draws),
        "largest_difference": difference,
        "action_unit": bundle.spec.interface.action.unit,
        "export_s": round(export_s, 1),
        "onnx_bytes": path.stat().st_size,
        "decisions": benchmark.decisions,
        "latency": time_decisions(benchmark, deciders, rows, name),
    }


def time_decisions(
    benchmark: Benchmark, deciders: Mapping[str, Decide], rows: list[tuple[Window, np.ndarray]], name: str
) -> dict[str, dict[str, float]]:
    """Milliseconds of single decisions of each, in alternating blocks."""
    wall: dict[str, list[int]] = {who: [] for who in deciders}
    processor: dict[str, list[int]] = {who: [] for who in deciders}
    total = benchmark.warmup + benchmark.decisions
    with progress(f"time {name}", total=total) as advance:
        for first in range(0, total, benchmark.block):
            count = min(benchmark.block, total - first)
            for who, decide in deciders.items():
                for i in range(first, first + count):
                    window, draw = rows[i % len(rows)]
                    wall_start, processor_start = time.perf_counter_ns(), time.thread_time_ns()
                    decide(window, draw)
                    processor[who].append(time.thread_time_ns() - processor_start)
                    wall[who].append(time.perf_counter_ns() - wall_start)
            advance(count)
    skip = benchmark.warmup
    return {who: summary(wall[who][skip:], "wall") | summary(processor[who][skip:], "processor") for who in deciders}


def summary(times_ns: list[int], prefix: str) -> dict[str, float]:
    """Median, 99th percentile, largest and mean, in milliseconds."""
    ms = np.array(times_ns) / 1e6
    figures = {"p50": np.percentile(ms, 50), "p99": np.percentile(ms, 99), "max": ms.max(), "mean": ms.mean()}
    return {f"{prefix}_{name}_ms": round(float(value), 4) for name, value in figures.items()}


def with_unet(bundle: Bundle, folder: Path, task: str) -> Bundle:
    """A base policy as the bundle's, but with a U-Net of random weights, packed alone."""
    base = bundle.base
    torch.manual_seed(0)
    policy = ConditionalFlow(base.spec, replace(base.config, network=UNET), base.representation)
    save_policy(folder / "unet", policy, {})
    return deployment.bundle(folder / "unet", folder / "unet-bundle", task=task, world="proxy")


def main() -> None:
    """Run the benchmark and write the result."""
    benchmark = tyro.cli(Benchmark, description=__doc__)
    torch.set_num_threads(1)
    process, load = describe_process(), os.getloadavg()[0]  # first, while all cores of the machine are seen
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        bundle = deployment.bundle(
            benchmark.policy, folder / "bundle", task=benchmark.task, world="proxy", steering=benchmark.steering
        )
        records = [measure(benchmark, bundle, folder, "steered")]
        if benchmark.unet:
            records.append(measure(benchmark, with_unet(bundle, folder, benchmark.task), folder, "paper_unet"))
    result = {"benchmark": "latency", "settings": benchmark, **process, "load_average": round(load, 2)}
    write_json(benchmark.result, result | {"base": bundle.base.config, "records": records})


if __name__ == "__main__":
    main()
