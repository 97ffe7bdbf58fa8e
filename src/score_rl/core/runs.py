"""A run directory: what was asked for, by which command, with which versions, and everything measured.

- config.json: the resolved configuration
- run.json: stage, status, command line, versions, commit, machine, seeds, wall time, summary
- metrics.jsonl: one record per `Run.log`
"""

from __future__ import annotations

import dataclasses
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from score_rl.core import ranks
from score_rl.core.errors import ScoreError
from score_rl.core.files import JsonLines, prepare_run_dir, read_json, to_plain, write_json
from score_rl.core.parallel import usable_cores

PACKAGES = ("score-rl", "torch", "numpy", "mujoco", "gymnasium", "pyarrow", "safetensors")
"""Packages whose versions a run records."""

Listener = Callable[[int, Mapping[str, Any]], None]
"""Called with (index of the record, record) behind every `Run.log`."""


class Run:
    """One stage's run directory; made by `start_run`."""

    def __init__(self, directory: Path, record: dict[str, Any], resumed: bool, writes: bool = True) -> None:
        self.directory = directory
        self.resumed = resumed
        """Whether the directory already held this run, unfinished or finished."""
        self.writes = writes
        """Whether this process writes the run's files; of several ranks only the first does."""
        self.metrics = JsonLines(directory / "metrics.jsonl") if writes else None
        self._record = record
        self._listeners: list[Listener] = []
        self._earlier_s = float(record["wall_s"])
        self._start = time.monotonic()

    @property
    def finished(self) -> bool:
        """Whether the run is complete, so that its results can be used as they are."""
        return self._record["status"] == "finished"

    @property
    def summary(self) -> dict[str, Any]:
        """What `finish` was given; empty until then."""
        return self._record["summary"]

    @property
    def wall_s(self) -> float:
        """Seconds spent on this run: those before the checkpoint that it was resumed from, and since then."""
        return self._earlier_s + (0.0 if self.finished else time.monotonic() - self._start)

    def path(self, *parts: str) -> Path:
        """Path of a file of this run."""
        return self.directory.joinpath(*parts)

    def log(self, record: Mapping[str, Any]) -> None:
        """Append a record to metrics.jsonl and pass it to the listeners; nothing where the run does not write."""
        if not self.writes:
            return
        index = len(self.metrics)
        self.metrics.append(record)
        for listener in self._listeners:
            listener(index, record)

    def rewind(self, records: int, wall_s: float | None = None) -> None:
        """Return to a checkpoint made when `len(run.metrics)` was `records` (and `run.wall_s` was `wall_s`).

        What was logged after the checkpoint is dropped, since the resumed run logs it again. A resumed run that
        finds no checkpoint rewinds to 0.
        """
        if self.writes:
            self.metrics.truncate_to(records)
        if wall_s is not None:
            self._earlier_s, self._start = wall_s, time.monotonic()

    def add_listener(self, listener: Listener) -> None:
        """Also show every further record to `listener`, e.g. a `TensorBoardListener`."""
        self._listeners.append(listener)

    def finish(self, summary: Mapping[str, Any] | None = None) -> None:
        """Mark the run as complete and store its summary."""
        self._record.update(wall_s=self.wall_s, summary=to_plain(summary or {}), status="finished")
        self._earlier_s = self._record["wall_s"]
        if self.writes:
            write_json(self.path("run.json"), self._record)


def start_run(
    directory: str | os.PathLike[str],
    stage: str,
    config: Any,
    seeds: Mapping[str, int],
    overwrite: bool = False,
    distributed: bool = False,
) -> Run:
    """Start, resume or reuse a run; config is a dataclass.

    distributed: under torchrun all ranks share this run, and the first of them writes it; what is not distributed
    is refused there.

    The same stage and configuration in an existing directory: an unfinished run is resumed, a finished one is
    returned with `finished` True. Anything else there is an error that names the fields that differ, unless
    `overwrite` is given, which deletes the old run. Raises ScoreError.
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"config must be a dataclass instance, got {config!r}")
    if ranks.launched() > 1 and not distributed:
        raise ScoreError(f"{stage} runs in one process; only steer shares its work among {ranks.launched()} ranks")
    if distributed:
        ranks.join()
    directory = Path(directory)
    if ranks.rank() > 0:
        return Run(directory, *ranks.gather(None)[0], writes=False)
    run = _start(directory, stage, config, seeds, overwrite)
    ranks.gather([run._record, run.resumed])
    return run


def _start(directory: Path, stage: str, config: Any, seeds: Mapping[str, int], overwrite: bool) -> Run:
    resolved, seeds = to_plain(config), to_plain(seeds)
    if not overwrite and (directory / "run.json").is_file():
        return _reopen(directory, stage, resolved, seeds)
    prepare_run_dir(directory, overwrite=overwrite, resume=False)
    record = {"stage": stage, "status": "running", **describe_process(), "seeds": seeds}
    record.update(started_at=_now(), resumed=[], wall_s=0.0, summary={})
    # run.json first: a directory is a run from the moment that anything is in it.
    write_json(directory / "run.json", record)
    write_json(directory / "config.json", resolved)
    return Run(directory, record, resumed=False)


def read_run(directory: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(run.json, config.json) of a run directory. Raises ScoreError where it is none."""
    directory = Path(directory)
    return read_json(directory / "run.json"), read_json(directory / "config.json")


def describe_process() -> dict[str, Any]:
    """Command, versions, commit and machine of this process, as every result file records them."""
    return {
        "command": command_line(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "commit": git_commit(),
        "machine": machine(),
        "torch_threads": torch.get_num_threads(),
    }


def command_line() -> str:
    """The command as typed, with the program's folder left out."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def git_commit() -> str:
    """Commit of the source tree, with "-dirty" where it has changes; "unknown" outside a repository."""
    here = Path(__file__).parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        # A package installed inside somebody else's repository must not report that one's commit.
        _git(here, "ls-files", "--error-unmatch", Path(__file__).name)
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def machine() -> dict[str, Any]:
    """Processor, usable cores, memory (GB), operating system and accelerator."""
    try:
        memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, ValueError, OSError):
        memory_gb = float("nan")
    return {
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "memory_gb": round(memory_gb, 1),
        "system": platform.system(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


class TensorBoardListener:
    """Writes every number of a record as a TensorBoard scalar; those of nested mappings as `outer/inner`."""

    def __init__(self, directory: str | os.PathLike[str], first: int = 0) -> None:
        """first: index of the next record (`len(run.metrics)`); what a killed run wrote from there on is hidden."""
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and needed by this listener only

        self._writer = SummaryWriter(os.fspath(directory), purge_step=first)

    def __call__(self, index: int, record: Mapping[str, Any]) -> None:
        """Write one record at step `index`."""
        for name, value in _numbers(record):
            self._writer.add_scalar(name, value, index)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


def _reopen(directory: Path, stage: str, resolved: dict[str, Any], seeds: dict[str, Any]) -> Run:
    record = read_json(directory / "run.json")
    config_path = directory / "config.json"
    if not config_path.exists():  # killed between the two first files
        write_json(config_path, resolved)
    old = {"stage": record["stage"], "seeds": record["seeds"], "config": read_json(config_path)}
    new = {"stage": stage, "seeds": seeds, "config": resolved}
    differences = _differences(old, new)
    if differences:
        raise ScoreError(
            f"{directory} holds a run of another configuration ({'; '.join(differences)}); "
            "choose another directory or pass --overwrite"
        )
    run = Run(directory, record, resumed=True)
    if not run.finished:
        record["resumed"].append({"at": _now(), "command": command_line()})
        write_json(directory / "run.json", record)
    return run


def _differences(old: Any, new: Any, name: str = "") -> list[str]:
    """Fields that differ, as "field: old -> new"."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in dict.fromkeys([*old, *new]):
            inner = f"{name}.{key}" if name else key
            found += _differences(old.get(key, "(absent)"), new.get(key, "(absent)"), inner)
        return found
    return [] if old == new else [f"{name}: {old} -> {new}"]


def _numbers(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for key, value in record.items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{prefix}{key}/")
        elif isinstance(value, (bool, int, float)) or getattr(value, "ndim", None) == 0:
            found.append((f"{prefix}{key}", float(value)))
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=directory, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
