"""Every kind of file that a loop leaves, small, with what reads it: for tests that corrupt them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from packed import WORLD, save_base, save_steered
from walk import RANDOM, STILL, Walk

from score_rl.contracts import ArraySpec
from score_rl.core.checkpoints import load_tensors, save_tensors
from score_rl.core.files import to_plain, write_json
from score_rl.core.records import read_json_lines
from score_rl.core.run_record import read_run, verify
from score_rl.core.runs import Run, start_run
from score_rl.data.dataset import load_dataset
from score_rl.data.writer import DatasetWriter
from score_rl.deploy.bundle.bundle import create_bundle, load_bundle
from score_rl.deploy.bundle.spec import world_limits
from score_rl.evaluation.results import Labels
from score_rl.evaluation.run import EvaluateConfig, read_episodes, read_evaluation, read_traces, run_evaluation
from score_rl.policies.flow.policy import load_policy, load_provenance
from score_rl.real2sim.estimates import Comparison, Estimate, Estimates, Known, read_estimates
from score_rl.sim.domain import load_domain, save_domain
from score_rl.steering.methods import load_trained
from score_rl.steering.policy import read_description


@dataclass(frozen=True)
class Nothing:
    """Settings of a stage that has none."""


def build(root: Path) -> None:
    """Leave everything below `root`, each stage in a finished run."""
    _policy(root)
    _evaluation(root / "evaluation")
    _calibration(root / "calibration")
    _dataset(root / "demonstrations")
    create_bundle(root / "bundle", root / "base", root / "steer" / "steering", world_limits(WORLD), "toy")


def _run(directory: Path, stage: str) -> Run:
    run = start_run(directory, stage, Nothing(), {"training": 3})
    run.log({"loss": 0.5, "step": 1})
    run.log({"loss": 0.25, "step": 2})
    return run


def _policy(root: Path) -> None:
    run = _run(root / "base", "pretrain")
    base = save_base(run.directory)
    run.own("policy.json", "policy.safetensors")
    save_tensors(run.path("checkpoint.safetensors"), {"x": torch.ones(3)}, {"kind": "checkpoint", "step": 7})
    run.finish({"loss": 0.25})
    run = _run(root / "steer", "steer")
    save_steered(run.path("steering"), base)
    run.finish()


def _evaluation(directory: Path) -> None:
    config = EvaluateConfig(episodes=3, first_seed=30, num_envs=3, traced=1)
    run = start_run(directory, "evaluate", config, {})
    labels = {name: Labels("walk", "base", name, "line") for name in ("base", "base_z0")}
    run_evaluation(Walk(3), {"base": RANDOM, "base_z0": STILL}, labels, 2, config, run)
    run.finish()


def _calibration(directory: Path) -> None:
    run = _run(directory, "calibrate")
    comparison = Comparison(True, 2, 40, (0.1, 0.2), (0.05, 0.1), 0.1, 0.05, 0.2, 0.1)
    estimate = Estimate((0.01,), (0.002,), (0.001,), True, "free motion", "dead time")
    found = Estimates(
        1, {"delay_s": estimate}, {"lag_s": (0.02,)}, Known(0.03, 0.004), comparison, {"x": 2}, ("a", "b")
    )
    write_json(run.path("calibration.json"), found)
    save_domain(run.path("domain.toml"), load_domain("twin"), {"robot": "toy"})
    run.finish()


def _dataset(directory: Path) -> None:
    run = _run(directory, "collect")
    features = {"observation.state": ArraySpec((2,), names=("x", "y")), "action": ArraySpec((2,), names=("a", "b"))}
    writer = DatasetWriter(run.path("dataset"), 10, features, "toy")
    for episode in range(2):
        values = np.arange(8, dtype=np.float32).reshape(4, 2) + episode
        writer.add_episode({name: values for name in features}, "walk", {"seed": episode})
    writer.finalize()
    run.finish()


def _tensors(tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def _dataset_meaning(root: Path) -> Any:
    dataset = load_dataset(root / "demonstrations" / "dataset")
    columns = {name: column.tobytes() for name, column in dataset.columns.items()}
    return dataset.fps, dataset.tasks, columns, to_plain(dataset.extra), to_plain(dataset.features)


def _policy_meaning(root: Path) -> Any:
    return load_policy(root / "base").fingerprint(), load_policy(root / "base").config, load_provenance(root / "base")


def _steering_meaning(root: Path) -> Any:
    folder = root / "steer" / "steering"
    trained = load_trained(folder, load_policy(root / "base"))
    return trained.spec, _tensors(trained.actor.state_dict()), to_plain(read_description(folder).provenance)


def _evaluation_meaning(root: Path) -> Any:
    folder = root / "evaluation"
    traces, names = read_traces(folder)
    return read_evaluation(folder), read_episodes(folder), {k: _tensors(v) for k, v in traces.items()}, names


def _metrics(root: Path) -> Any:
    verify(root / "base", "metrics.jsonl")
    return read_json_lines(root / "base" / "metrics.jsonl")


def _checkpoint(root: Path) -> Any:
    tensors, metadata = load_tensors(root / "base" / "checkpoint.safetensors", "checkpoint")
    return _tensors(tensors), metadata


def _bundle(root: Path) -> Any:
    bundle = load_bundle(root / "bundle")
    return bundle.spec, bundle.digest, bundle.base.fingerprint()


Reader = Callable[[Path], Any]
"""Root -> what the file means, comparable."""

DATA = "demonstrations/dataset"
KINDS: dict[str, Reader] = {
    "base/policy.json": _policy_meaning,
    "base/policy.safetensors": _policy_meaning,
    "base/run.json": lambda root: to_plain(read_run(root / "base")[0]),
    "base/config.json": lambda root: read_run(root / "base")[1],
    "base/metrics.jsonl": _metrics,
    "base/checkpoint.safetensors": _checkpoint,
    "steer/steering/steering.json": _steering_meaning,
    "steer/steering/steering.safetensors": _steering_meaning,
    "evaluation/episodes.jsonl": _evaluation_meaning,
    "evaluation/result.json": _evaluation_meaning,
    "evaluation/traces/base.safetensors": _evaluation_meaning,
    "calibration/calibration.json": lambda root: read_estimates(root / "calibration"),
    "calibration/domain.toml": lambda root: load_domain(root / "calibration" / "domain.toml"),
    f"{DATA}/meta/info.json": _dataset_meaning,
    f"{DATA}/data/chunk-000/file-000.parquet": _dataset_meaning,
    f"{DATA}/meta/episodes/chunk-000/file-000.parquet": _dataset_meaning,
    "bundle/manifest.json": _bundle,
    "bundle/bundle.json": _bundle,
    "bundle/base/policy.json": _bundle,
    "bundle/steering/steering.safetensors": _bundle,
}
"""File -> what reads it."""
