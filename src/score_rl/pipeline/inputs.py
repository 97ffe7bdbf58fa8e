"""What stages are given and where they leave it: run directories, datasets, policies, worlds, and their hashes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from score_rl.contracts import FlowPolicy, PolicySpec
from score_rl.core.errors import ScoreError
from score_rl.core.extras import installed, require
from score_rl.core.files import require_free_space, sha256
from score_rl.core.outputs import real_path
from score_rl.core.publish import files_below
from score_rl.core.runs import Run, start_run
from score_rl.core.tracking import TensorBoardListener, WandbListener
from score_rl.data.dataset import Dataset, load_dataset
from score_rl.data.layout import INFO_PATH
from score_rl.data.merge import merge
from score_rl.data.windows import WindowBatch, Windows, best_episodes
from score_rl.policies.open import policy_folder
from score_rl.sim.open import domain_file
from score_rl.steering.loop import BUNDLE
from score_rl.steering.policy import DESCRIPTION

Notify = Callable[[str], None]
"""Told what a stage begins, resumes or reuses."""

Datasets = str | Path | Sequence[str | Path]
"""Demonstrations: one dataset, or several of one robot."""

DATASET = "dataset"
"""Folder of a collection's run directory that holds the dataset."""
LOGS = ("run.json", "config.json", "checkpoint.safetensors")
"""Files of a run directory that do not belong to its result."""
SPACE_NEEDED = 200_000_000
"""Bytes that must be free before a stage starts."""


def silent(message: str) -> None:
    """A `Notify` that nobody hears."""


@dataclass(frozen=True)
class StageConfig:
    """What identifies a stage's result: its settings and the contents of what it was given."""

    settings: Any
    inputs: Mapping[str, str]
    """Role -> SHA-256 of the file or folder, so that a result is never reused for other inputs."""


def open_run(
    directory: Path,
    stage: str,
    settings: Any,
    hashes: Mapping[str, str],
    inputs: Mapping[str, str | Path | None],
    overwrite: bool = False,
    seeds: Mapping[str, int] | None = None,
    notify: Notify = silent,
    distributed: bool = False,
    wandb: str = "",
) -> Run:
    """Start, resume or reuse a stage's run directory, and say which. Raises ScoreError; see `start_run`.

    hashes: role -> hash of what the stage is given, see `content_hash` and the functions below. inputs: role -> path
    or URI of it; the output must stay clear of those that are files or folders. distributed: ranks of torchrun may
    share the run. wandb: project of Weights & Biases to log to as well.
    """
    if wandb:
        require("wandb", "--wandb")
    require_free_space(directory, SPACE_NEEDED)
    read = {role: Path(given) for role, given in inputs.items() if given is not None and os.path.exists(given)}
    config = StageConfig(settings, dict(hashes))
    run = start_run(directory, stage, config, seeds or {}, overwrite, distributed, read)
    if not run.writes:
        return run
    if run.finished:
        notify(f"{stage}: done already, reusing {directory}")
    else:
        notify(f"{stage}: {'resuming' if run.resumed else 'writing'} {directory}")
        if installed("tensorboard"):
            run.add_listener(TensorBoardListener(run.path("tensorboard")))
        if wandb:
            place = run.directory.resolve()
            named = (f"{place.parent.name}/{place.name}", run.identity, place.parent)
            run.add_listener(WandbListener(wandb, *named, config))
    return run


def content_hash(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's data files (logs and run records left out)."""
    path = Path(path)
    if not path.is_dir():
        return sha256(path)
    digest = hashlib.sha256()
    for name in files_below(path):
        file = path / name
        if file.suffix in (".parquet", ".safetensors", ".json", ".toml") and file.name not in LOGS:
            digest.update(f"{name} {sha256(file)}\n".encode())
    return digest.hexdigest()


def dataset_root(path: str | Path) -> Path:
    """The dataset at a path: itself a dataset, or a run directory of `score collect`."""
    inside = Path(path) / DATASET
    return inside if (inside / INFO_PATH).exists() and not (Path(path) / INFO_PATH).exists() else Path(path)


def dataset_roots(paths: Datasets) -> list[Path]:
    """The datasets at one path or at several, see `dataset_root`. Raises ScoreError for one that is given twice: its
    episodes would count as often, and be learned from although they are held out."""
    roots = [dataset_root(path) for path in ([paths] if isinstance(paths, (str, Path)) else paths)]
    places = [real_path(root) for root in roots]
    if twice := [root for root, place in zip(roots, places) if places.count(place) > 1]:
        raise ScoreError(f"the dataset {twice[0]} is given {len(twice)} times")
    return roots


def load_datasets(roots: Sequence[Path]) -> Dataset:
    """Datasets of one robot as one. Raises ScoreError."""
    return merge([load_dataset(root) for root in roots])


def all_windows(policy: PolicySpec, dataset: Datasets, device: str, best: float = 0.0) -> WindowBatch:
    """All windows of datasets as a policy would read them, and the chunks executed there, on its device.

    best: of this share of its successful episodes, the shortest; 0: of all.
    """
    read = load_datasets(dataset_roots(dataset))
    return Windows(read, policy, best_episodes(read, best) if best > 0 else None, device).all()


def tell_unread(dataset: Dataset, notify: Notify) -> None:
    """Say which features of a dataset are not read."""
    if dataset.skipped:
        notify(f"  not read, since only arrays are: {', '.join(dataset.skipped)}")


def dataset_hashes(roots: Sequence[Path]) -> dict[str, str]:
    """Hashes of datasets by role; their order counts."""
    return {f"dataset {i + 1}" if i else "dataset": content_hash(root) for i, root in enumerate(roots)}


def dataset_inputs(roots: Sequence[Path]) -> dict[str, str | Path | None]:
    """Datasets by role, as `open_run` wants them."""
    return {f"dataset {number}": root for number, root in enumerate(roots)}


def steering_bundle(path: str | Path) -> Path:
    """The trained policy at a path: itself one, or a run directory of `score steer` that holds it."""
    inside = Path(path) / BUNDLE
    return inside if (inside / DESCRIPTION).exists() else Path(path)


def policy_hash(uri: str | Path, policy: FlowPolicy) -> str:
    """Hash of a policy's folder; of one that lives in no folder, its fingerprint."""
    folder = policy_folder(uri)
    return content_hash(folder) if folder is not None else policy.fingerprint()


def world_hashes(*worlds: str) -> dict[str, str]:
    """Hashes of the domains among the worlds, by role: an edited domain is another domain."""
    files = {world: domain_file(world) for world in worlds}
    return {f"world {world}": content_hash(file) for world, file in files.items() if file is not None}
