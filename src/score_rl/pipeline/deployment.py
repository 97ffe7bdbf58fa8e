"""The stages behind a loop: a bundle for the robot's computer, and its policy in a form that runs without torch."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from score_rl.core.errors import ScoreError
from score_rl.core.files import write_bytes
from score_rl.core.outputs import check_file, resolve_output
from score_rl.core.ranges import Count
from score_rl.core.records import check, parse
from score_rl.core.run_record import CONFIG, read_run
from score_rl.core.seeding import rng
from score_rl.data.dataset import load_dataset
from score_rl.data.windows import Windows
from score_rl.deploy.bundle.bundle import Bundle, create_bundle, default_steps, load_bundle
from score_rl.deploy.bundle.export import TOLERANCE, check_exportable, export_onnx, largest_difference
from score_rl.deploy.bundle.onnx_runtime import OnnxPolicy
from score_rl.evaluation.run import read_evaluation
from score_rl.pipeline.inputs import dataset_root, steering_bundle
from score_rl.pipeline.limits import robot_limits
from score_rl.pipeline.stages import open_parts

RANDOM_TOLERANCE = 1e-3
"""As `TOLERANCE` on random numbers: far from all data the networks are steep, and rounding counts for more."""


@dataclass(frozen=True)
class Exported:
    """Result of `export`."""

    path: Path
    """The ONNX file."""
    difference: float
    """Largest difference from torch, in action units."""
    action_unit: str
    observations: int
    """How many were compared."""
    real: bool
    """Whether those were of a dataset, or random numbers."""


def bundle(
    policy: str | Path, out: str | Path, *, task: str, world: str, steering: str | Path | None = None,
    evaluations: Sequence[str | Path] = (), execute_steps: int | None = None, overwrite: bool = False,
) -> Bundle:  # fmt: skip
    """Pack a base policy, its steering and everything that the robot's computer must know into one folder.

    task, world: what the policy is for; they say which robot's limits go along. evaluations: run directories of
    `stages.evaluate` of these very policies, whose records go along. execute_steps: control steps to run of every
    chunk; None: as in the steering's training, else half a chunk.
    """
    base, trained, hashes = open_parts(policy, steering)
    steps = execute_steps or default_steps(base.spec, trained)
    records = [
        record
        for folder in evaluations
        for record in _records(Path(folder), task, hashes, steps, default_steps(base.spec, trained))
    ]
    return create_bundle(
        out,
        policy,
        steering_bundle(steering) if steering is not None else None,
        robot_limits(task, world, views=base.spec.interface.views),
        task,
        records,
        execute_steps,
        overwrite,
    )


def export(
    path: str | Path, out: str | Path | None = None, *, fallback: bool = False, dataset: str | Path | None = None,
    windows: int = 1000, overwrite: bool = False,
) -> Exported:  # fmt: skip
    """Write the policy of a bundle as one ONNX graph, and compare it with torch.

    out: the file; None: beside the bundle. fallback: the base policy alone. dataset: demonstrations on whose
    observations the two are compared (`windows` of them); None: on random numbers.
    overwrite: replace an export that is there.
    Raises ScoreError where the graph does not give what torch gives; it is not kept then.
    """
    check(Count, windows, "windows")
    name = Path(os.path.realpath(path)).name
    file = Path(out or Path(path).with_name(f"{name}-base.onnx" if fallback else f"{name}.onnx"))
    inputs = {"bundle": Path(path)} | ({"dataset": Path(dataset)} if dataset is not None else {})
    check_file(resolve_output(file, inputs), overwrite, is_export, "export")
    packed = load_bundle(path)
    check_exportable(packed, fallback)
    window = real_windows(packed, dataset, windows) if dataset else random_windows(packed, 100)
    count = len(next(iter(window.values())))
    with tempfile.TemporaryDirectory() as folder:
        made = export_onnx(packed, Path(folder) / file.name, fallback)
        difference = largest_difference(packed, OnnxPolicy(made), window, noise(packed, count), fallback)
        model = made.read_bytes()
    limit = TOLERANCE if dataset else RANDOM_TOLERANCE
    unit = packed.spec.interface.action.unit
    if not difference <= limit:
        raise ScoreError(
            f"the graph differs from torch by {difference:.2g} {unit}, more than {limit:g}; it was not kept"
        )
    write_bytes(file, model)
    return Exported(file, difference, unit, count, dataset is not None)


def is_export(path: Path) -> bool:
    """Whether a file is one of `export`."""
    try:
        OnnxPolicy(path)
    except ScoreError:
        return False
    return True


def real_windows(bundle: Bundle, dataset: str | Path, count: int) -> dict[str, np.ndarray]:
    """`count` windows {key: (m, frames, *shape)} of a dataset, evenly spaced over its frames."""
    windows = Windows(load_dataset(dataset_root(dataset)), bundle.spec.policy)
    index = np.linspace(0, len(windows) - 1, min(count, len(windows))).round().astype(int)
    return {key: seen.numpy() for key, seen in windows.batch(torch.from_numpy(index)).observation.items()}


def random_windows(bundle: Bundle, count: int) -> dict[str, np.ndarray]:
    """Windows {key: (m, frames, *shape)} of standard normal numbers and uniform pixels: no observations, but of their
    shapes."""
    draw = rng("export windows")
    return {
        key: draw.integers(256, size=(count, *array.shape), dtype=np.uint8)
        if array.dtype == "uint8"
        else draw.standard_normal((count, *array.shape), dtype=np.float32)
        for key, array in bundle.spec.policy.window.items()
    }


def noise(bundle: Bundle, count: int) -> np.ndarray:
    """Noise (m, l, w) ~ N(0, I) of the comparison."""
    return rng("export noise").standard_normal((count, *bundle.spec.policy.latent_shape), dtype=np.float32)


@dataclass(frozen=True)
class _AskedSettings:
    task: str
    execute_steps: int | None


@dataclass(frozen=True)
class _Asked:
    """What is read of an evaluation's configuration."""

    settings: _AskedSettings
    inputs: Mapping[str, str]


def _records(
    folder: Path, task: str, hashes: Mapping[str, str], steps: int, usual_steps: int
) -> list[dict[str, Any]]:
    """Records of an evaluation, after making sure that it was one of these policies, run as they will be."""
    run, config = read_run(folder)
    if run.stage != "evaluate" or not run.finished:
        raise ScoreError(f"{folder} is no finished evaluation (stage {run.stage}, {run.status})")
    asked = parse(_Asked, config, folder / CONFIG, others=True)
    if asked.settings.task != task:
        raise ScoreError(f"{folder} evaluated the task {asked.settings.task}, not {task}")
    if (ran := asked.settings.execute_steps or usual_steps) != steps:
        raise ScoreError(f"{folder} ran {ran} steps of every chunk, the bundle is to run {steps}")
    for role, digest in hashes.items():
        if (seen := asked.inputs.get(role)) not in (None, digest):
            raise ScoreError(f"{folder} evaluated another {role} ({seen[:12]}, this one is {digest[:12]})")
    return read_evaluation(folder)
