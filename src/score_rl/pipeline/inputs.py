"""What stages are given and where they leave it: run directories, datasets, policies, worlds, and their hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from score_rl.contracts import FlowPolicy
from score_rl.core.files import require_free_space, sha256
from score_rl.core.fingerprint import fingerprint
from score_rl.core.runs import Run, TensorBoardListener, start_run
from score_rl.data.layout import INFO_PATH
from score_rl.policies.open import policy_folder
from score_rl.sim.open import domain_file
from score_rl.steering.loop import BUNDLE
from score_rl.steering.policy import DESCRIPTION

Notify = Callable[[str], None]
"""Told, in rich's markup, what a stage begins, resumes or reuses."""

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
    overwrite: bool = False,
    seeds: Mapping[str, int] | None = None,
    notify: Notify = silent,
    distributed: bool = False,
) -> Run:
    """Start, resume or reuse a stage's run directory, and say which. Raises ScoreError; see `start_run`.

    hashes: role -> hash of what the stage is given, see `content_hash` and the functions below. distributed: ranks of
    torchrun may share the run.
    """
    require_free_space(directory, SPACE_NEEDED)
    config = StageConfig(settings, dict(hashes))
    run = start_run(directory, stage, config, seeds or {}, overwrite, distributed)
    if not run.writes:
        return run
    if run.finished:
        notify(f"[dim]{stage}: done already, reusing {directory}[/dim]")
    else:
        notify(f"[bold]{stage}[/bold]: {'resuming' if run.resumed else 'writing'} {directory}")
        run.add_listener(TensorBoardListener(run.path("tensorboard")))
    return run


def content_hash(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's data files (logs and run records left out)."""
    path = Path(path)
    if not path.is_dir():
        return sha256(path)
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        if file.is_file() and file.suffix in (".parquet", ".safetensors", ".json", ".toml") and file.name not in LOGS:
            digest.update(f"{file.relative_to(path)} {sha256(file)}\n".encode())
    return digest.hexdigest()


def dataset_root(path: str | Path) -> Path:
    """The dataset at a path: itself a dataset, or a run directory of `score collect`."""
    inside = Path(path) / DATASET
    return inside if (inside / INFO_PATH).exists() and not (Path(path) / INFO_PATH).exists() else Path(path)


def steering_bundle(path: str | Path) -> Path:
    """The trained policy at a path: itself one, or a run directory of `score steer` that holds it."""
    inside = Path(path) / BUNDLE
    return inside if (inside / DESCRIPTION).exists() else Path(path)


def policy_hash(uri: str | Path, policy: FlowPolicy) -> str:
    """Hash of a policy's folder; of one that lives in no folder, its fingerprint."""
    folder = policy_folder(uri)
    return content_hash(folder) if folder is not None else fingerprint(policy)


def world_hashes(*worlds: str) -> dict[str, str]:
    """Hashes of the domains among the worlds, by role: an edited domain is another domain."""
    files = {world: domain_file(world) for world in worlds}
    return {f"world {world}": content_hash(file) for world, file in files.items() if file is not None}
