"""What the commands share: opening run directories, worlds and datasets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from rich.console import Console

from score_rl.contracts import World
from score_rl.core.errors import unknown_choice
from score_rl.core.files import require_free_space, sha256
from score_rl.core.runs import Run, TensorBoardListener, start_run
from score_rl.data.layout import INFO_PATH
from score_rl.deploy.bundle.spec import RobotLimits, franka_leap_limits, world_limits
from score_rl.sim.adapters.gymnasium import adroit_door_world
from score_rl.sim.domain import load_domain, shipped_domains
from score_rl.sim.task import get_task, task_names
from score_rl.sim.world import make_world

T = TypeVar("T")
Flat = Annotated[T, tyro.conf.arg(name="")]
"""A command's settings, whose options have no prefix on the command line."""

console = Console(stderr=True)
"""Where the commands talk to people; results go to files and, as tables, to standard output."""

DATASET = "dataset"
"""Folder of a collection's run directory that holds the dataset."""

GYMNASIUM_TASKS = {"adroit_door": adroit_door_world}
"""Tasks whose world is an environment of somebody else; their only world is called `gymnasium`."""

SPACE_NEEDED = 200_000_000
"""Bytes that must be free before a stage starts."""


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
    inputs: Mapping[str, Path] | None = None,
    overwrite: bool = False,
    seeds: Mapping[str, int] | None = None,
) -> Run:
    """Start, resume or reuse a stage's run directory, and say which. Raises ScoreError; see `start_run`."""
    require_free_space(directory, SPACE_NEEDED)
    hashes = {role: content_hash(path) for role, path in (inputs or {}).items()}
    run = start_run(directory, stage, StageConfig(settings, hashes), seeds or {}, overwrite=overwrite)
    if run.finished:
        console.print(f"[dim]{stage}: done already, reusing {directory}[/dim]", highlight=False)
    else:
        verb = "resuming" if run.resumed else "writing"
        console.print(f"[bold]{stage}[/bold]: {verb} {directory}", highlight=False)
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


LOGS = ("run.json", "config.json", "checkpoint.safetensors")
"""Files of a run directory that do not belong to its result."""


def dataset_root(path: Path) -> Path:
    """The dataset at a path: itself a dataset, or a run directory of `score collect`."""
    inside = Path(path) / DATASET
    return inside if (inside / INFO_PATH).exists() and not (Path(path) / INFO_PATH).exists() else Path(path)


def open_world(task: str, world: str, num_envs: int, robot_seed: int = 0, nan_dump_dir: Path | None = None) -> World:
    """The world of a task. Raises ScoreError for an unknown task or domain, listing the choices."""
    if task in GYMNASIUM_TASKS:
        if world != "gymnasium":
            raise unknown_choice(f"world of {task}", world, ["gymnasium"])
        return GYMNASIUM_TASKS[task](num_envs)
    if task not in task_names():
        raise unknown_choice("task", task, [*task_names(), *GYMNASIUM_TASKS])
    return make_world(task, world, num_envs, robot_seed, nan_dump_dir=nan_dump_dir)


def check_world_exists(task: str, world: str) -> None:
    """Raise ScoreError for an unknown task or domain, without building anything."""
    if task in GYMNASIUM_TASKS:
        if world != "gymnasium":
            raise unknown_choice(f"world of {task}", world, ["gymnasium"])
    elif task not in task_names():
        raise unknown_choice("task", task, [*task_names(), *GYMNASIUM_TASKS])
    else:
        load_domain(world, get_task(task).parameters)


def world_files(*worlds: str) -> dict[str, Path]:
    """The files behind the worlds, as inputs of a run: an edited domain is another domain."""
    shipped = shipped_domains()
    files = {world: shipped.get(world, Path(world)) for world in worlds}
    return {f"world {world}": file for world, file in files.items() if file.is_file()}


def world_label(world: str) -> str:
    """What a world is called in results: a shipped domain's name, or the name in its file."""
    return world if world in ("gymnasium", *shipped_domains()) else load_domain(world).name


def robot_limits(task: str) -> RobotLimits:
    """What may be sent to the robot of a task, and what it shows. Raises ScoreError for an unknown task."""
    if task in task_names():
        return franka_leap_limits()
    if task not in GYMNASIUM_TASKS:
        raise unknown_choice("task", task, [*task_names(), *GYMNASIUM_TASKS])
    world = open_world(task, "gymnasium", num_envs=1)
    world.close()
    return world_limits(world.spec)
